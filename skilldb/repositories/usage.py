"""Statements for usage events of skills and tools: record them, count them by day."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from skilldb import queries
from skilldb.models import DailyUses, NewUsageEvent, SkillUses
from skilldb.query import Step
from skilldb.statement import VALUE, Reader, Statement, many
from skilldb.values import ADAPT, MAX_DAYS, bounded

_SQL = queries.load("usage")


def record_usage_event(event: NewUsageEvent, *, backfill: bool = False) -> Statement[bool]:
    """Record an event and count it on its skill. Returns False, and changes nothing, if its id was recorded before.

    An event from before the horizon is refused: if it was recorded before, it may have been pruned, and would be
    counted again. `backfill` records it all the same. NotFoundError: no such skill or user. InvalidValueError: an id
    that is not a UUID, a time without a time zone, or a time before the horizon.
    """
    return Statement(
        VALUE,
        *_check_kept([event], backfill),
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


def record_usage_events(events: Iterable[NewUsageEvent], *, backfill: bool = False) -> Statement[int]:
    """Record any number of events, all or none, and count them on their skills. Returns the number of new events.

    For more events than fit in memory use record_usage_events_in_batches. `backfill`, NotFoundError and
    InvalidValueError as for one event.
    """
    events = list(events)
    if not events:
        return Statement(Reader(VALUE.rows, len))
    # Three steps take the ids: reading a UUID three times would take a tenth of the call.
    ids = ADAPT["uuid[]"]("id", [e.id for e in events])
    user_ids, skill_ids = [e.user_id for e in events], [e.skill_id for e in events]
    return Statement(
        VALUE,
        *_check_kept(events, backfill),
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


def record_usage_events_in_batches(
    events: Iterable[NewUsageEvent], *, size: int = 10_000, backfill: bool = False
) -> Iterator[Statement[int]]:
    """Statements that record any number of events, `size` of them in each. Execute one after the other.

    Only one batch is in memory. Each is a transaction of its own, and returns the number of new events, which shows
    the progress. If one fails, those before it are stored. Begin again then: events with an id are not counted twice,
    unless old ones were pruned in between. Errors as for record_usage_events, and InvalidValueError: a size below 1.
    """
    bounded("size", size)
    rest = iter(events)
    return (record_usage_events(batch, backfill=backfill) for batch in iter(lambda: list(islice(rest, size)), []))


def _check_kept(events: Sequence[NewUsageEvent], backfill: bool) -> list[Step]:
    """The step that refuses events from before the horizon. An event that happens now needs none."""
    if ADAPT["boolean"]("backfill", backfill) or all(event.created_at is None for event in events):
        return []
    return [_SQL["check_events_kept"](created_at=[event.created_at for event in events])]


def count_uses_by_day(skill_id: str, days: int = 30) -> Statement[list[DailyUses]]:
    """The recorded uses of a skill on each of the last `days` days of UTC, oldest first, today last.

    Days without uses are 0. InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(
        many(DailyUses), _SQL["count_uses_by_day"](skill_id=skill_id, days=bounded("days", days, 1, MAX_DAYS))
    )


def get_top_skills(days: int = 30, limit: int = 10) -> Statement[list[SkillUses]]:
    """The skills with the most recorded uses on the last `days` days of UTC, most used first. Today is the last day.

    InvalidValueError: a limit below 1, fewer than one day or more than a hundred years.
    """
    return Statement(
        many(SkillUses),
        _SQL["get_top_skills"](days=bounded("days", days, 1, MAX_DAYS), limit=bounded("limit", limit)),
    )


def get_usage_trend(days: int = 30) -> Statement[list[DailyUses]]:
    """All recorded uses of the organisation on each of the last `days` days of UTC, oldest first, today last.

    It counts events with and without a skill, and those of skills that were deleted later. Days without uses are 0.
    InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(many(DailyUses), _SQL["get_usage_trend"](days=bounded("days", days, 1, MAX_DAYS)))
