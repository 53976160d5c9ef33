"""Ratings, one a user and skill, and their count and sum on skills."""

from skilldb import paging, queries
from skilldb.models import Page, Rating
from skilldb.statement import EXISTS, Statement, one

_SQL = queries.load("ratings")
_LOCKS = queries.load("locks")


def rate_skill(
    user_id: str,
    skill_id: str,
    rating: int,
    *,
    comment: str | None = None,
    hours_saved_estimate: int | None = None,
) -> Statement[Rating]:
    """Insert or replace the user's rating of a skill, 1 to 5, and move the skill's average by the difference.

    NotFoundError: no such user or skill. InvalidValueError: another rating, or negative hours.
    """
    return Statement(
        one(Rating),
        _LOCKS["lock_user_and_skill"](user_id=user_id, skill_id=skill_id),
        _SQL["rate_skill"](
            user_id=user_id,
            skill_id=skill_id,
            rating=rating,
            comment=comment,
            hours_saved_estimate=hours_saved_estimate,
        ),
    )


def delete_rating(user_id: str, skill_id: str) -> Statement[bool]:
    """Take a rating back, and the skill's average with it. False where there is none."""
    return Statement(
        EXISTS,
        _SQL["lock_rated_skill"](skill_id=skill_id),
        _SQL["delete_rating"](user_id=user_id, skill_id=skill_id),
    )


def list_ratings(skill_id: str, *, limit: int = 50, after: str | None = None) -> Statement[Page[Rating]]:
    """The ratings of a skill, newest first; `after` is the cursor of the page before. None where no such skill is.

    InvalidValueError: a limit below 1, or a cursor that is none.
    """
    updated_at, id = paging.decode(after)
    return Statement(
        paging.page(Rating, limit, lambda rating: (rating.updated_at, rating.id)),
        _SQL["list_ratings"](skill_id=skill_id, after_updated_at=updated_at, after_id=id, limit=limit),
    )
