"""Tests retention: pruning changes no figure, and an event that may have been pruned is not counted again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors as pg

import skilldb
from skilldb.errors import InvalidValueError, LockTimeoutError
from skilldb.models import Horizon, NewTokenMeasurement, NewUsageEvent, PrunableRows
from skilldb.repositories import metrics, retention, rollups, skills, tokens, usage
from skilldb.statement import Statement
from tests.support.api import Api, new_skill, new_user
from tests.support.database import refused, rows
from tests.support.server import Addresses

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)
AGES = (0, 9, 10, 11, 100)


def old(days: int) -> datetime:
    """The first moment of the day of UTC so many days ago."""
    return datetime.combine(TODAY - days * DAY, time(), UTC)


def event(**more: Any) -> NewUsageEvent:
    return NewUsageEvent(**({"tool_name": "t", "skill_id": "s1", "user_id": "u1"} | more))


def measured(**more: Any) -> NewTokenMeasurement:
    given: dict[str, Any] = {"skill_id": "s1", "model_name": "m", "estimated_cost_microcents": 5}
    return NewTokenMeasurement(**(given | more))


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the user u1, the skill s1, and an event and a measurement of each age."""
    tenant = api("acme")
    new_user(tenant, "u1")
    new_skill(tenant, "s1")
    tenant.execute(
        usage.record_usage_events(event(created_at=old(days)) for days in AGES),
        tokens.record_token_measurements(measured(created_at=old(days)) for days in AGES),
    )
    return tenant


def prune(tenant: Api) -> tuple[int, int]:
    tenant.execute(retention.keep_rows(event_days=10, measurement_days=10))
    return tenant.execute(retention.prune_events()), tenant.execute(retention.prune_measurements())


def figures(tenant: Api) -> list[Any]:
    """Everything that counts events and measurements."""
    return [
        tenant.execute(statement)
        for statement in (
            skills.get_skill("s1"),
            usage.count_uses_by_day("s1", 200),
            usage.get_top_skills(200),
            usage.get_usage_trend(200),
            usage.get_usage_totals(200),
            usage.get_trending_skills(200),
            usage.get_top_users(200),
            usage.get_top_tools(200),
            usage.list_active_users(200),
            tokens.get_cost_trend("s1", 200),
            tokens.get_cost_totals(200),
            tokens.get_total_cost_trend(200, "week"),
            tokens.get_cost_by_model(200),
            tokens.get_cost_by_skill(200),
            tokens.get_skill_cost_stats("s1"),
            metrics.find_metric_drift(),
        )
    ]


@pytest.mark.parametrize("folded", [True, False])
def test_pruning_changes_no_figure(folded: bool, addresses: Addresses, acme: Api) -> None:
    if folded:
        assert acme.execute(rollups.fold_uses()) == len(AGES)
    before = figures(acme)
    assert before[0].total_uses == before[-2].measurements == len(AGES)
    assert before[-1] == []
    assert acme.execute(retention.count_prunable(event_days=10, measurement_days=9)) == PrunableRows(
        events=2, measurements=3
    )
    assert acme.execute(retention.keep_rows(event_days=10, measurement_days=10)) == Horizon(
        events_kept_from=TODAY - 10 * DAY, measurements_kept_from=TODAY - 10 * DAY
    )
    assert [acme.execute(retention.prune_events(1)) for _ in range(3)] == [1, 1, 0]
    assert [acme.execute(retention.prune_measurements(limit)) for limit in (1, 5, 5)] == [1, 1, 0]
    kept = [(old(days),) for days in (10, 9, 0)]
    for table in ("usage_events", "token_measurements"):
        assert rows(addresses.admin, f"SELECT created_at FROM {table} ORDER BY 1") == kept  # noqa: S608
    assert figures(acme) == before
    repaired = acme.execute(metrics.repair_metrics("s1"))
    assert (repaired.total_uses, repaired.avg_token_cost_microcents) == (len(AGES), 5)
    acme.execute(metrics.update_skill_token_cost("s1"))
    assert figures(acme)[1:] == before[1:]
    assert acme.execute(retention.count_prunable()) == PrunableRows(events=0, measurements=0)


def test_the_horizon_never_moves_back_and_each_kind_has_its_own(acme: Api) -> None:
    nothing = Horizon(events_kept_from=None, measurements_kept_from=None)
    assert acme.execute(retention.keep_rows()) == nothing
    assert acme.execute(retention.prune_events()) == acme.execute(retention.prune_measurements()) == 0
    first = acme.execute(retention.keep_rows(event_days=10))
    assert first == Horizon(events_kept_from=TODAY - 10 * DAY, measurements_kept_from=None)
    assert acme.execute(retention.prune_measurements()) == 0
    assert acme.execute(retention.keep_rows(event_days=400)) == first
    assert acme.execute(retention.keep_rows()) == first
    moved = acme.execute(retention.keep_rows(event_days=9, measurement_days=50))
    assert moved == Horizon(events_kept_from=TODAY - 9 * DAY, measurements_kept_from=TODAY - 50 * DAY)


