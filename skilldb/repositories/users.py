"""Statements for the people of an organisation."""

from collections.abc import Mapping
from datetime import datetime

from skilldb import paging, queries
from skilldb.errors import InvalidValueError, shown
from skilldb.models import Page, User, UserDeletion, UserUpdate
from skilldb.query import Step
from skilldb.statement import Statement, one, optional
from skilldb.values import ADAPT, adapter, limited, not_empty

_SQL = queries.load("users")
_SKILLS = queries.load("skills")
_LOCKS = queries.load("locks")

EMAIL = paging.Sort("email", str)
"""The order of list_users. An email is unique, so the id decides nothing."""

MAX_SKILLS = 100
"""The most skills that one call of delete_user locks for the user's ratings, and as many for the user's authorship."""

_COLUMNS = dict.fromkeys(("email", "name", "role"), ADAPT["text"])


def create_user(
    email: str,
    *,
    name: str | None = None,
    role: str = "member",
    id: str | None = None,
    created_at: datetime | None = None,
) -> Statement[User]:
    """Create a user; `role` is admin or member. `created_at` None is now.

    AlreadyExistsError: the email or id is taken in this tenant, perhaps by a user who is being deleted.
    InvalidValueError: an empty email, any other role, or a time without a time zone. NotFoundError: the tenant itself
    does not exist.
    """
    not_empty("email", email)
    return Statement(one(User), _SQL["create_user"](id=id, email=email, name=name, role=role, created_at=created_at))


def get_user(user_id: str) -> Statement[User | None]:
    """The user, or None. A user who is being deleted is None."""
    return Statement(optional(User), _SQL["get_user"](user_id=user_id))


def get_user_by_email(email: str) -> Statement[User | None]:
    """The user of that email, compared as written, or None. A user who is being deleted is None."""
    return Statement(optional(User), _SQL["get_user_by_email"](email=email))


def list_users(
    *, role: str | None = None, deleting: bool = False, limit: int = 50, after: str | None = None
) -> Statement[Page[User]]:
    """One page of the users, by email. Users who are being deleted are left out.

    With `deleting` it lists only these, whose names are gone: call delete_user for each until it says `done`. `after`
    is the cursor of the page before. `role` None is every role. InvalidValueError: a limit below 1, or an `after` that
    is not a cursor.
    """
    email, _ = paging.decode(after, EMAIL)
    read = paging.page(User, limit, lambda user: (user.email, user.id), EMAIL)
    if ADAPT["boolean"]("deleting", deleting):
        return Statement(read, _SQL["list_users_in_deletion"](role=role, after_email=email, limit=limit))
    if role is None:
        return Statement(read, _SQL["list_users"](after_email=email, limit=limit))
    return Statement(read, _SQL["list_users_of_role"](role=role, after_email=email, limit=limit))


def update_user(user_id: str, changes: UserUpdate) -> Statement[User]:
    """Change some columns and keep the others. `updated_at` moves only if a value changes.

    A call with a `name` locks all skills of which the user is the author, and writes the words of each for the search:
    recording for one of them waits until the end. NotFoundError: no such user. AlreadyExistsError: the email is taken.
    InvalidValueError: a column that UserUpdate does not have, or a value that is not allowed, such as an empty email.
    """
    if not isinstance(changes, Mapping):
        raise InvalidValueError(f"changes must be a dict, not {shown(changes)}")
    if unknown := changes.keys() - _COLUMNS.keys():
        raise InvalidValueError(f"a user has no {', '.join(sorted(map(str, unknown)))} to update")
    not_empty("email", changes.get("email"))
    checked = {name: None if value is None else _COLUMNS[name](name, value) for name, value in changes.items()}
    return Statement(
        one(User),
        _LOCKS["lock_user_key" if "email" in changes else "lock_user"](user_id=user_id),
        _SQL["update_user"](user_id=user_id, changes=checked),
        *([*_index_renamed(user_id), _SQL["get_user"](user_id=user_id)] if "name" in changes else []),
    )


def delete_user(user_id: str, *, successor_id: str | None = None, limit: int = 1_000) -> Statement[UserDeletion]:
    """Delete the user, or a part of what names the user: at most `limit` rows of each table, and at most 100 skills.

    Call it until the answer says `done`; a user with few rows is gone after one call. From the first call on the user
    counts as missing, has no name, is in no list of users and in no report over the organisation, and nothing new can
    name the user. What reads a row that a later call deletes or changes still gives the user's id. Each call is all or
    nothing. A row that another transaction has locked is left for the next call.

    Ratings and views go, and the skills' averages follow. Events, feedback, reviews and measurements stay, but no
    longer name the user. Skills, versions and benchmark runs pass to the successor, or to nobody. Give the same
    successor in each call. Until a skill passes on, searches find it by the user's name.

    An unknown user is not `found`, and that is `done`. NotFoundError: no such successor. InvalidValueError: a limit
    below 1, or a user who would succeed themselves.
    """
    adapter("user_id", "text")("user_id", user_id)
    limited(limit)
    before, after = [], []
    if successor_id is not None:
        adapter("successor_id", "text")("successor_id", successor_id)
        if successor_id == user_id:
            raise InvalidValueError(f"successor_id must be another user, not {shown(successor_id)}")
        before = [_SQL["lock_successor_before"](user_id=user_id, successor_id=successor_id)]
        after = [_SQL["lock_successor_after"](user_id=user_id, successor_id=successor_id)]
    some = min(limit, MAX_SKILLS)
    return Statement(
        one(UserDeletion),
        *before,
        _SQL["lock_user_for_deletion"](user_id=user_id),
        *after,
        _SQL["mark_user_for_deletion"](user_id=user_id),
        _SQL["lock_skills_of_user"](user_id=user_id, limit=some),
        _SQL["withdraw_ratings_of_user"](user_id=user_id, limit=some),
        _SQL["pass_on_skills"](user_id=user_id, successor_id=successor_id, limit=some),
        _SQL["pass_on_versions"](user_id=user_id, successor_id=successor_id, limit=limit),
        _SQL["pass_on_runs"](user_id=user_id, successor_id=successor_id, limit=limit),
        _SQL["delete_views_of_user"](user_id=user_id, limit=limit),
        _SQL["anonymise_usage_of_user"](user_id=user_id, limit=limit),
        _SQL["anonymise_pending_uses_of_user"](user_id=user_id, limit=limit),
        _SQL["anonymise_feedback_of_user"](user_id=user_id, limit=limit),
        _SQL["anonymise_reviews_of_user"](user_id=user_id, limit=limit),
        _SQL["anonymise_measurements_of_user"](user_id=user_id, limit=limit),
        _SQL["delete_monthly_uses_of_user"](user_id=user_id),
        _SQL["delete_user"](user_id=user_id),
    )


def _index_renamed(user_id: str) -> tuple[Step, ...]:
    """The steps that follow a change of a user's name, so that searches find the user's skills by the new name."""
    return (
        _LOCKS["lock_skills_of_author"](user_id=user_id),
        _SKILLS["index_skills_of_author"](user_id=user_id),
    )
