"""Tests usage events: each is counted exactly once, however often and in any batch it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from psycopg import errors as pg

import skilldb
from skilldb.errors import InvalidValueError, NotFoundError
from skilldb.models import NewUsageEvent, SkillUses
from skilldb.repositories import metrics, ratings, skills, usage, users
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
    for wrong in ({"days": 0}, {"days": -1}, {"limit": 0}, {"limit": -1}):
        ((name, value),) = wrong.items()
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