@pytest.mark.parametrize("days", [0, 1, -1, 36_526, 1.5, True, "30"])
def test_a_number_of_days_that_cannot_be_is_refused(days: Any, addresses: Addresses, acme: Api) -> None:
    for name in ("event_days", "measurement_days"):
        for function in (retention.keep_rows, retention.count_prunable):
            with refused(addresses, InvalidValueError, name, str(days)):
                acme.execute(function(**{name: days}))
    for prune_rows in (retention.prune_events, retention.prune_measurements):
        with refused(addresses, InvalidValueError, "limit"):
            acme.execute(prune_rows(0))


def test_an_event_that_was_pruned_is_not_counted_again(addresses: Addresses, acme: Api) -> None:
    again = event(id=str(uuid4()), created_at=old(20))
    assert acme.execute(usage.record_usage_event(again)) is True
    assert prune(acme) == (3, 2)
    before = figures(acme)
    day = str(TODAY - 10 * DAY)
    for call in (
        lambda: usage.record_usage_event(again),
        lambda: usage.record_usage_events([event(), again]),
        lambda: usage.record_usage_event(event(created_at=old(10) - timedelta(milliseconds=1))),
    ):
        with refused(
            addresses, InvalidValueError, "created_at", f"is before {day}", "backfill", cause=pg.InvalidParameterValue
        ):
            acme.execute(call())
    assert figures(acme) == before
    assert acme.execute(usage.record_usage_event(event(created_at=old(10)))) is True
    assert acme.execute(usage.record_usage_event(event())) is True


def test_an_old_event_is_refused_also_while_it_is_still_stored(addresses: Addresses, acme: Api) -> None:
    """It may be pruned at any moment: between a look at it and the INSERT, it would be counted again."""
    again = event(id=str(uuid4()), created_at=old(20))
    assert acme.execute(usage.record_usage_event(again)) is True
    acme.execute(retention.keep_rows(event_days=10))
    with refused(addresses, InvalidValueError, "created_at", cause=pg.InvalidParameterValue):
        acme.execute(usage.record_usage_event(again))
    assert acme.execute(usage.record_usage_event(again, backfill=True)) is False


def test_a_backfill_records_what_is_older_than_the_horizon(addresses: Addresses, acme: Api) -> None:
    prune(acme)
    older = event(id=str(uuid4()), created_at=old(30))
    assert acme.execute(usage.record_usage_event(older, backfill=True)) is True
    assert acme.execute(usage.record_usage_event(older, backfill=True)) is False
    assert acme.execute(usage.record_usage_events([older, event(created_at=old(31))], backfill=True)) == 1
    with refused(addresses, InvalidValueError, "created_at", "backfill", cause=pg.InvalidParameterValue):
        acme.execute(tokens.record_token_measurement(measured(created_at=old(30))))
    with refused(addresses, InvalidValueError, "created_at", "backfill", cause=pg.InvalidParameterValue):
        acme.execute(tokens.record_token_measurements([measured(), measured(created_at=old(30))]))
    acme.execute(tokens.record_token_measurement(measured(created_at=old(30)), backfill=True))
    assert acme.execute(tokens.record_token_measurements([measured(created_at=old(31))], backfill=True)) == 1
    before = figures(acme)
    assert before[0].total_uses == before[-2].measurements == len(AGES) + 2
    assert prune(acme) == (2, 2)
    assert figures(acme) == before


def test_pruning_waits_for_no_row_that_another_transaction_has_locked(addresses: Addresses, acme: Api) -> None:
    with psycopg.connect(addresses.admin) as other:
        other.execute("SELECT 1 FROM usage_events WHERE created_at = %s FOR UPDATE", [old(100)])
        other.execute("SELECT 1 FROM token_measurements WHERE created_at = %s FOR UPDATE", [old(11)])
        assert prune(acme) == (1, 1)
        assert prune(acme) == (0, 0)
    assert prune(acme) == (1, 1)


def test_moving_the_horizon_waits_for_a_transaction_that_relies_on_it(addresses: Addresses, acme: Api) -> None:
    """An event of the past is checked against the horizon. It must be stored before the horizon passes it."""
    with psycopg.connect(addresses.service) as other:
        other.execute("SELECT set_config('app.current_tenant_id', 'acme', true)")
        _, check, *_ = usage.record_usage_event(event(created_at=old(20))).steps
        params = dict(check.params) | {"tenant_id": "acme"}
        assert other.execute(check.query.sql, params).fetchall() == []
        with skilldb.connect(addresses.service, lock_timeout=0.1) as db, pytest.raises(LockTimeoutError):
            db.tenant("acme").execute(retention.keep_rows(event_days=10))


