"""Statements for usage events of skills and tools: record them, list them, and report on them."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time
from itertools import islice

from skilldb import paging, queries
from skilldb.models import (
    ActiveUser,
    DailyUses,
    NewUsageEvent,
    Page,
    SkillUses,
    ToolUses,
    TrendingSkill,
    UsageEvent,
    UsageTotals,
    UserUses,
)
from skilldb.paging import Sort
from skilldb.query import Step
from skilldb.repositories.retention import with_horizon
from skilldb.statement import VALUE, Reader, Statement, many, one
from skilldb.values import ADAPT, MAX_DAYS, PERIODS, bounded, limited, one_of

_SQL = queries.load("usage")

_ACTIVE, _EVENTS = Sort("active", datetime), Sort("events", datetime, is_uuid=True)


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
    """The steps that refuse events from before the horizon. An event that happens now needs none."""
    if ADAPT["boolean"]("backfill", backfill) or all(event.created_at is None for event in events):
        return []
    return with_horizon(_SQL["check_events_kept"](created_at=[event.created_at for event in events]))


def count_uses_by_day(skill_id: str, days: int = 30) -> Statement[list[DailyUses]]:
    """The recorded uses of a skill on each of the last `days` days of UTC, oldest first, today last.

    Days without uses are 0. InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(
        many(DailyUses), _SQL["count_uses_by_day"](skill_id=skill_id, days=bounded("days", days, 1, MAX_DAYS))
    )


