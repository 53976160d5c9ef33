"""Tests the rollups: each event and measurement is on its own day, once; drift is found and rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from skilldb.errors import InvalidValueError, NotFoundError
from skilldb.models import DailyCost, NewTokenMeasurement, NewUsageEvent, RollupDrift
from skilldb.repositories import metrics, retention, rollups, skills, tokens, usage, users
from tests.support.api import GONE, Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


def at(day: date, hour: int = 12) -> datetime:
    """A time on the day of UTC."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def event(skill_id: str | None = "s1", user_id: str | None = "u1", **more: Any) -> NewUsageEvent:
    return NewUsageEvent(**({"tool_name": "t", "skill_id": skill_id, "user_id": user_id} | more))


def measured(skill_id: str = "s1", **more: Any) -> NewTokenMeasurement:
    return NewTokenMeasurement(**({"skill_id": skill_id, "model_name": "m"} | more))


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the users u1 and u2 and the skills s1 and s2."""
    tenant = api("acme")
    for user in ("u1", "u2"):
        new_user(tenant, user)
    for skill in ("s1", "s2"):
        new_skill(tenant, skill)
    return tenant


def by_day(addresses: Addresses, table: str) -> dict[tuple[str, date], int]:
    """The uses that a rollup holds, by key and day; days without uses are left out."""
    key = {"skill_monthly_uses": "skill_id", "tool_monthly_uses": "tool_name", "user_monthly_uses": "user_id"}[table]
    found = rows(
        addresses.admin,
        f"SELECT {key}, month + n, uses FROM {table}, generate_series(0, 30) AS n, "  # noqa: S608
        "uses_between(uses_to_day, month, month + n, month + n) AS uses WHERE tenant_id = 'acme' AND uses <> 0",
    )
    return {(name, day): uses for name, day, uses in found}


def drift(tenant: Api, day: date) -> list[RollupDrift]:
    uses, costs = tenant.execute(rollups.find_use_drift(day), rollups.find_cost_drift(day))
    return [*uses, *costs]


def fold_all(tenant: Api) -> None:
    tenant.execute(rollups.fold_uses(1_000_000))


# Recording


def test_each_event_is_on_its_own_day_of_utc(addresses: Addresses, acme: Api) -> None:
    days = [date(2024, 2, 29), date(2024, 3, 1), date(2023, 12, 31), TODAY]
    acme.execute(usage.record_usage_event(event(created_at=at(days[0], 0))))
    acme.execute(
        usage.record_usage_events([event(created_at=at(days[0], 23)), *(event(created_at=at(d)) for d in days[1:])] * 2)
    )
    expected = {("s1", days[0]): 3, **{("s1", day): 2 for day in days[1:]}}
    assert by_day(addresses, "skill_monthly_uses") == expected
    fold_all(acme)
    assert by_day(addresses, "tool_monthly_uses") == {("t", day): uses for (_, day), uses in expected.items()}
    assert by_day(addresses, "user_monthly_uses") == {("u1", day): uses for (_, day), uses in expected.items()}
    assert [found for day in days for found in drift(acme, day)] == []


@pytest.mark.parametrize("zone", ["Pacific/Apia", "America/New_York"], indirect=True)
def test_the_day_is_that_of_utc_in_every_time_zone(addresses: Addresses, acme: Api, zone: str) -> None:
    # Apia had no 30 December 2011.
    days = [date(2011, 12, 29), date(2011, 12, 30), date(2011, 12, 31), date(2026, 3, 8)]
    acme.execute(*(usage.record_usage_event(event(created_at=at(day, hour))) for day in days for hour in (0, 23)))
    acme.execute(tokens.record_token_measurements(measured(created_at=at(day, 23)) for day in days))
    assert by_day(addresses, "skill_monthly_uses") == {("s1", day): 2 for day in days}
    assert [d for (d,) in rows(addresses.admin, "SELECT day FROM skill_daily_costs ORDER BY day")] == sorted(days)
    fold_all(acme)
    assert [found for day in days for found in drift(acme, day)] == []
    last = acme.execute(usage.count_uses_by_day("s1", 3))
    assert [each.day for each in last] == [TODAY - 2 * DAY, TODAY - DAY, TODAY]


def test_a_repeated_event_is_on_no_further_day(addresses: Addresses, acme: Api) -> None:
    id = str(uuid4())
    assert acme.execute(usage.record_usage_event(event(id=id, created_at=at(TODAY - 3 * DAY))))
    assert not acme.execute(usage.record_usage_event(event(id=id, created_at=at(TODAY))))
    assert acme.execute(usage.record_usage_events([event(id=id), event(id=id, skill_id="s2")])) == 0
    assert by_day(addresses, "skill_monthly_uses") == {("s1", TODAY - 3 * DAY): 1}
    assert acme.execute(rollups.fold_uses()) == 1
    assert by_day(addresses, "tool_monthly_uses") == {("t", TODAY - 3 * DAY): 1}


def test_the_costs_of_a_day_are_the_sums_of_its_measurements(addresses: Addresses, acme: Api) -> None:
    full = measured(input_tokens=10, output_tokens=5, estimated_cost_microcents=7, latency_ms=3)
    acme.execute(tokens.record_token_measurement(full))
    acme.execute(tokens.record_token_measurements([full, measured(), measured(model_name="n", latency_ms=9)]))
    found = rows(
        addresses.admin,
        "SELECT model_name, measurements, priced_measurements, cost_microcents, input_tokens, output_tokens, "
        "total_tokens, timed_measurements, latency_ms FROM skill_daily_costs ORDER BY 1",
    )
    assert found == [("m", 3, 2, 14, 20, 10, 30, 2, 6), ("n", 1, 0, 0, 0, 0, 0, 1, 9)]
    (today,) = acme.execute(tokens.get_cost_trend("s1", 1))
    assert today == DailyCost(day=TODAY, cost_microcents=14, measurements=4)
    assert drift(acme, TODAY) == []


# Reports


def test_the_trend_counts_pending_and_folded_uses_and_those_of_deleted_skills(acme: Api) -> None:
    acme.execute(usage.record_usage_events([event(), event(None), event(tool_name="u", created_at=at(TODAY - DAY))]))
    before = acme.execute(usage.get_usage_trend(2))
    assert [(each.day, each.uses) for each in before] == [(TODAY - DAY, 1), (TODAY, 2)]
    assert acme.execute(rollups.fold_uses(1)) == 1
    assert acme.execute(usage.get_usage_trend(2)) == before
    fold_all(acme)
    assert acme.execute(usage.get_usage_trend(2)) == before
    assert acme.execute(skills.delete_skill("s1"))
    assert acme.execute(usage.get_usage_trend(2)) == before
    assert drift(acme, TODAY) == []


def test_the_trend_of_many_days_begins_on_the_first_of_them(acme: Api) -> None:
    days = [TODAY - n * DAY for n in (0, 29, 30, 31, 364, 365)]
    acme.execute(usage.record_usage_events(event(created_at=at(day, 0)) for day in days))
    for length, uses in ((1, 1), (30, 2), (31, 3), (32, 4), (365, 5), (366, 6)):
        trend = acme.execute(usage.get_usage_trend(length))
        assert (len(trend), trend[0].day, trend[-1].day) == (length, TODAY - (length - 1) * DAY, TODAY)
        assert sum(each.uses for each in trend) == uses
        assert [top.uses for top in acme.execute(usage.get_top_skills(length))] == [uses]
        assert sum(each.uses for each in acme.execute(usage.count_uses_by_day("s1", length))) == uses


def test_uses_of_the_future_are_in_no_report_of_the_past(acme: Api) -> None:
    acme.execute(usage.record_usage_events([event(), event(created_at=at(TODAY + DAY)), event(None)]))
    fold_all(acme)
    assert [top.uses for top in acme.execute(usage.get_top_skills())] == [1]
    assert [each.uses for each in acme.execute(usage.get_usage_trend(1))] == [2]
    assert drift(acme, TODAY + DAY) == []


# Folding


def test_a_fold_takes_each_pending_use_once_and_no_more_than_it_was_told(addresses: Addresses, acme: Api) -> None:
    acme.execute(*(usage.record_usage_event(event(user_id=user)) for user in ("u1", "u2", None)))
    assert [acme.execute(rollups.fold_uses(2)) for _ in range(3)] == [2, 1, 0]
    assert by_day(addresses, "tool_monthly_uses") == {("t", TODAY): 3}
    assert by_day(addresses, "user_monthly_uses") == {("u1", TODAY): 1, ("u2", TODAY): 1}
    for bad in (0, -1, 2**63):
        with refused(addresses, InvalidValueError, "limit", str(bad)):
            acme.execute(rollups.fold_uses(bad))


def test_a_deleted_user_is_in_no_rollup_and_the_tool_keeps_the_uses(addresses: Addresses, acme: Api) -> None:
    acme.execute(usage.record_usage_events([event(), event(user_id="u2")]))
    fold_all(acme)
    acme.execute(usage.record_usage_event(event()))
    assert acme.execute(users.delete_user("u1")) == GONE
    assert "u1" not in str(contents(addresses.admin))
    fold_all(acme)
    assert by_day(addresses, "user_monthly_uses") == {("u2", TODAY): 1}
    assert by_day(addresses, "tool_monthly_uses") == {("t", TODAY): 3}
    assert drift(acme, TODAY) == []


# Drift


@pytest.mark.parametrize(
    ("falsify", "found"),
    [
        ("UPDATE skill_monthly_uses SET uses_to_day = uses_on(current_date, 1)", ("skill_monthly_uses", "s1", 1, 2)),
        ("UPDATE skill_monthly_uses SET uses_to_day = uses_on(current_date, 9)", ("skill_monthly_uses", "s1", 9, 2)),
        ("DELETE FROM skill_monthly_uses", ("skill_monthly_uses", "s1", 0, 2)),
        ("DELETE FROM tool_monthly_uses", ("tool_monthly_uses", "t", 0, 2)),
        ("DELETE FROM user_monthly_uses", ("user_monthly_uses", "u1", 0, 2)),
        ("UPDATE skill_daily_costs SET latency_ms = 8", ("skill_daily_costs", "s1", 8, 6)),
        ("UPDATE skill_daily_costs SET cost_microcents = 0", ("skill_daily_costs", "s1", 0, 14)),
    ],
)
def test_drift_is_found_and_rebuilt(
    falsify: str, found: tuple[str, str, int, int], addresses: Addresses, acme: Api
) -> None:
    acme.execute(usage.record_usage_events([event(), event()]))
    acme.execute(tokens.record_token_measurements([measured(estimated_cost_microcents=7, latency_ms=3)] * 2))
    fold_all(acme)
    before = acme.execute(usage.get_usage_trend(1), usage.count_uses_by_day("s1", 1), tokens.get_cost_trend("s1", 1))
    rows(addresses.admin, f"{falsify} RETURNING 1")
    ((rollup, key, stored, actual),) = {(d.rollup, d.key, d.stored, d.actual) for d in drift(acme, TODAY)}
    assert (rollup, key, stored, actual) == found
    assert acme.execute(rollups.rebuild_day(TODAY, ["s1", "s1", "missing"])) is None
    assert drift(acme, TODAY) == []
    fold_all(acme)
    assert drift(acme, TODAY) == []
    after = acme.execute(usage.get_usage_trend(1), usage.count_uses_by_day("s1", 1), tokens.get_cost_trend("s1", 1))
    assert after == before


def test_all_rollups_are_rebuilt_from_the_raw_rows(addresses: Addresses, acme: Api) -> None:
    days = [date(2024, 2, 28) + n * DAY for n in range(4)]
    acme.execute(
        usage.record_usage_events(event(skill, created_at=at(d)) for d in days for skill in ("s1", "s2", None))
    )
    acme.execute(tokens.record_token_measurements(measured(created_at=at(d), input_tokens=1) for d in days))
    fold_all(acme)
    tables = ("skill_monthly_uses", "tool_monthly_uses", "user_monthly_uses")
    before = [by_day(addresses, table) for table in tables]
    costs = rows(addresses.admin, "SELECT * FROM skill_daily_costs ORDER BY day")
    for table in (*tables, "skill_daily_costs"):
        rows(addresses.admin, f"DELETE FROM {table} RETURNING 1")  # noqa: S608
    day = acme.execute(rollups.get_next_day(date(2, 1, 1)))
    found = []
    while day is not None:
        found.append(day)
        acme.execute(rollups.rebuild_day(day, ["s1", "s2"]))
        day = acme.execute(rollups.get_next_day(day))
    assert found[:4] == days
    fold_all(acme)
    assert [by_day(addresses, table) for table in tables] == before
    assert rows(addresses.admin, "SELECT * FROM skill_daily_costs ORDER BY day") == costs


def test_the_next_day_is_one_with_raw_rows_or_rollups(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(rollups.get_next_day(date(2, 1, 1))) is None
    acme.execute(usage.record_usage_event(event(None, created_at=at(date(2024, 2, 29)))))
    acme.execute(tokens.record_token_measurement(measured(created_at=at(date(2024, 4, 30)))))
    asked = (date(2, 1, 1), date(2024, 2, 29), date(2024, 4, 30), date(9998, 12, 31))
    found = [acme.execute(rollups.get_next_day(day)) for day in asked]
    assert found == [date(2024, 2, 29), date(2024, 4, 30), None, None]
    # The month of a rollup is looked at whole: the raw row may be what is missing.
    rows(
        addresses.admin,
        "INSERT INTO skill_monthly_uses VALUES ('acme', 's1', '2024-03-01', uses_on('2024-03-30', 1)) RETURNING 1",
    )
    assert acme.execute(rollups.get_next_day(date(2024, 2, 29))) == date(2024, 3, 1)
    assert acme.execute(rollups.get_next_day(date(2024, 3, 29))) == date(2024, 3, 30)
    assert [d.stored for d in drift(acme, date(2024, 3, 30))] == [1]
    for bad in (at(TODAY), "2024-01-01", date(1, 12, 31)):
        with refused(addresses, InvalidValueError, "after"):
            acme.execute(rollups.get_next_day(bad))  # type: ignore[arg-type]


def test_a_day_before_the_horizon_is_neither_compared_nor_rebuilt(addresses: Addresses, acme: Api) -> None:
    old = TODAY - 10 * DAY
    acme.execute(usage.record_usage_events([event(created_at=at(old)), event()]))
    acme.execute(tokens.record_token_measurements([measured(created_at=at(old), input_tokens=4), measured()]))
    fold_all(acme)
    acme.execute(retention.keep_rows(event_days=5, measurement_days=5))
    assert (acme.execute(retention.prune_events()), acme.execute(retention.prune_measurements())) == (1, 1)
    before = contents(addresses.admin)
    assert drift(acme, old) == []
    acme.execute(rollups.rebuild_day(old, ["s1"]))
    assert contents(addresses.admin) == before
    assert acme.execute(metrics.find_metric_drift()) == []
    next_day = acme.execute(rollups.get_next_day(date(2, 1, 1)))
    assert next_day is not None
    assert next_day >= TODAY - 5 * DAY


# Other organisations


def test_another_organisation_changes_no_rollup(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    acme.execute(usage.record_usage_events([event(), event()]))
    globex = api("globex")
    new_user(globex, "u1")
    new_skill(globex, "s1")
    globex.execute(usage.record_usage_event(event()))
    before = contents(addresses.admin)
    ours = [row for row in before if "acme" in str(row)]
    assert globex.execute(rollups.fold_uses()) == 1
    globex.execute(rollups.rebuild_day(TODAY, ["s1"]))
    assert [row for row in contents(addresses.admin) if "acme" in str(row)] == ours
    assert globex.execute(rollups.fold_uses()) == 0
    assert [d.uses for d in globex.execute(usage.get_usage_trend(1))] == [1]


def test_an_organisation_that_does_not_exist_has_no_rollups(db: Any) -> None:
    nobody = db.tenant("nobody")
    for statement in (rollups.fold_uses(), rollups.rebuild_day(TODAY, []), retention.keep_rows(event_days=2)):
        with pytest.raises(NotFoundError, match="tenant 'nobody' does not exist"):
            nobody.execute(statement)
    assert nobody.execute(rollups.get_next_day(TODAY)) is None
    assert nobody.execute(usage.get_usage_trend(1))[0].uses == 0
