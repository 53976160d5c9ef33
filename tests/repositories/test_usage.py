"""Tests usage events: each is counted exactly once, however often and in any batch it is recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from psycopg import errors as pg

import skilldb
from skilldb import paging
from skilldb.errors import InvalidValueError, NotFoundError
from skilldb.models import (
    ActiveUser,
    NewUsageEvent,
    SkillUses,
    ToolUses,
    TrendingSkill,
    UsageEvent,
    UsageTotals,
    UserUses,
)
from skilldb.repositories import metrics, ratings, retention, rollups, skills, usage, users
from skilldb.statement import Statement
from tests.support.api import GONE, Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ID = "6f1f0f6e-5d0e-4b39-9a53-0f1f2b3c4d5e"
WITH_SUMMER_TIME = "America/New_York"

pytestmark = pytest.mark.usefixtures("zone")


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the users u1 and u2 and the skills s1 to s3."""
    tenant = api("acme")
    for user in ("u1", "u2"):
        new_user(tenant, user)
    for skill in ("s1", "s2", "s3"):
        new_skill(tenant, skill)
    return tenant


def event(skill_id: str | None = "s1", **more: Any) -> NewUsageEvent:
    """A use of the skill."""
    return NewUsageEvent(**({"tool_name": "t", "skill_id": skill_id} | more))


def totals(tenant: Api) -> list[int]:
    """The stored uses of s1, s2 and s3. No counter may be lower than the number of events."""
    assert tenant.execute(metrics.find_metric_drift()) == []
    return [tenant.execute(skills.get_skill(skill)).total_uses for skill in ("s1", "s2", "s3")]


# Recording one


def test_an_event_is_kept_as_given_and_counted(addresses: Addresses, acme: Api) -> None:
    metadata = {"a": [1, 2.5, None, True, {"é": 'q"u\\o'}], "": {}}
    given = event(user_id="u1", tool_name="naïve", metadata=metadata, id=ID.upper(), created_at=LONG_AGO)
    assert acme.execute(usage.record_usage_event(given)) is True
    assert rows(
        addresses.admin,
        "SELECT tenant_id, id::text, tool_name, skill_id, user_id, metadata, created_at FROM usage_events",
    ) == [("acme", ID, "naïve", "s1", "u1", metadata, LONG_AGO)]
    assert totals(acme) == [1, 0, 0]


def test_an_event_needs_only_a_tool_and_happened_now(addresses: Addresses, acme: Api) -> None:
    before = datetime.now(UTC)
    assert acme.execute(usage.record_usage_event(event(None))) is True
    after = datetime.now(UTC)
    ((created_at, *others),) = rows(addresses.admin, "SELECT created_at, skill_id, user_id, metadata FROM usage_events")
    assert others == [None, None, None]
    assert before - timedelta(milliseconds=1) <= created_at <= after + timedelta(milliseconds=1)
    assert totals(acme) == [0, 0, 0]
    assert acme.execute(skills.get_skill("s1")).metrics_updated_at is None


def test_a_batch_is_repeated_whole_when_its_user_was_deleted_meanwhile(acme: Api) -> None:
    batch = [event(id=ID, user_id="u1"), event(None, id=str(uuid4()), user_id=None)]
    assert acme.execute(usage.record_usage_events(batch)) == 2
    assert acme.execute(users.delete_user("u1")) == GONE
    assert acme.execute(usage.record_usage_events(batch)) == 0
    assert acme.execute(usage.record_usage_events([*batch, event(None)])) == 1


def test_a_batch_that_repeats_an_event_of_no_such_skill_takes_the_new_events(acme: Api) -> None:
    assert acme.execute(usage.record_usage_event(event(id=ID)))
    assert acme.execute(usage.record_usage_events([event("gone", id=ID), event(None)])) == 1


