"""Statements for the people of an organisation."""

from skilldb import queries
from skilldb.models import User
from skilldb.query import Step
from skilldb.statement import EXISTS, Statement, one, optional

_SQL = queries.load("users")
_SKILLS = queries.load("skills")
_LOCKS = queries.load("locks")


def create_user(email: str, *, name: str | None = None, role: str = "member", id: str | None = None) -> Statement[User]:
    """Create a user; `role` is admin or member.

    AlreadyExistsError: the email or id is taken in this tenant. InvalidValueError: any other role. NotFoundError: the
    tenant itself does not exist.
    """
    return Statement(one(User), _SQL["create_user"](id=id, email=email, name=name, role=role))


def get_user(user_id: str) -> Statement[User | None]:
    """The user, or None."""
    return Statement(optional(User), _SQL["get_user"](user_id=user_id))


def delete_user(user_id: str) -> Statement[bool]:
    """Delete the user with their views and ratings, and update the skills' averages. Returns False if there is none.

    Events, feedback, reviews and measurements stay, but no longer name the user. StillReferencedError: the user wrote a
    skill, published a version or triggered a benchmark run.
    """
    return Statement(
        EXISTS,
        _SQL["lock_user_for_deletion"](user_id=user_id),
        _SQL["lock_skills_of_user"](user_id=user_id),
        _SQL["withdraw_ratings_of_user"](user_id=user_id),
        _SQL["anonymise_usage_of_user"](user_id=user_id),
        _SQL["anonymise_pending_uses_of_user"](user_id=user_id),
        _SQL["anonymise_feedback_of_user"](user_id=user_id),
        _SQL["anonymise_reviews_of_user"](user_id=user_id),
        _SQL["anonymise_measurements_of_user"](user_id=user_id),
        _SQL["delete_user"](user_id=user_id),
    )


def _index_renamed(user_id: str) -> tuple[Step, ...]:
    """The steps that follow a change of a user's name, so that searches find the user's skills by the new name."""
    return (
        _LOCKS["lock_skills_of_author"](user_id=user_id),
        _SKILLS["index_skills_of_author"](user_id=user_id),
    )
