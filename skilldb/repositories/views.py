"""Statements for the views of users, and for what's new."""

from collections.abc import Iterable

from skilldb import queries
from skilldb.models import SkillChanges, UserSkillView, ViewedSkill, WhatsNewItem
from skilldb.statement import NOTHING, VALUE, Instances, Reader, Statement, many, optional
from skilldb.values import ADAPT, MAX_DAYS, bounded, limited

_SQL = queries.load("views")


def record_skill_view(user_id: str, skill_id: str, current_version: int | None) -> Statement[None]:
    """Record that the user sees this version of the skill now. `current_version` is None if none is published.

    NotFoundError: no such user or skill. InvalidValueError: a version below 1.
    """
    return Statement(
        NOTHING,
        _SQL["lock_viewer"](user_id=user_id),
        _SQL["record_skill_view"](user_id=user_id, skill_id=skill_id, current_version=current_version),
    )


def get_user_view(user_id: str, skill_id: str) -> Statement[UserSkillView | None]:
    """The user's last view of a skill, or None. Read it before you record a new one."""
    return Statement(optional(UserSkillView), _SQL["get_user_view"](user_id=user_id, skill_id=skill_id))


def get_user_views_for_skills(user_id: str, skill_ids: Iterable[str]) -> Statement[dict[str, UserSkillView]]:
    """The user's last views by skill id, with one query for any number of ids. Skills never viewed are left out.

    The order is that of `skill_ids`. The table's own order would depend on other organisations' rows.
    """
    skill_ids = ADAPT["text[]"]("skill_ids", skill_ids)

    def by_id(rows: list[UserSkillView]) -> dict[str, UserSkillView]:
        found = {view.skill_id: view for view in rows}
        return {id: found[id] for id in skill_ids if id in found}

    reader = Reader(Instances(UserSkillView), by_id)
    if not skill_ids:
        return Statement(reader)
    return Statement(reader, _SQL["get_user_views_for_skills"](user_id=user_id, skill_ids=skill_ids))


def list_recently_viewed(user_id: str, limit: int = 10) -> Statement[list[ViewedSkill]]:
    """The skills that the user viewed last, of any status, newest view first. Of equal times the higher id is first.

    Empty if the user has viewed nothing or does not exist. InvalidValueError: a limit below 1.
    """
    return Statement(many(ViewedSkill), _SQL["list_recently_viewed"](user_id=user_id, limit=limited(limit)))


def get_whats_new_for_user(user_id: str, limit: int = 10, days: int = 30) -> Statement[list[WhatsNewItem]]:
    """Published skills that changed after the user viewed them, within the last `days` * 24 hours, newest first.

    A skill has changed if its content changed after the view, or if another version is published than the user saw.
    Empty if the user has viewed nothing or does not exist. InvalidValueError: a limit below 1, fewer than one day, or
    more than a hundred years.
    """
    return Statement(
        many(WhatsNewItem),
        _SQL["get_whats_new_for_user"](user_id=user_id, limit=limited(limit), days=bounded("days", days, 1, MAX_DAYS)),
    )


def count_whats_new(user_id: str, days: int = 30) -> Statement[int]:
    """The number of items that get_whats_new_for_user has for these `days` without a limit.

    0 if the user has viewed nothing or does not exist. InvalidValueError: fewer than one day, or more than a hundred
    years.
    """
    return Statement(VALUE, _SQL["count_whats_new"](user_id=user_id, days=bounded("days", days, 1, MAX_DAYS)))


def detect_changes(user_id: str, skill_id: str) -> Statement[SkillChanges | None]:
    """What changed on the skill since the user last viewed it, or None if the user never did."""
    return Statement(optional(SkillChanges), _SQL["detect_changes"](user_id=user_id, skill_id=skill_id))


def open_skill(user_id: str, skill_id: str) -> Statement[SkillChanges | None]:
    """What changed since the user last viewed the skill, or None if never; then record a view of the current version.

    NotFoundError: no such user or skill.
    """
    return Statement(
        optional(SkillChanges),
        _SQL["lock_viewer"](user_id=user_id),
        _SQL["prepare_view"](user_id=user_id, skill_id=skill_id),
        _SQL["open_skill"](user_id=user_id, skill_id=skill_id),
    )
