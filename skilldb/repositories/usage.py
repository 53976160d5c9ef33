"""Statements for usage events of skills and tools, and their count on skills."""

from collections.abc import Iterable

from skilldb import queries
from skilldb.models import DailyUses, NewUsageEvent, SkillUses
from skilldb.statement import VALUE, Reader, Statement, many
from skilldb.values import MAX_DAYS, bounded

_SQL = queries.load("usage")


def record_usage_event(event: NewUsageEvent) -> Statement[bool]:
    """Record an event and count it on its skill. Returns False, and changes nothing, if its id was recorded before.

    NotFoundError: no such skill or user. InvalidValueError: an id that is not a UUID, or a time without a time zone.
    """
    return Statement(
        VALUE,
        _SQL["lock_event"](id=event.id, user_id=event.user_id, skill_id=event.skill_id),
        _SQL["record_usage_event"](
            id=event.id,
            tool_name=event.tool_name,
            skill_id=event.skill_id,
            user_id=event.user_id,
            metadata=event.metadata,
            created_at=event.created_at,
        ),
    )


def record_usage_events(events: Iterable[NewUsageEvent]) -> Statement[int]:
    """Record any number of events, all or none, and count them on their skills. Returns the number of new events.

    NotFoundError and InvalidValueError as for one event.
    """
    events = list(events)
    if not events:
        return Statement(Reader(VALUE.rows, len))
    ids, user_ids, skill_ids = [e.id for e in events], [e.user_id for e in events], [e.skill_id for e in events]
    return Statement(
        VALUE,
        _SQL["lock_users_of_events"](id=ids, user_id=user_ids),
        _SQL["lock_skills_of_events"](id=ids, skill_id=skill_ids),
        _SQL["record_usage_events"](
            id=ids,
            tool_name=[e.tool_name for e in events],
            skill_id=skill_ids,
            user_id=user_ids,
            metadata=[e.metadata for e in events],
            created_at=[e.created_at for e in events],
        ),
    )


def count_uses_by_day(skill_id: str, days: int = 30) -> Statement[list[DailyUses]]:
    """The recorded uses of a skill on each of the last `days` days of UTC, oldest first, today last.

    Days without uses are 0. InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(
        many(DailyUses), _SQL["count_uses_by_day"](skill_id=skill_id, days=bounded("days", days, 1, MAX_DAYS))
    )


def get_top_skills(days: int = 30, limit: int = 10) -> Statement[list[SkillUses]]:
    """The skills with the most recorded uses in the last `days` * 24 hours, most used first.

    InvalidValueError: a limit below 1, fewer than one day or more than a hundred years.
    """
    return Statement(
        many(SkillUses),
        _SQL["get_top_skills"](days=bounded("days", days, 1, MAX_DAYS), limit=bounded("limit", limit)),
    )
