"""Statements for ratings, one per user and skill, and their count and sum on skills."""

from datetime import datetime

from skilldb import paging, queries
from skilldb.models import Page, Rating, RatingWithUser
from skilldb.statement import EXISTS, Statement, one, optional

_SQL = queries.load("ratings")
_LOCKS = queries.load("locks")

_RATINGS = paging.Sort("ratings", datetime)


def rate_skill(
    user_id: str,
    skill_id: str,
    rating: int,
    *,
    comment: str | None = None,
    hours_saved_estimate: int | None = None,
    created_at: datetime | None = None,
) -> Statement[Rating]:
    """Insert or replace the user's rating of a skill, 1 to 5, and update the skill's average.

    `created_at` is the time of a rating from another system; None is now. A time in the future is stored as given. The
    rating does not replace a later one of the user: that one stays and is returned. NotFoundError: no such user or
    skill. InvalidValueError: a rating that is not 1 to 5, negative hours, or a time without a time zone.
    """
    return Statement(
        one(Rating),
        _LOCKS["lock_user_and_skill"](user_id=user_id, skill_id=skill_id),
        _SQL["count_rating"](user_id=user_id, skill_id=skill_id, rating=rating, created_at=created_at),
        _SQL["rate_skill"](
            user_id=user_id,
            skill_id=skill_id,
            rating=rating,
            comment=comment,
            hours_saved_estimate=hours_saved_estimate,
            created_at=created_at,
        ),
    )


def delete_rating(user_id: str, skill_id: str) -> Statement[bool]:
    """Delete a rating, and update the skill's average. Returns False if there is no such rating."""
    return Statement(
        EXISTS,
        _SQL["lock_rated_skill"](skill_id=skill_id),
        _SQL["delete_rating"](user_id=user_id, skill_id=skill_id),
    )


def get_rating(user_id: str, skill_id: str) -> Statement[Rating | None]:
    """The user's rating of a skill, or None."""
    return Statement(optional(Rating), _SQL["get_rating"](user_id=user_id, skill_id=skill_id))


def list_ratings(
    skill_id: str, *, except_user_id: str | None = None, limit: int = 50, after: str | None = None
) -> Statement[Page[RatingWithUser]]:
    """One page of the ratings of a skill with the users' names, newest first. Empty if there is no such skill.

    `except_user_id` leaves out the rating of that user, for a page that shows it apart. `after` is the cursor of the
    page before. InvalidValueError: a limit below 1, or an `after` that is not a cursor.
    """
    updated_at, id = paging.decode(after, _RATINGS)
    return Statement(
        paging.page(RatingWithUser, limit, lambda rating: (rating.updated_at, rating.id), _RATINGS),
        _SQL["list_ratings"](
            skill_id=skill_id, except_user_id=except_user_id, after_updated_at=updated_at, after_id=id, limit=limit
        ),
    )