def test_a_recent_event_waits_for_no_move_of_the_horizon(addresses: Addresses, acme: Api) -> None:
    with psycopg.connect(addresses.admin) as other:
        other.execute("SELECT FROM horizons WHERE tenant_id = 'acme' FOR NO KEY UPDATE")
        with skilldb.connect(addresses.service, lock_timeout=0.1) as db:
            tenant = db.tenant("acme")
            assert tenant.execute(usage.record_usage_event(event(created_at=old(1))))
            assert tenant.execute(tokens.record_token_measurements([measured(created_at=old(1))])) == 1
            with pytest.raises(LockTimeoutError):
                tenant.execute(usage.record_usage_event(event(created_at=old(3))))


@pytest.fixture
def without_row(addresses: Addresses, acme: Api) -> Api:
    """acme as SQL of the owner may have made it: without its row of horizons."""
    assert rows(addresses.admin, "DELETE FROM horizons WHERE tenant_id = 'acme' RETURNING tenant_id") == [("acme",)]
    return acme


def horizons(addresses: Addresses) -> list[tuple[Any, ...]]:
    return rows(addresses.admin, "SELECT tenant_id, events_kept_from, measurements_kept_from FROM horizons")


def test_an_organisation_is_created_with_its_row(addresses: Addresses, api: Callable[[str], Api]) -> None:
    api("acme")
    assert horizons(addresses) == [("acme", None, None)]


def test_without_its_row_an_organisation_reads_as_if_nothing_was_pruned(addresses: Addresses, without_row: Api) -> None:
    day = TODAY - 10 * DAY
    assert without_row.execute(retention.count_prunable(event_days=10, measurement_days=9)) == PrunableRows(
        events=2, measurements=3
    )
    assert without_row.execute(retention.count_prunable()) == PrunableRows(events=0, measurements=0)
    assert without_row.execute(retention.prune_events()) == without_row.execute(retention.prune_measurements()) == 0
    assert without_row.execute(rollups.get_next_day(day)) is not None
    rows(addresses.admin, "UPDATE skill_daily_costs SET measurements = 7 RETURNING 1")
    rows(addresses.admin, "DELETE FROM pending_uses RETURNING 1")
    assert [drift.key for drift in without_row.execute(rollups.find_use_drift(day))] == ["t", "u1"]
    assert [drift.key for drift in without_row.execute(rollups.find_cost_drift(day))] == ["s1"]
    assert horizons(addresses) == []


@pytest.mark.parametrize(
    "statement",
    [
        lambda: rollups.fold_uses(),
        lambda: rollups.rebuild_day(TODAY, ["s1"]),
        lambda: retention.keep_rows(),
        lambda: usage.record_usage_event(event(created_at=old(3))),
        lambda: usage.record_usage_events([event(), event(created_at=old(3))]),
        lambda: tokens.record_token_measurement(measured(created_at=old(3))),
    ],
)
def test_whoever_locks_the_horizon_adds_a_missing_row(
    addresses: Addresses, without_row: Api, statement: Callable[[], Statement[Any]]
) -> None:
    without_row.execute(statement())
    assert horizons(addresses) == [("acme", None, None)]
    without_row.execute(statement())


def test_without_its_row_moving_the_horizon_waits_for_a_transaction_that_relies_on_it(
    addresses: Addresses, without_row: Api
) -> None:
    with psycopg.connect(addresses.service) as other:
        other.execute("SELECT set_config('app.current_tenant_id', 'acme', true)")
        for step in usage.record_usage_event(event(created_at=old(20))).steps:
            other.execute(step.query.sql, dict(step.params) | {"tenant_id": "acme"})
        with skilldb.connect(addresses.service, lock_timeout=0.1) as db, pytest.raises(LockTimeoutError):
            db.tenant("acme").execute(retention.keep_rows(event_days=10))
    without_row.execute(retention.keep_rows(event_days=10))
    with refused(addresses, InvalidValueError, "created_at", cause=pg.InvalidParameterValue):
        without_row.execute(usage.record_usage_event(event(created_at=old(20))))


def test_a_recent_time_sends_no_step_for_a_missing_row() -> None:
    """Most events with a time are recent. The step would take a tenth of their call."""

    def sent(*ages: timedelta | None) -> int:
        now = datetime.now(UTC)
        return len(usage.record_usage_events([event(created_at=None if a is None else now - a) for a in ages]).steps)

    hour = timedelta(hours=1)
    assert [sent(None), sent(None, 11 * hour), sent(-hour), sent(13 * hour), sent(hour, 24 * hour)] == [3, 4, 4, 5, 5]


def test_another_organisation_loses_nothing(acme: Api, api: Callable[[str], Api]) -> None:
    globex = api("globex")
    new_user(globex, "u1")
    new_skill(globex, "s1")
    globex.execute(usage.record_usage_event(event(created_at=old(50))))
    before = figures(globex)
    assert prune(acme) == (2, 2)
    assert globex.execute(retention.count_prunable(event_days=50)) == PrunableRows(events=0, measurements=0)
    assert globex.execute(retention.count_prunable(event_days=49)) == PrunableRows(events=1, measurements=0)
    assert globex.execute(usage.record_usage_event(event(created_at=old(50)))) is True
    assert figures(globex)[1] != before[1]
    assert globex.execute(rollups.get_next_day(date(2, 1, 1))) is not None