def test_a_repeated_event_id_is_counted_once(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    assert acme.execute(usage.record_usage_event(event(id=ID))) is True
    before = contents(addresses.admin)
    for again in (event(id=ID), event(id=ID.upper()), event("s2", id=ID, tool_name="other", user_id="u1")):
        assert acme.execute(usage.record_usage_event(again)) is False
        assert acme.execute(usage.record_usage_events([again, again])) == 0
    assert contents(addresses.admin) == before
    assert totals(acme) == [1, 0, 0]
    assert [acme.execute(usage.record_usage_event(event())) for _ in range(2)] == [True, True]
    assert totals(acme) == [3, 0, 0]

    globex = api("globex")
    new_skill(globex, "s1")
    assert globex.execute(usage.record_usage_event(event(id=ID))) is True
    assert globex.execute(skills.get_skill("s1")).total_uses == 1
    assert totals(acme) == [3, 0, 0]


def test_uses_move_metrics_updated_at_and_never_updated_at(addresses: Addresses, acme: Api) -> None:
    rows(addresses.admin, "UPDATE skills SET updated_at = %s, metrics_updated_at = %s RETURNING 1", LONG_AGO, LONG_AGO)
    acme.execute(usage.record_usage_event(event("s1")), usage.record_usage_events([event("s2"), event("s2")]))
    found = [acme.execute(skills.get_skill(skill)) for skill in ("s1", "s2", "s3")]
    assert [skill.updated_at for skill in found] == [LONG_AGO] * 3
    assert [skill.metrics_updated_at > LONG_AGO for skill in found] == [True, True, False]


def test_an_event_that_cannot_be_is_refused_and_so_is_any_batch_with_it(addresses: Addresses, acme: Api) -> None:
    acme.execute(usage.record_usage_event(event()))
    rows(addresses.admin, "UPDATE skills SET total_uses = %s WHERE id = 's3' RETURNING id", 2**63 - 1)

    def check(bad: NewUsageEvent, error: type[skilldb.SkilldbError], *named: str, cause: Any = None) -> None:
        with refused(addresses, error, *named, cause=cause):
            acme.execute(usage.record_usage_event(bad))
        for batch in ([bad], [event(), bad, event("s2")]):
            with refused(addresses, error, *named, cause=cause):
                acme.execute(usage.record_usage_events(batch))

    check(event("missing"), NotFoundError, "skill 'missing' does not exist", cause=pg.NoDataFound)
    check(event(user_id="nobody"), NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound)
    check(event(None, user_id="nobody"), NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound)
    check(event(id="no-uuid"), InvalidValueError, "id", "UUID", "'no-uuid'")
    check(event(id=""), InvalidValueError, "id", "UUID", "''")
    check(event(created_at=datetime(2026, 5, 5)), InvalidValueError, "created_at", "time zone", "2026-05-05T00:00:00")
    check(event(tool_name="a\0"), InvalidValueError, "tool_name", r"'a\x00'")
    check(event(tool_name=None), InvalidValueError, "tool_name", "None", cause=pg.NotNullViolation)
    check(event(metadata=[]), InvalidValueError, "metadata", "[]")
    check(event(metadata={"a": float("nan")}), InvalidValueError, "metadata", "JSON")
    check(event(metadata={"a": "\0"}), InvalidValueError, "metadata", "u0000", cause=pg.UntranslatableCharacter)
    check(event("s3"), InvalidValueError, "'s3'", "out of range", cause=pg.NumericValueOutOfRange)


# Recording many


def test_a_batch_is_kept_as_given_and_counted_by_skill(addresses: Addresses, acme: Api) -> None:
    metadata = {"a": ['q"u,o{t}e\\', None], "é": {}}
    given = [
        event("s1", id=ID, user_id="u1", metadata=metadata, created_at=LONG_AGO, tool_name="a,b{}"),
        event("s1", user_id="u2", tool_name="c"),
        event("s2", metadata={}, tool_name="d"),
        event(None, user_id="u1", tool_name="e"),
    ]
    assert acme.execute(usage.record_usage_events(given)) == 4
    found = rows(addresses.admin, "SELECT tool_name, skill_id, user_id, metadata FROM usage_events ORDER BY 1")
    assert found == [
        ("a,b{}", "s1", "u1", metadata),
        ("c", "s1", "u2", None),
        ("d", "s2", None, {}),
        ("e", None, "u1", None),
    ]
    assert rows(addresses.admin, "SELECT created_at FROM usage_events WHERE id = %s", ID) == [(LONG_AGO,)]
    assert totals(acme) == [2, 1, 0]


def test_duplicates_within_a_batch_and_of_former_ones_are_skipped(addresses: Addresses, acme: Api) -> None:
    ids = [str(uuid4()) for _ in range(4)]
    assert acme.execute(usage.record_usage_event(event("s1", id=ids[0]))) is True
    batch = [event("s1", id=id) for id in (*ids[:3], *ids[:3])] + [event("s2", id=ids[3])] * 2 + [event("s2")] * 2
    assert acme.execute(usage.record_usage_events(batch)) == 2 + 1 + 2
    assert totals(acme) == [3, 3, 0]
    assert acme.execute(usage.record_usage_events(batch)) == 2
    assert totals(acme) == [3, 5, 0]
    assert rows(addresses.admin, "SELECT count(*) FROM usage_events") == [(8,)]


def test_a_batch_may_be_any_iterable_of_any_length(acme: Api) -> None:
    assert acme.execute(usage.record_usage_events(event(f"s{n % 2 + 1}") for n in range(3000))) == 3000
    assert acme.execute(usage.record_usage_events((event("s3"),))) == 1
    assert totals(acme) == [1500, 1500, 1]


def test_an_empty_batch_is_zero_and_sends_nothing(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(usage.record_usage_events([])) == 0
    assert acme.execute(usage.record_usage_events(iter([])), usage.record_usage_event(event())) == (0, True)
    assert usage.record_usage_events([]).steps == ()
    with skilldb.connect(addresses.service) as closed:
        tenant = closed.tenant("acme")
    assert tenant.execute(usage.record_usage_events([])) == 0


# Counting


@pytest.mark.parametrize("zone", ["UTC", WITH_SUMMER_TIME, "Asia/Kathmandu"], indirect=True)
def test_uses_are_counted_by_days_of_utc_with_empty_days_as_zero(acme: Api) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    midnights = [today - timedelta(days=back) for back in range(400)]
    # The first and the last millisecond of each day, without every seventh day. A year has both clock changes.
    used = [midnight for number, midnight in enumerate(midnights) if number % 7]
    borders = [time for start in used for time in (start, start + timedelta(days=1, milliseconds=-1))]
    acme.execute(usage.record_usage_events(event("s1", created_at=time) for time in borders))
    acme.execute(usage.record_usage_event(event("s2", created_at=today)))

    found = acme.execute(usage.count_uses_by_day("s1", days=366))
    last = found[-1].day
    assert today.date() <= last <= datetime.now(UTC).date()
    assert [day.day for day in found] == [last - timedelta(days=back) for back in reversed(range(366))]
    expected = {midnight.date() for midnight in used}
    assert [day.uses for day in found] == [2 if day.day in expected else 0 for day in found]


def test_uses_are_counted_over_30_days_unless_said_otherwise_and_over_one_at_least(
    addresses: Addresses, acme: Api
) -> None:
    assert [day.uses for day in acme.execute(usage.count_uses_by_day("s1"))] == [0] * 30
    assert len(acme.execute(usage.count_uses_by_day("s1", days=1))) == 1
    for days in (0, -1):
        with refused(addresses, InvalidValueError, f"days must be at least 1, not {days}"):
            acme.execute(usage.count_uses_by_day("s1", days=days))
    with refused(addresses, InvalidValueError, "days", str(2**31)):
        acme.execute(usage.count_uses_by_day("s1", days=2**31))
    with refused(addresses, InvalidValueError, "days", str(2**31 - 1)):
        acme.execute(usage.count_uses_by_day("s1", days=2**31 - 1))


def test_the_top_skills_are_the_most_used_of_the_window_most_used_first(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s4")
    now = datetime.now(UTC)
    acme.execute(ratings.rate_skill("u1", "s2", 4), metrics.increment_skill_uses("s4", 100))
    uses = {"s1": 2, "s2": 3, "s3": 2}
    acme.execute(usage.record_usage_events(event(skill) for skill, count in uses.items() for _ in range(count)))
    acme.execute(usage.record_usage_events([event(None)] * 9))
    acme.execute(usage.record_usage_events([event("s3", created_at=now - timedelta(days=8))] * 2))

    top = acme.execute(usage.get_top_skills(days=7))
    assert top == [
        SkillUses(skill_id="s2", skill_name="S2", skill_slug="s2", average_rating=400, uses=3),
        SkillUses(skill_id="s1", skill_name="S1", skill_slug="s1", average_rating=None, uses=2),
        SkillUses(skill_id="s3", skill_name="S3", skill_slug="s3", average_rating=None, uses=2),
    ]
    assert acme.execute(usage.get_top_skills(days=7, limit=2)) == top[:2]
    assert [(s.skill_id, s.uses) for s in acme.execute(usage.get_top_skills())] == [("s3", 4), ("s2", 3), ("s1", 2)]
    for name, value in (("days", 0), ("days", -1), ("limit", 0), ("limit", -1)):
        wrong: dict[str, Any] = {name: value}
        with refused(addresses, InvalidValueError, f"{name} must be at least 1, not {value}"):
            acme.execute(usage.get_top_skills(**wrong))
    with refused(addresses, InvalidValueError, "limit", str(2**63)):
        acme.execute(usage.get_top_skills(limit=2**63))


def test_the_top_skills_are_ten_unless_said_otherwise(acme: Api) -> None:
    for number in range(4, 13):
        new_skill(acme, f"s{number}")
    acme.execute(usage.record_usage_events(event(f"s{n}") for n in range(1, 13) for _ in range(n)))
    assert [s.uses for s in acme.execute(usage.get_top_skills())] == list(range(12, 2, -1))


@pytest.mark.parametrize("zone", [WITH_SUMMER_TIME], indirect=True)
def test_the_window_of_the_top_skills_is_of_whole_days_of_utc_also_where_the_clock_changed(
    acme: Api, zone: str
) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    offset = today.astimezone(ZoneInfo(zone)).utcoffset()
    days = next(d for d in range(7, 365) if (today - timedelta(d)).astimezone(ZoneInfo(zone)).utcoffset() != offset)
    start = today - timedelta(days=days - 1)
    inside, outside = start, start - timedelta(milliseconds=1)
    acme.execute(usage.record_usage_events([event("s1", created_at=inside), event("s2", created_at=outside)]))
    assert [s.skill_id for s in acme.execute(usage.get_top_skills(days=days))] == ["s1"]


def test_another_tenant_sees_and_counts_no_use(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    acme.execute(usage.record_usage_event(event(user_id="u1")))
    globex = api("globex")
    new_user(globex, "u2")
    before = contents(addresses.admin)
    assert globex.execute(usage.get_top_skills()) == []
    assert {day.uses for day in globex.execute(usage.count_uses_by_day("s1"))} == {0}
    for foreign, message in ((event(), "skill 's1' does not exist"), (event(None, user_id="u1"), "user 'u1' does not")):
        with refused(addresses, NotFoundError, message, cause=pg.NoDataFound):
            globex.execute(usage.record_usage_event(foreign))
        with refused(addresses, NotFoundError, message, cause=pg.NoDataFound):
            globex.execute(usage.record_usage_events([event(None, user_id="u2"), foreign]))
    assert contents(addresses.admin) == before


# In batches


def test_events_of_a_generator_are_recorded_batch_by_batch(acme: Api) -> None:
    taken = 0

    def events() -> Iterator[NewUsageEvent]:
        nonlocal taken
        for taken in range(1, 26):
            yield event(id=str(UUID(int=taken)))

    statements = usage.record_usage_events_in_batches(events(), size=10)
    assert taken == 0
    assert acme.execute(next(statements)) == 10
    assert taken == 10
    assert [acme.execute(statement) for statement in statements] == [10, 5]
    assert totals(acme) == [25, 0, 0]
    again = usage.record_usage_events_in_batches(events(), size=7)
    assert [acme.execute(statement) for statement in again] == [0, 0, 0, 0]
    assert totals(acme) == [25, 0, 0]
    assert list(usage.record_usage_events_in_batches([])) == []
    with pytest.raises(InvalidValueError, match="size must be at least 1"):
        usage.record_usage_events_in_batches([], size=0)


def test_after_a_bad_event_the_batches_before_it_are_stored(acme: Api) -> None:
    good = [event(id=str(UUID(int=n))) for n in range(1, 5)]
    statements = usage.record_usage_events_in_batches([*good, event("gone"), event()], size=2)
    assert [acme.execute(next(statements)) for _ in range(2)] == [2, 2]
    with pytest.raises(NotFoundError, match="skill 'gone' does not exist"):
        acme.execute(next(statements))
    assert totals(acme) == [4, 0, 0]


# Reports over the organisation

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


def at(day: date, hour: int = 12) -> datetime:
    """A time on the day of UTC."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def also_folded(tenant: Api, ask: Callable[[], Statement[Any]]) -> Any:
    """The answer, which must be the same with pending uses, with some of them folded, and with all."""
    answers = [tenant.execute(ask())]
    for limit in (1, 1_000):
        tenant.execute(rollups.fold_uses(limit))
        answers.append(tenant.execute(ask()))
    assert answers[1:] == answers[:1] * 2
    return answers[0]


def test_the_totals_count_all_uses_and_who_and_what_has_any(acme: Api) -> None:
    assert acme.execute(usage.get_usage_totals()) == UsageTotals(uses=0, skills_used=0, active_users=0, tools_used=0)
    new_skill(acme, "draft", status="draft")
    acme.execute(
        usage.record_usage_events(
            [
                *[event("s1", user_id="u1", created_at=at(TODAY - 29 * DAY, 0))] * 3,
                event("draft", user_id="u2", tool_name="editor"),
                event(None, created_at=at(TODAY - DAY)),
                event("s2", user_id="u2", tool_name="old", created_at=at(TODAY - 30 * DAY, 23)),
                event("s3", user_id="u2", tool_name="new", created_at=at(TODAY + DAY)),
            ]
        )
    )
    found = also_folded(acme, usage.get_usage_totals)
    assert found == UsageTotals(uses=5, skills_used=2, active_users=2, tools_used=2)
    assert acme.execute(usage.get_usage_totals(31)).skills_used == 3
    assert acme.execute(usage.get_usage_totals(1)).uses == 1
    acme.execute(skills.delete_skill("s1"), users.delete_user("u1"))
    assert acme.execute(usage.get_usage_totals()) == UsageTotals(uses=5, skills_used=1, active_users=1, tools_used=2)


@pytest.mark.parametrize("zone", ["UTC", WITH_SUMMER_TIME], indirect=True)
def test_a_trend_by_week_or_month_cuts_the_first_and_the_last_to_the_days(acme: Api) -> None:
    acme.execute(usage.record_usage_events(event(None, created_at=at(TODAY - n * DAY, 0)) for n in range(-9, 500)))
    for days in (1, 8, 30, 400):
        within = [TODAY - n * DAY for n in reversed(range(days))]
        weeks = Counter(day - day.weekday() * DAY for day in within)
        months = Counter(day.replace(day=1) for day in within)
        for by, expected in (("day", Counter(within)), ("week", weeks), ("month", months)):
            found = acme.execute(usage.get_usage_trend(days, by))
            assert [(each.day, each.uses) for each in found] == list(expected.items()), (days, by)
    acme.execute(rollups.fold_uses())
    assert acme.execute(usage.get_usage_trend(400, "month"))[-1].uses == TODAY.day


def test_a_trend_by_week_lists_weeks_without_uses(acme: Api) -> None:
    acme.execute(usage.record_usage_event(event(None, created_at=at(TODAY - 20 * DAY))))
    found = acme.execute(usage.get_usage_trend(22, "week"))
    assert [each.day.weekday() for each in found] == [0] * len(found)
    assert sorted(each.uses for each in found) == [0] * (len(found) - 1) + [1]
    assert len(found) == 4


def test_a_trend_by_another_period_is_refused(addresses: Addresses, acme: Api) -> None:
    for by in ("year", "", "Day", None, 7, ["day"]):
        with refused(addresses, InvalidValueError, "by must be one of day, week, month, not"):
            acme.execute(usage.get_usage_trend(7, by))  # type: ignore[arg-type]


def test_top_and_trending_skills_are_published_ones_unless_asked(acme: Api) -> None:
    for number, status in enumerate(("draft", "archived", "pending_review"), start=4):
        new_skill(acme, f"s{number}", status=status)
    acme.execute(usage.record_usage_events(event(f"s{n}") for n in range(1, 7) for _ in range(n)))
    for ask in (usage.get_top_skills, usage.get_trending_skills):
        for given, expected in (
            ({}, ["s3", "s2", "s1"]),
            ({"limit": 2}, ["s3", "s2"]),
            ({"status": None}, ["s6", "s5", "s4", "s3", "s2", "s1"]),
            ({"status": None, "limit": 2}, ["s6", "s5"]),
            ({"status": "draft"}, ["s4"]),
            ({"status": "unknown"}, []),
        ):
            arguments: dict[str, Any] = given
            assert [skill.skill_id for skill in acme.execute(ask(**arguments))] == expected, (ask, given)


def test_a_use_counts_for_a_trend_half_as_much_after_each_half_life(acme: Api) -> None:
    acme.execute(ratings.rate_skill("u1", "s2", 4))
    uses = {"s1": [14] * 5 + [40] * 99, "s2": [0, 7], "s3": [1]}
    acme.execute(
        usage.record_usage_events(
            event(skill, created_at=at(TODAY - age * DAY)) for skill, ages in uses.items() for age in ages
        ),
        usage.record_usage_event(event("s3", created_at=at(TODAY + DAY))),
    )
    found = acme.execute(usage.get_trending_skills())
    # 905,724 = 1,000,000 * 0.5 ** (1 / 7), rounded.
    assert [(skill.skill_id, skill.score) for skill in found] == [("s2", 1_500_000), ("s1", 1_250_000), ("s3", 905_724)]
    assert found[0] == TrendingSkill(
        skill_id="s2", skill_name="S2", skill_slug="s2", average_rating=400, score=1_500_000
    )
    by_day = acme.execute(usage.get_trending_skills(50, 1))
    # Half of a millionth, at 20 days, is rounded up; what is 40 days old counts nothing.
    assert [(skill.skill_id, skill.score) for skill in by_day] == [("s2", 1_007_813), ("s3", 500_000), ("s1", 305)]
    assert [skill.skill_id for skill in acme.execute(usage.get_trending_skills(50, 36_525))] == ["s1", "s2", "s3"]


@pytest.mark.parametrize("half_life_days", [1, 7, 50, 36_525])
def test_a_trend_takes_any_days_and_half_life_and_old_uses_weigh_nothing(acme: Api, half_life_days: int) -> None:
    ages = {"s1": 21 * half_life_days - 1, "s2": 21 * half_life_days, "s3": 20 * half_life_days}
    acme.execute(
        usage.record_usage_events(
            event(skill, created_at=at(TODAY - age * DAY)) for skill, age in ages.items() if age < 36_525
        ),
        usage.record_usage_event(event("s1")),
    )
    # The weight of 20 half lives is just above a half: it is rounded up to 1. One day before 21 it may be so, too.
    almost = round(1_000_000 * 0.5 ** (21 - 1 / half_life_days)) if ages["s1"] < 36_525 else 0
    scores = {"s1": 1_000_000 + almost} | ({"s3": 1} if ages["s3"] < 36_525 else {})
    for days in (1_080, 36_525):
        found = {skill.skill_id: skill.score for skill in acme.execute(usage.get_trending_skills(days, half_life_days))}
        assert found == {id: score for id, score in scores.items() if id == "s1" or ages[id] < days}


def test_skills_of_the_same_score_are_in_id_order_and_without_a_score_left_out(acme: Api) -> None:
    acme.execute(
        usage.record_usage_events([event("s2"), event("s1")]),
        usage.record_usage_event(event("s3", created_at=at(TODAY - 25 * DAY))),
    )
    assert [skill.skill_id for skill in acme.execute(usage.get_trending_skills())] == ["s1", "s2", "s3"]
    assert [skill.skill_id for skill in acme.execute(usage.get_trending_skills(half_life_days=1))] == ["s1", "s2"]


def test_top_users_have_the_most_uses_pending_ones_included(addresses: Addresses, acme: Api) -> None:
    acme.execute(users.create_user("none@example.com", id="u3"))
    for user, uses in {"u1": 2, "u2": 3, "u3": 2}.items():
        acme.execute(usage.record_usage_events([event(None, user_id=user)] * uses))
    acme.execute(
        usage.record_usage_events([event("s1")] * 9),
        usage.record_usage_events([event("s1", user_id="u1", created_at=at(TODAY - 8 * DAY))] * 2),
        usage.record_usage_events([event("s1", user_id="u1", created_at=at(TODAY + DAY))] * 9),
    )
    top = also_folded(acme, lambda: usage.get_top_users(8))
    assert top == [
        UserUses(user_id="u2", user_name="U2", uses=3),
        UserUses(user_id="u1", user_name="U1", uses=2),
        UserUses(user_id="u3", user_name=None, uses=2),
    ]
    assert acme.execute(usage.get_top_users(8, 2)) == top[:2]
    assert [user.uses for user in acme.execute(usage.get_top_users(9))] == [4, 3, 2]
    acme.execute(usage.record_usage_event(event(user_id="u3")), users.delete_user("u2"))
    assert [(user.user_id, user.uses) for user in acme.execute(usage.get_top_users(8))] == [("u3", 3), ("u1", 2)]
    # A repair may append the uses of a user who is deleted at that moment.
    rows(
        addresses.admin,
        "INSERT INTO pending_uses (tenant_id, day, user_id, uses) VALUES ('acme', %s, 'gone', 99) RETURNING id",
        TODAY,
    )
    assert [user.user_id for user in acme.execute(usage.get_top_users(8, 2))] == ["u3", "u1"]
    page = acme.execute(usage.list_active_users(8, limit=1))
    assert [user.user_id for user in page.items] == ["u3"]
    assert page.after is not None


def test_top_tools_have_the_most_uses_pending_ones_included(acme: Api) -> None:
    for tool, uses in {"editor": 2, "search": 3, "cli": 2}.items():
        acme.execute(usage.record_usage_events([event("s1", user_id="u1", tool_name=tool)] * uses))
    acme.execute(
        usage.record_usage_events([event(None, tool_name="old", created_at=at(TODAY - 8 * DAY))] * 9),
        usage.record_usage_events([event(None, tool_name="new", created_at=at(TODAY + DAY))] * 9),
    )
    top = also_folded(acme, lambda: usage.get_top_tools(8))
    assert top == [
        ToolUses(tool_name="search", uses=3),
        ToolUses(tool_name="cli", uses=2),
        ToolUses(tool_name="editor", uses=2),
    ]
    acme.execute(skills.delete_skill("s1"), users.delete_user("u1"))
    assert acme.execute(usage.get_top_tools(8, 2)) == top[:2]
    assert acme.execute(usage.get_top_tools(9, 1)) == [ToolUses(tool_name="old", uses=9)]


def test_active_users_are_listed_by_their_last_day_page_by_page(acme: Api) -> None:
    ages = {"u1": [70, 1, 40], "u2": [0, 33], "u3": [65], "u4": [1], "u5": [66, 67], "u6": [-3]}
    for user in ("u3", "u4", "u5", "u6"):
        new_user(acme, user)
    acme.execute(
        usage.record_usage_events(
            event(None, user_id=user, created_at=at(TODAY - age * DAY)) for user, each in ages.items() for age in each
        ),
        usage.record_usage_event(event("s1")),
    )
    page = also_folded(acme, lambda: usage.list_active_users(66))
    assert page.after is None
    assert page.items == [
        ActiveUser(user_id="u2", user_name="U2", last_active_day=TODAY),
        ActiveUser(user_id="u4", user_name="U4", last_active_day=TODAY - DAY),
        ActiveUser(user_id="u1", user_name="U1", last_active_day=TODAY - DAY),
        ActiveUser(user_id="u3", user_name="U3", last_active_day=TODAY - 65 * DAY),
    ]
    for limit in (1, 2, 3):
        found: list[ActiveUser] = []
        after = None
        while after is not None or not found:
            part = acme.execute(usage.list_active_users(66, limit=limit, after=after))
            assert len(part.items) == limit or part.after is None
            found += part.items
            after = part.after
        assert found == page.items
    assert [user.user_id for user in acme.execute(usage.list_active_users(67)).items] == ["u2", "u4", "u1", "u3", "u5"]
    assert [user.user_id for user in acme.execute(usage.list_active_users(1)).items] == ["u2"]


def test_the_last_day_of_a_user_is_known_after_pruning_and_in_any_month(acme: Api) -> None:
    for day in (date(2024, 2, 29), date(2024, 1, 31), date(2023, 12, 1)):
        acme.execute(usage.record_usage_event(event(user_id="u1", created_at=at(day))))
    acme.execute(usage.record_usage_event(event(user_id="u2", created_at=at(date(2024, 2, 28)))), rollups.fold_uses())
    acme.execute(retention.keep_rows(event_days=2))
    assert acme.execute(retention.prune_events()) == 4
    found = acme.execute(usage.list_active_users(36_525)).items
    assert [(user.user_id, user.last_active_day) for user in found] == [
        ("u1", date(2024, 2, 29)),
        ("u2", date(2024, 2, 28)),
    ]


def test_the_users_of_a_skill_are_counted_once_each(acme: Api) -> None:
    given = [("s1", "u1", 0), ("s1", "u1", 3), ("s1", "u2", 7), ("s1", None, 0), ("s2", "u2", 0), ("s1", "u2", -1)]
    acme.execute(
        usage.record_usage_events(
            event(skill, user_id=user, created_at=at(TODAY - age * DAY, 0)) for skill, user, age in given
        )
    )
    counts = [acme.execute(usage.count_skill_users(skill, days)) for skill in ("s1", "s2", "gone") for days in (7, 8)]
    assert counts == [1, 2, 1, 1, 0, 0]
    acme.execute(users.delete_user("u1"))
    assert acme.execute(usage.count_skill_users("s1")) == 1


def test_reports_of_days_and_limits_that_cannot_be_are_refused(addresses: Addresses, acme: Api) -> None:
    reports: dict[Callable[..., Statement[Any]], tuple[str, ...]] = {
        usage.get_usage_totals: ("days",),
        usage.get_usage_trend: ("days",),
        usage.get_trending_skills: ("days", "half_life_days", "limit"),
        usage.get_top_users: ("days", "limit"),
        usage.get_top_tools: ("days", "limit"),
        usage.list_active_users: ("days", "limit"),
        usage.list_usage_events: ("limit",),
        partial(usage.count_skill_users, "s1"): ("days",),
    }
    for ask, names in reports.items():
        for name in names:
            for value in (0, -1, True, 1.5, "1", 2**63):
                with refused(addresses, InvalidValueError, name, str(value)):
                    acme.execute(ask(**{name: value}))
            if name != "limit":
                with refused(addresses, InvalidValueError, f"{name} must be at most 36525, not 36526"):
                    acme.execute(ask(**{name: 36_526}))
                acme.execute(ask(**{name: 36_525}))


# Export


def exported(tenant: Api, **given: Any) -> list[list[str]]:
    """The ids on each page, from the first one on."""
    pages: list[list[str]] = []
    after = None
    while after is not None or not pages:
        page = tenant.execute(usage.list_usage_events(after=after, **given))
        pages.append([each.id for each in page.items])
        after = page.after
    return pages


def test_events_are_exported_as_they_are_stored_oldest_first(acme: Api) -> None:
    ids = [str(UUID(int=n)) for n in range(5)]
    noon = at(TODAY - DAY)
    acme.execute(
        usage.record_usage_events(
            [
                event(None, id=ids[4], created_at=noon),
                event("s1", id=ids[1], created_at=noon),
                event("s1", id=ids[0], created_at=noon + timedelta(milliseconds=1)),
                event("s2", id=ids[3], created_at=noon - timedelta(milliseconds=1)),
                event("s1", id=ids[2], user_id="u1", metadata={"a": [1]}, created_at=LONG_AGO, tool_name="old"),
            ]
        )
    )
    first = acme.execute(usage.list_usage_events(limit=1))
    assert first.items == [
        UsageEvent(id=ids[2], tool_name="old", skill_id="s1", user_id="u1", metadata={"a": [1]}, created_at=LONG_AGO)
    ]
    assert exported(acme) == [[ids[2], ids[3], ids[1], ids[4], ids[0]]]
    assert exported(acme, limit=2) == [[ids[2], ids[3]], [ids[1], ids[4]], [ids[0]]]
    assert exported(acme, limit=2, since=noon) == [[ids[1], ids[4]], [ids[0]]]
    assert exported(acme, limit=1, since=noon, until=noon + timedelta(milliseconds=1)) == [[ids[1]], [ids[4]]]
    assert exported(acme, since=noon + timedelta(microseconds=1)) == [[ids[0]]]
    assert exported(acme, since=noon - timedelta(microseconds=1), until=noon + timedelta(microseconds=1)) == [
        [ids[1], ids[4]]
    ]
    assert exported(acme, until=noon) == [[ids[2], ids[3]]]
    assert exported(acme, since=noon, until=noon) == exported(acme, since=noon, until=LONG_AGO) == [[]]
    # A cursor from before `since` does not bring earlier events back.
    assert acme.execute(usage.list_usage_events(since=noon, after=first.after, limit=1)).items[0].id == ids[1]


@pytest.mark.parametrize("year", [2, 9998])
def test_events_are_exported_from_and_to_the_first_and_the_last_year(acme: Api, year: int) -> None:
    acme.execute(usage.record_usage_event(event(id=ID, created_at=LONG_AGO)))
    first, last = datetime(year, 1, 1, tzinfo=UTC), datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    for time in (first, last):
        assert exported(acme, since=time) == ([[ID]] if year == 2 else [[]])
        assert exported(acme, until=time) == ([[]] if year == 2 else [[ID]])


def test_an_export_continues_where_it_stopped(acme: Api) -> None:
    acme.execute(usage.record_usage_events(event(id=str(UUID(int=n)), created_at=LONG_AGO) for n in range(3)))
    page = acme.execute(usage.list_usage_events(limit=2))
    acme.execute(
        usage.record_usage_event(event(id=str(UUID(int=9)), created_at=LONG_AGO - DAY)),
        usage.record_usage_event(event(id=str(UUID(int=8)), created_at=LONG_AGO + DAY)),
        skills.delete_skill("s2"),
    )
    rest = acme.execute(usage.list_usage_events(limit=2, after=page.after))
    assert ([each.id for each in rest.items], rest.after) == ([str(UUID(int=2)), str(UUID(int=8))], None)


def test_pruned_events_and_those_of_deleted_skills_are_not_exported(acme: Api) -> None:
    acme.execute(
        usage.record_usage_events(
            [event(created_at=LONG_AGO), event("s2", id=ID), event(user_id="u1", id=str(uuid4()))]
        )
    )
    acme.execute(retention.keep_rows(event_days=2))
    assert acme.execute(retention.prune_events()) == 1
    acme.execute(skills.delete_skill("s1"), users.delete_user("u1"))
    assert exported(acme) == [[ID]]


def test_what_is_no_cursor_or_time_of_an_export_is_refused(addresses: Addresses, acme: Api) -> None:
    for after in ("none", "", paging.encode(LONG_AGO, "s1", paging.Sort("events", datetime))):
        with refused(addresses, InvalidValueError, "after is not a cursor of this list"):
            acme.execute(usage.list_usage_events(after=after))
    for name in ("since", "until"):
        with refused(addresses, InvalidValueError, name, "time zone"):
            acme.execute(usage.list_usage_events(**{name: datetime(2026, 5, 5)}))  # type: ignore[arg-type]


def test_another_tenant_is_in_no_report(acme: Api, api: Callable[[str], Api]) -> None:
    acme.execute(usage.record_usage_events([event(user_id="u1"), event("s2", user_id="u2", created_at=LONG_AGO)]))
    globex = api("globex")
    new_user(globex, "u1")
    new_skill(globex, "s1")
    for _ in range(2):
        assert globex.execute(usage.get_usage_totals()).uses == globex.execute(usage.count_skill_users("s1")) == 0
        assert {each.uses for each in globex.execute(usage.get_usage_trend(by="month"))} == {0}
        for lists in (usage.get_top_skills, usage.get_trending_skills, usage.get_top_users, usage.get_top_tools):
            assert globex.execute(lists()) == []
        for pages in (usage.list_active_users, usage.list_usage_events):
            assert globex.execute(pages()).items == []
        acme.execute(rollups.fold_uses())