def count_skill_users(skill_id: str, days: int = 30) -> Statement[int]:
    """The number of users with a stored event of a skill on the last `days` days of UTC. Today is the last day.

    Users who were deleted do not count, nor do the events that a deletion under way has reached. Returns 0 if there is
    no such skill.

    It reads events, not rollups. So days before the horizon may count too few, and the time grows with the skill's
    events on these days: 10 milliseconds are enough for about 30,000 of them.

    InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(VALUE, _SQL["count_skill_users"](skill_id=skill_id, days=bounded("days", days, 1, MAX_DAYS)))


# Reports over the organisation. Each reads rollups and what is pending, and so is exact, also after pruning.


def get_usage_totals(days: int = 30) -> Statement[UsageTotals]:
    """All recorded uses of the last `days` days of UTC, and the number of skills, users and tools that have any.

    The uses include those without a skill, and those of skills and users that were deleted later. Such skills and users
    are not counted themselves, nor is a user who is being deleted. InvalidValueError: fewer than one day, or more than
    a hundred years.
    """
    return Statement(one(UsageTotals), _SQL["get_usage_totals"](days=bounded("days", days, 1, MAX_DAYS)))


def get_usage_trend(days: int = 30, by: str = "day") -> Statement[list[DailyUses]]:
    """All recorded uses of the organisation on the last `days` days of UTC, oldest first.

    `by` is "day", "week" or "month". Then the field `day` is the first day of the week or month; weeks begin on Monday.
    The first and the last week or month count only those of their days that are among the last `days` days.

    Events with and without a skill count, and those of skills that were deleted later. Days, weeks and months without
    uses are 0. InvalidValueError: another `by`, fewer than one day, or more than a hundred years.
    """
    return Statement(
        many(DailyUses),
        _SQL["get_usage_trend"](days=bounded("days", days, 1, MAX_DAYS), by=one_of("by", by, PERIODS)),
    )


def get_top_skills(days: int = 30, limit: int = 10, *, status: str | None = "published") -> Statement[list[SkillUses]]:
    """The skills with the most recorded uses on the last `days` days of UTC, most used first. Today is the last day.

    Skills of another status than `status` are left out; None lists all. Ties are in id order. Skills without uses are
    left out. InvalidValueError: a limit below 1, fewer than one day or more than a hundred years.
    """
    return Statement(
        many(SkillUses),
        _SQL["get_top_skills"](days=bounded("days", days, 1, MAX_DAYS), limit=limited(limit), status=status),
    )


def get_trending_skills(
    days: int = 30, half_life_days: int = 7, limit: int = 10, *, status: str | None = "published"
) -> Statement[list[TrendingSkill]]:
    """The skills with the highest scores, highest first. A use counts less the older it is.

    The score is the sum of `uses * weight` over the last `days` days of UTC. The weight of a day is
    1,000,000 * 0.5 ** (age / half_life_days), rounded half up to an integer. Today has the age 0, yesterday 1. So a use
    of today counts 1,000,000, and one of `half_life_days` ago counts half of that.

    Skills of another status than `status` are left out; None lists all. Ties are in id order. Skills with the score 0
    are left out. InvalidValueError: a limit below 1, fewer than one day or more than a hundred years.
    """
    return Statement(
        many(TrendingSkill),
        _SQL["get_trending_skills"](
            days=bounded("days", days, 1, MAX_DAYS),
            half_life_days=bounded("half_life_days", half_life_days, 1, MAX_DAYS),
            limit=limited(limit),
            status=status,
        ),
    )


def get_top_users(days: int = 30, limit: int = 10) -> Statement[list[UserUses]]:
    """The users with the most recorded uses on the last `days` days of UTC, most uses first. Today is the last day.

    Uses without a skill count, and those of skills that were deleted later. Ties are in id order. Users without uses
    and those who are being deleted are left out. InvalidValueError: a limit below 1, fewer than one day or more than a
    hundred years.
    """
    return Statement(
        many(UserUses),
        _SQL["get_top_users"](days=bounded("days", days, 1, MAX_DAYS), limit=limited(limit)),
    )


def get_top_tools(days: int = 30, limit: int = 10) -> Statement[list[ToolUses]]:
    """The tools with the most recorded uses on the last `days` days of UTC, most used first. Today is the last day.

    Uses without a skill count, and those of skills and users that were deleted later. Ties are in the order of the
    names. InvalidValueError: a limit below 1, fewer than one day or more than a hundred years.
    """
    return Statement(
        many(ToolUses),
        _SQL["get_top_tools"](days=bounded("days", days, 1, MAX_DAYS), limit=limited(limit)),
    )


def list_active_users(days: int = 30, *, limit: int = 50, after: str | None = None) -> Statement[Page[ActiveUser]]:
    """One page of the users who used a skill or tool on the last `days` days of UTC, last active first.

    It knows the last day of a user, and no time of day. Users who are being deleted are left out. Users of the same day
    are in descending id order. Pages may shift while users are active. `after` is the cursor of the page before.

    InvalidValueError: a limit below 1, an `after` that is not a cursor, fewer than one day or more than a hundred
    years.
    """
    day, id = paging.decode(after, _ACTIVE)
    return Statement(
        paging.page(
            ActiveUser, limit, lambda user: (datetime.combine(user.last_active_day, time(), UTC), user.user_id), _ACTIVE
        ),
        _SQL["list_active_users"](days=bounded("days", days, 1, MAX_DAYS), after_day=day, after_id=id, limit=limit),
    )


def list_usage_events(
    *, since: datetime | None = None, until: datetime | None = None, limit: int = 1_000, after: str | None = None
) -> Statement[Page[UsageEvent]]:
    """One page of the stored events from `since` to before `until`, oldest first, for an export.

    `after` is the cursor of the page before. Without `since` the list begins with the oldest event that is stored:
    pruned events, and those of deleted skills, are gone.

    A later page can miss an event: `created_at` is the time at which its transaction began, and it is seen once that is
    committed. A caller may also give an earlier time. For an export that misses no event of the present, choose an
    `until` some minutes ago, and use it as the next `since`.

    InvalidValueError: a limit below 1, an `after` that is not a cursor of this list, or a time without a time zone.
    """
    created_at, id = paging.decode(after, _EVENTS)
    return Statement(
        paging.page(UsageEvent, limit, lambda event: (event.created_at, event.id), _EVENTS),
        _SQL["list_usage_events"](since=since, until=until, after_created_at=created_at, after_id=id, limit=limit),
    )
