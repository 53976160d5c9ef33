"""Tests token measurements: filled-in values, cost statistics, and a cost that does not grow."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors as pg

from skilldb import prices
from skilldb.admin import explain
from skilldb.errors import AlreadyExistsError, InvalidValueError, NotFoundError
from skilldb.models import (
    CostTotals,
    DailyCost,
    MetricDrift,
    ModelCost,
    NewTokenMeasurement,
    SkillCost,
    SkillCostStats,
    TokenMeasurement,
)
from skilldb.prices import Price
from skilldb.repositories import metrics, retention, skills, tokens, users
from skilldb.settings import SET_TENANT
from skilldb.statement import Statement
from tests.support.api import GONE, Api, ask, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DOLLAR = 100_000_000  # in microcents
TABLE = Path(prices.__file__).with_name("prices.csv")

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


def measured(cost: Any = None, skill_id: Any = "s1", **more: Any) -> NewTokenMeasurement:
    """A measurement with that cost, of a model without a price."""
    return NewTokenMeasurement(
        **{"model_name": "no-price", "estimated_cost_microcents": cost, "skill_id": skill_id} | more
    )


def price(input_usd: str, output_usd: str, model: str = "m") -> dict[str, Price]:
    """A price table with one model."""
    of_model = Price(
        provider="p",
        model=model,
        input_usd=Decimal(input_usd),
        output_usd=Decimal(output_usd),
        source="here",
        date=date(2026, 1, 1),
    )
    return {model: of_model}


def average(tenant: Api, skill_id: str) -> int | None:
    """The stored mean cost of a skill's measurements. It must agree with the rows."""
    assert tenant.execute(metrics.find_metric_drift()) == []
    found: int | None = tenant.execute(skills.get_skill(skill_id)).avg_token_cost_microcents
    return found


# Prices


def test_a_thousand_tokens_in_and_five_hundred_out_at_3_and_15_dollars_cost_1_05_cents() -> None:
    cost = tokens.estimate_cost_microcents("m", 1000, 500, price("3", "15"))
    assert cost == 1_050_000
    assert Decimal(cost) / DOLLAR == Decimal("0.0105")


def test_a_million_tokens_cost_what_the_table_says_in_dollars() -> None:
    for model, of_model in prices.DEFAULT_PRICES.items():
        assert tokens.estimate_cost_microcents(model, 10**6, 0) == of_model.input_usd * DOLLAR
        assert tokens.estimate_cost_microcents(model, 0, 10**6) == of_model.output_usd * DOLLAR
        assert tokens.estimate_cost_microcents(model, 0, 0) == 0


def test_a_cost_rounds_half_up() -> None:
    half_a_microcent = price("0.005", "0.0049")
    for input_tokens, expected in ((0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)):
        assert tokens.estimate_cost_microcents("m", input_tokens, 0, half_a_microcent) == expected
    assert [tokens.estimate_cost_microcents("m", 0, n, half_a_microcent) for n in (1, 2)] == [0, 1]
    # The sum is rounded once, not each part.
    assert tokens.estimate_cost_microcents("m", 1, 1, price("0.005", "0.005")) == 1
    assert tokens.estimate_cost_microcents("m", 1, 1, price("0.004", "0.004")) == 1


def test_a_cost_is_exact_however_large() -> None:
    most = 2**63 - 1
    assert tokens.estimate_cost_microcents("m", most, most, price("3.01", "15")) == most * 1801


def test_a_cost_does_not_depend_on_the_precision_that_the_caller_reckons_with() -> None:
    with localcontext() as context:
        context.prec = 5
        assert tokens.estimate_cost_microcents("m", 123_456, 0, price("3", "15")) == 37_036_800


def test_a_model_without_a_price_has_no_cost() -> None:
    assert tokens.estimate_cost_microcents("no-price", 1000, 500) is None
    assert tokens.estimate_cost_microcents("claude-sonnet-4-5", 1000, 500, {}) is None
    assert tokens.estimate_cost_microcents("claude-sonnet-4-5", 1000, 500, price("3", "15")) is None


@pytest.mark.parametrize("model", ["m", "no-price"])
def test_numbers_of_tokens_that_cannot_be_are_refused(model: str) -> None:
    for wrong in (-1, 2**63, True, 1.5, "1", None):
        for name in ("input_tokens", "output_tokens"):
            given: dict[str, Any] = {"input_tokens": 1, "output_tokens": 1, name: wrong}
            with pytest.raises(InvalidValueError, match=f"{name}.*{wrong}"):
                tokens.estimate_cost_microcents(model, **given, prices=price("3", "15"))


def test_every_row_of_the_table_says_of_whom_it_is_what_it_costs_where_that_stands_and_since_when() -> None:
    with TABLE.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) >= 3
    assert len({row["model"] for row in table}) == len(table)
    for row in table:
        assert sorted(row) == [
            "date",
            "input_usd_per_million",
            "model",
            "output_usd_per_million",
            "provider",
            "source",
        ]
        assert all(value.strip() == value != "" for value in row.values()), row
        assert 0 < Decimal(row["input_usd_per_million"]) < Decimal(row["output_usd_per_million"])
        assert date.fromisoformat(row["date"]) <= datetime.now(UTC).date() + timedelta(days=1)
        of_model = prices.DEFAULT_PRICES[row["model"]]
        assert [str(value) for value in asdict(of_model).values()] == [
            row[name]
            for name in ("provider", "model", "input_usd_per_million", "output_usd_per_million", "source", "date")
        ]
    assert len(prices.DEFAULT_PRICES) == len(table)


def test_the_tables_prices_cannot_be_changed_by_accident() -> None:
    with pytest.raises(TypeError):
        prices.DEFAULT_PRICES["m"] = price("1", "1")["m"]  # type: ignore[index]


def test_a_caller_reads_a_table_of_their_own(acme: Api, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(
        "provider,model,input_usd_per_million,output_usd_per_million,source,date\nours,m,0.10,1,a contract,2026-01-31\n"
    )
    table = prices.read_prices(own)
    assert table["m"].date == date(2026, 1, 31)
    new = measured(model_name="m", input_tokens=10, output_tokens=1)
    one, number = acme.execute(
        tokens.record_token_measurement(new, prices=table),
        tokens.record_token_measurements([new], prices=table),
    )
    assert (one.estimated_cost_microcents, number) == (200, 1)
    assert acme.execute(tokens.get_skill_cost_stats("s1")).total_cost_microcents == 400
    assert acme.execute(tokens.record_token_measurement(new)).estimated_cost_microcents is None


# Recording


def test_a_measurement_is_kept_as_given(addresses: Addresses, acme: Api) -> None:
    new = NewTokenMeasurement(
        id="m1",
        skill_id="s1",
        model_name="claude-sonnet-4-5",
        model_provider="bedrock",
        input_tokens=1000,
        output_tokens=500,
        total_tokens=7,
        estimated_cost_microcents=0,
        latency_ms=0,
        user_id="u1",
        usage_event_id="no such event",
        source="api",
        created_at=datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=UTC),
    )
    assert acme.execute(tokens.record_token_measurement(new)) == TokenMeasurement(**asdict(new))
    others = [replace(new, id=f"m{number}", skill_id="s2") for number in (2, 3)]
    assert acme.execute(tokens.record_token_measurements(others)) == 2
    columns = ", ".join(asdict(new))
    assert rows(addresses.admin, f"SELECT {columns} FROM token_measurements ORDER BY id") == [  # noqa: S608
        tuple(asdict(m).values()) for m in (new, *others)
    ]


def test_a_measurement_is_of_now_by_a_hook_and_has_an_id_unless_said_otherwise(acme: Api) -> None:
    bare = acme.execute(tokens.record_token_measurement(NewTokenMeasurement(skill_id="s1", model_name="m")))
    assert str(UUID(bare.id)) == bare.id
    assert (bare.model_provider, bare.source) == ("anthropic", "hook")
    assert datetime.now(UTC) - timedelta(hours=1) < bare.created_at
    unknown = {bare.user_id, bare.usage_event_id, bare.input_tokens, bare.output_tokens, bare.latency_ms}
    assert unknown | {bare.total_tokens, bare.estimated_cost_microcents} == {None}


SONNET = {"model_name": "claude-sonnet-4-5"}


FILLED_IN: list[tuple[dict[str, Any], tuple[int | None, int | None]]] = [
    ({"input_tokens": 1000, "output_tokens": 500, **SONNET}, (1500, 1_050_000)),
    ({"input_tokens": 0, "output_tokens": 0, **SONNET}, (0, 0)),
    ({"input_tokens": 1000, "output_tokens": 500}, (1500, None)),
    ({"input_tokens": 1000, **SONNET}, (None, None)),
    ({"output_tokens": 500, **SONNET}, (None, None)),
    ({"total_tokens": 9, **SONNET}, (9, None)),
    ({"input_tokens": 1000, "output_tokens": 500, "total_tokens": 0, **SONNET}, (0, 1_050_000)),
    ({"input_tokens": 1000, "output_tokens": 500, "estimated_cost_microcents": 0, **SONNET}, (1500, 0)),
    ({"input_tokens": 1000, "output_tokens": 500, "estimated_cost_microcents": 3}, (1500, 3)),
    ({"estimated_cost_microcents": 3}, (None, 3)),
]


def test_total_and_cost_are_filled_in_where_they_are_left_out_and_can_be_known(addresses: Addresses, acme: Api) -> None:
    for number, (given, expected) in enumerate(FILLED_IN):
        for skill in (single := f"single{number}", batch := f"batch{number}"):
            new_skill(acme, skill)
        found = acme.execute(tokens.record_token_measurement(measured(skill_id=single, **given)))
        assert (found.total_tokens, found.estimated_cost_microcents) == expected
        assert acme.execute(tokens.record_token_measurements([measured(skill_id=batch, **given)])) == 1
        kept = "SELECT total_tokens, estimated_cost_microcents FROM token_measurements WHERE skill_id IN (%s, %s)"
        assert rows(addresses.admin, kept, single, batch) == [expected] * 2
        assert average(acme, single) == average(acme, batch) == expected[1]


def test_measurements_of_many_skills_are_recorded_at_once_also_from_a_generator(acme: Api) -> None:
    costs: dict[str, list[int | None]] = {"s1": [1, 2], "s2": [2, 3], "s3": [None]}
    batch = (measured(cost, skill) for skill, given in costs.items() for cost in given)
    assert acme.execute(tokens.record_token_measurements(batch)) == 5
    assert [average(acme, skill) for skill in costs] == [2, 3, None]
    assert [acme.execute(tokens.get_skill_cost_stats(skill)).measurements for skill in costs] == [2, 2, 1]


def test_no_measurements_are_none_and_write_nothing(addresses: Addresses, acme: Api) -> None:
    before = contents(addresses.admin)
    empty: Iterator[NewTokenMeasurement] = iter(())
    assert acme.execute(tokens.record_token_measurements([]), tokens.record_token_measurements(empty)) == (0, 0)
    assert contents(addresses.admin) == before


def test_a_measurement_moves_metrics_updated_at_of_its_skill_and_never_updated_at(
    addresses: Addresses, acme: Api
) -> None:
    for record in (
        tokens.record_token_measurement(measured(1)),
        tokens.record_token_measurements([measured(1)]),
    ):
        rows(
            addresses.admin,
            "UPDATE skills SET updated_at = %s, edited_at = %s, metrics_updated_at = %s RETURNING 1",
            *[LONG_AGO] * 3,
        )
        acme.execute(record)
        used, other = acme.execute(skills.get_skill("s1"), skills.get_skill("s2"))
        assert used.metrics_updated_at > LONG_AGO
        assert (used.updated_at, other.updated_at, other.metrics_updated_at) == (LONG_AGO,) * 3
    assert rows(addresses.admin, "SELECT DISTINCT edited_at FROM skills") == [(LONG_AGO,)]


Record = Callable[[NewTokenMeasurement], Statement[Any]]


@pytest.mark.parametrize(
    "record",
    [
        tokens.record_token_measurement,
        lambda wrong: tokens.record_token_measurements([measured(1), wrong, measured(1, "s2")]),
    ],
    ids=["single", "batch"],
)
def test_a_measurement_that_cannot_be_is_refused_and_nothing_of_its_batch_is_kept(
    addresses: Addresses, acme: Api, record: Record
) -> None:
    acme.execute(tokens.record_token_measurement(measured(3, id="taken", created_at=LONG_AGO)))
    numbers = ("input_tokens", "output_tokens", "total_tokens", "estimated_cost_microcents", "latency_ms")
    for name in numbers:
        with refused(addresses, InvalidValueError, name, "-1"):
            acme.execute(record(measured(**{name: -1})))
        most = {"estimated_cost_microcents": 10**13, "latency_ms": 2**31 - 1}.get(name, 10**9)
        for value in (most + 1, 2**63, -(2**63) - 1, True, 1.5, "1"):
            with refused(addresses, InvalidValueError, name, str(value)):
                acme.execute(record(measured(**{name: value})))
    with refused(addresses, InvalidValueError, "total_tokens must be at most 1000000000, not 1000000001"):
        acme.execute(record(measured(input_tokens=10**9, output_tokens=1)))
    both = {"output_tokens": 1, "model_name": "claude-sonnet-4-5"}
    with refused(addresses, InvalidValueError, "input_tokens", "-1"):
        acme.execute(record(measured(input_tokens=-1, **both)))
    for name in ("model_name", "model_provider", "source", "id", "usage_event_id"):
        with refused(addresses, InvalidValueError, name, r"'a\x00'"):
            acme.execute(record(measured(1, **{name: "a\0"})))
    for name in ("model_name", "model_provider", "source"):
        with refused(addresses, InvalidValueError, f"{name} must not be None", cause=pg.NotNullViolation):
            acme.execute(record(measured(1, **{name: None})))
    with refused(addresses, InvalidValueError, "created_at must carry a time zone", "2026-01-01T00:00:00"):
        acme.execute(record(measured(1, created_at=datetime(2026, 1, 1))))
    with refused(addresses, AlreadyExistsError, "id", "'taken'", cause=pg.UniqueViolation):
        acme.execute(record(measured(1, id="taken")))
    with refused(addresses, NotFoundError, "skill 'missing' does not exist", cause=pg.NoDataFound):
        acme.execute(record(measured(1, "missing")))
    with refused(addresses, NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound):
        acme.execute(record(measured(1, user_id="nobody")))
    assert average(acme, "s1") == 3


def test_numbers_of_another_type_are_refused_before_they_are_added_up(addresses: Addresses, acme: Api) -> None:
    for wrong in ("1", [1], 1.5):
        with refused(addresses, InvalidValueError, "input_tokens", str(wrong)):
            acme.execute(tokens.record_token_measurement(measured(input_tokens=wrong, output_tokens=1)))


def test_an_id_twice_in_a_batch_is_refused(addresses: Addresses, acme: Api) -> None:
    twice = [measured(1, id="m1"), measured(2, "s2", id="m2"), measured(3, "s2", id="m1")]
    with refused(addresses, AlreadyExistsError, "id", "'m1'", cause=pg.UniqueViolation):
        acme.execute(tokens.record_token_measurements(twice))


def test_an_error_in_a_long_batch_names_the_value(addresses: Addresses, acme: Api) -> None:
    batch = [measured(1, id=f"m{number}", latency_ms=1000 + number) for number in range(200)]
    with refused(addresses, InvalidValueError, "latency_ms", "-7"):
        acme.execute(tokens.record_token_measurements([*batch, measured(latency_ms=-7)]))


# Averages and sums


def test_the_average_rounds_half_up(acme: Api) -> None:
    means: list[tuple[list[int | None], int]] = [
        ([1, 2], 2),
        ([2, 3], 3),
        ([1, 1, 2], 1),
        ([1, 2, 2], 2),
        ([0], 0),
        ([None, 5], 5),
    ]
    for costs, expected in means:
        skill = new_skill(acme, f"of {costs}").id
        for cost in costs:
            acme.execute(tokens.record_token_measurement(measured(cost, skill)))
        assert average(acme, skill) == expected
        at_once = new_skill(acme, f"at once of {costs}").id
        acme.execute(tokens.record_token_measurements(measured(cost, at_once) for cost in costs))
        assert average(acme, at_once) == expected


@pytest.mark.parametrize(
    ("more", "expected"), [(0, 20 * DOLLAR), (500_000_000, 20 * DOLLAR), (500_000_001, 20 * DOLLAR + 1)]
)
def test_a_thousand_million_measurements_of_20_dollars_still_add_up_exactly(
    addresses: Addresses, acme: Api, more: int, expected: int
) -> None:
    rows(
        addresses.admin,
        "UPDATE skills SET priced_measurement_count = 1000000000, token_cost_sum_microcents = %s "
        "WHERE id = 's1' RETURNING 1",
        10**9 * 20 * DOLLAR,
    )
    # One more of 20 dollars and `more` moves the mean by more / 1,000,000,001: just below half a microcent, and above.
    acme.execute(tokens.record_token_measurement(measured(20 * DOLLAR + more)))
    assert acme.execute(skills.get_skill("s1")).avg_token_cost_microcents == expected
    assert acme.execute(tokens.get_skill_cost_stats("s1")) == SkillCostStats(
        skill_id="s1",
        total_cost_microcents=(10**9 + 1) * 20 * DOLLAR + more,
        avg_cost_microcents=expected,
        measurements=1,
        predominant_model="no-price",
    )
    repaired = acme.execute(metrics.repair_metrics("s1"))
    assert repaired.avg_token_cost_microcents == 20 * DOLLAR + more


def test_the_largest_measurements_do_not_close_a_skill_for_the_next(addresses: Addresses, acme: Api) -> None:
    largest = measured(10**13, input_tokens=10**9, output_tokens=0, total_tokens=10**9, latency_ms=2**31 - 1)
    assert acme.execute(tokens.record_token_measurements([largest] * 1_000)) == 1_000
    acme.execute(tokens.record_token_measurement(measured(1)))
    stats = acme.execute(tokens.get_skill_cost_stats("s1"))
    assert stats.total_cost_microcents == 10**16 + 1
    assert acme.execute(tokens.get_cost_trend("s1", days=2))[-1].cost_microcents == 10**16 + 1
    assert average(acme, "s1") == stats.avg_cost_microcents


def test_a_cost_computed_from_a_price_is_bounded_too(addresses: Addresses, acme: Api) -> None:
    table = price("100001", "0")  # Dollars per million tokens.
    with refused(addresses, InvalidValueError, "estimated_cost_microcents must be at most 10000000000000, not 1000010"):
        acme.execute(
            tokens.record_token_measurement(measured(model_name="m", input_tokens=10**6, output_tokens=0), prices=table)
        )


@pytest.mark.parametrize(("column", "value"), [("estimated_cost_microcents", 10**13), ("total_tokens", 10**9)])
@pytest.mark.parametrize("table", ["token_measurements", "benchmark_results"])
def test_the_database_bounds_a_measurement_as_python_does(
    addresses: Addresses, acme: Api, table: str, column: str, value: int
) -> None:
    found = rows(
        addresses.admin,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s",
        f"{table}_{column}_check",
    )
    assert re.search(rf"{column} <= '?{value}\b", found[0][0])


def test_a_sum_beyond_its_range_is_refused(addresses: Addresses, acme: Api) -> None:
    most = 2**63 - 1
    rows(
        addresses.admin,
        "UPDATE skills SET priced_measurement_count = 0, token_cost_sum_microcents = %s WHERE id = 's1' RETURNING 1",
        most - 1,
    )
    acme.execute(tokens.record_token_measurement(measured(1)))
    assert acme.execute(skills.get_skill("s1")).avg_token_cost_microcents == most
    with refused(addresses, InvalidValueError, "out of range", cause=pg.NumericValueOutOfRange):
        acme.execute(tokens.record_token_measurement(measured(1)))


def test_the_cost_stats_count_every_measurement_and_name_the_predominant_model(acme: Api) -> None:
    assert acme.execute(tokens.get_skill_cost_stats("s1")) == SkillCostStats(
        skill_id="s1", total_cost_microcents=0, avg_cost_microcents=None, measurements=0, predominant_model=None
    )
    # The model with the most measurements, not the highest cost. With equal numbers, the first by name.
    for model, cost, expected in (("b", 100, "b"), ("a", None, "a"), ("b", 1, "b"), ("a", None, "a"), ("c", 9, "a")):
        acme.execute(tokens.record_token_measurement(measured(cost, model_name=model)))
        assert acme.execute(tokens.get_skill_cost_stats("s1")).predominant_model == expected
    acme.execute(tokens.record_token_measurements(measured(7, "s2", model_name="z") for _ in range(9)))
    assert acme.execute(tokens.get_skill_cost_stats("s1")) == SkillCostStats(
        skill_id="s1", total_cost_microcents=110, avg_cost_microcents=37, measurements=5, predominant_model="a"
    )


def test_the_cost_stats_of_a_missing_skill_are_refused(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, NotFoundError, "skill 'missing' does not exist", cause=pg.NoDataFound):
        acme.execute(tokens.get_skill_cost_stats("missing"))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"], indirect=True)
def test_the_cost_trend_is_by_days_of_utc_with_empty_days_as_zero(acme: Api) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    costly = [today - timedelta(days=back) for back in range(400) if back % 7]
    acme.execute(
        tokens.record_token_measurements(
            measured(cost, created_at=time)
            for start in costly
            for cost, time in ((5, start), (DOLLAR * 30, start + timedelta(days=1, milliseconds=-1)), (None, start))
        ),
        tokens.record_token_measurement(measured(1, "s2", created_at=today)),
    )
    for days, length in (((), 90), ((366,), 366), ((1,), 1)):
        found = acme.execute(tokens.get_cost_trend("s1", *days))
        last = found[-1].day
        assert today.date() <= last <= datetime.now(UTC).date()
        expected = {start.date() for start in costly}
        assert found == [
            DailyCost(day=day, cost_microcents=DOLLAR * 30 + 5, measurements=3)
            if day in expected
            else DailyCost(day=day, cost_microcents=0, measurements=0)
            for day in (last - timedelta(days=back) for back in reversed(range(length)))
        ]


def test_the_cost_trend_of_a_skill_without_measurements_is_all_zero(acme: Api) -> None:
    for skill in ("s1", "missing"):
        found = acme.execute(tokens.get_cost_trend(skill, 3))
        assert [(day.cost_microcents, day.measurements) for day in found] == [(0, 0)] * 3


def test_a_trend_of_days_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    for days in (0, -1, True, 1.5, 2**31):
        with refused(addresses, InvalidValueError, "days", str(days)):
            acme.execute(tokens.get_cost_trend("s1", days))  # type: ignore[arg-type]
    # Before the year 1, before PostgreSQL's first day, and beyond its integers.
    for days in (10**6, 10**7, 2**31 - 1):
        with pytest.raises(InvalidValueError, match="days"):
            acme.execute(tokens.get_cost_trend("s1", days))


# Reports over the organisation

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


def at(day: date, hour: int = 12) -> datetime:
    """A time on the day of UTC."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def a_few(tenant: Api) -> None:
    """Measurements of two models with the skills s1 to s3 and a draft, two of them outside the last 8 days."""
    new_skill(tenant, "draft", status="draft")
    full = {"input_tokens": 10, "output_tokens": 5, "latency_ms": 3}
    tenant.execute(
        tokens.record_token_measurements(
            [
                measured(7, **full, model_name="a"),
                measured(None, latency_ms=4, model_name="b", created_at=at(TODAY - 7 * DAY, 0)),
                measured(5, "s2", **full | {"latency_ms": None}, model_name="b"),
                measured(7, "s3", total_tokens=3, model_name="b"),
                measured(100, "draft", latency_ms=8, model_name="a"),
                measured(1_000, "s2", **full, model_name="c", created_at=at(TODAY - 8 * DAY, 23)),
                measured(1_000, "s2", **full, model_name="c", created_at=at(TODAY + DAY, 0)),
            ]
        )
    )


def test_the_cost_totals_are_the_sums_of_the_days(acme: Api) -> None:
    assert acme.execute(tokens.get_cost_totals()) == CostTotals(
        measurements=0,
        priced_measurements=0,
        cost_microcents=0,
        input_tokens=0,
        output_tokens=0,
        total_tokens=0,
        avg_latency_ms=None,
    )
    a_few(acme)
    assert acme.execute(tokens.get_cost_totals(8)) == CostTotals(
        measurements=5,
        priced_measurements=4,
        cost_microcents=119,
        input_tokens=20,
        output_tokens=10,
        total_tokens=33,
        avg_latency_ms=5,
    )
    assert acme.execute(tokens.get_cost_totals(9)).cost_microcents == 1_119
    acme.execute(skills.delete_skill("draft"))
    # The mean of 3 and 4 rounds half up.
    assert acme.execute(tokens.get_cost_totals(8)).avg_latency_ms == 4


def test_the_cost_by_model_is_listed_highest_cost_first(acme: Api) -> None:
    a_few(acme)
    assert acme.execute(tokens.get_cost_by_model(8)) == [
        ModelCost(
            model_name="a",
            measurements=2,
            priced_measurements=2,
            cost_microcents=107,
            input_tokens=10,
            output_tokens=5,
            total_tokens=15,
            avg_latency_ms=6,
        ),
        ModelCost(
            model_name="b",
            measurements=3,
            priced_measurements=2,
            cost_microcents=12,
            input_tokens=10,
            output_tokens=5,
            total_tokens=18,
            avg_latency_ms=4,
        ),
    ]
    acme.execute(tokens.record_token_measurement(measured(12, model_name="aa")))
    assert [cost.model_name for cost in acme.execute(tokens.get_cost_by_model(8))] == ["a", "aa", "b"]
    assert [cost.model_name for cost in acme.execute(tokens.get_cost_by_model(9))] == ["c", "a", "aa", "b"]


def test_the_cost_by_skill_is_that_of_published_skills_unless_asked(acme: Api) -> None:
    a_few(acme)
    found = acme.execute(tokens.get_cost_by_skill(8))
    assert found[0] == SkillCost(
        skill_id="s1",
        skill_name="S1",
        skill_slug="s1",
        measurements=2,
        priced_measurements=1,
        cost_microcents=7,
        total_tokens=15,
    )
    assert [skill.skill_id for skill in found] == ["s1", "s3", "s2"]
    for given, expected in (
        ({"limit": 2}, ["s1", "s3"]),
        ({"limit": 2, "status": None}, ["draft", "s1"]),
        ({"status": "draft"}, ["draft"]),
        ({"status": "archived"}, []),
        ({"days": 9, "limit": 1}, ["s2"]),
    ):
        arguments: dict[str, Any] = {"days": 8} | given
        assert [s.skill_id for s in acme.execute(tokens.get_cost_by_skill(**arguments))] == expected, given


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"], indirect=True)
def test_the_total_cost_trend_is_by_day_week_or_month_cut_to_the_days(acme: Api) -> None:
    acme.execute(
        tokens.record_token_measurements(
            measured(cost, skill, created_at=at(TODAY - n * DAY, 0))
            for n in range(-9, 500)
            for cost, skill in ((2, "s1"), (None, "s2"))
        )
    )
    for days in (1, 8, 90, 400):
        within = [TODAY - n * DAY for n in reversed(range(days))]
        weeks = Counter(day - day.weekday() * DAY for day in within)
        months = Counter(day.replace(day=1) for day in within)
        for by, expected in (("day", Counter(within)), ("week", weeks), ("month", months)):
            assert acme.execute(tokens.get_total_cost_trend(days, by)) == [
                DailyCost(day=day, cost_microcents=2 * count, measurements=2 * count) for day, count in expected.items()
            ]
    assert len(acme.execute(tokens.get_total_cost_trend())) == 90
    acme.execute(skills.delete_skill("s1"))
    assert acme.execute(tokens.get_total_cost_trend(1)) == [DailyCost(day=TODAY, cost_microcents=0, measurements=1)]


def test_cost_reports_of_what_cannot_be_are_refused(addresses: Addresses, acme: Api) -> None:
    reports: list[Callable[..., Statement[Any]]] = [
        tokens.get_cost_totals,
        tokens.get_total_cost_trend,
        tokens.get_cost_by_model,
        tokens.get_cost_by_skill,
    ]
    for report in reports:
        for days in (0, -1, True, 1.5, 36_526):
            with refused(addresses, InvalidValueError, "days", str(days)):
                acme.execute(report(days))
        acme.execute(report(36_525))
    with refused(addresses, InvalidValueError, "by must be one of day, week, month, not 'year'"):
        acme.execute(tokens.get_total_cost_trend(7, "year"))
    for export in (tokens.get_cost_by_skill, tokens.list_measurements):
        with refused(addresses, InvalidValueError, "limit must be at least 1, not 0"):
            acme.execute(export(limit=0))


# Export


def test_measurements_are_exported_as_they_are_stored_oldest_first(addresses: Addresses, acme: Api) -> None:
    noon = at(TODAY - DAY)
    times = {"m5": noon, "m2": noon, "m1": noon + timedelta(milliseconds=1), "m4": noon - DAY, "m3": LONG_AGO}
    acme.execute(
        tokens.record_token_measurements(measured(1, id=id, created_at=time) for id, time in times.items()),
    )
    one = measured(None, "s2", id="m6", input_tokens=1, output_tokens=2, latency_ms=3, user_id="u1", usage_event_id="e")
    stored = acme.execute(tokens.record_token_measurement(one))

    def exported(**given: Any) -> list[list[str]]:
        pages: list[list[str]] = []
        after = None
        while after is not None or not pages:
            page = acme.execute(tokens.list_measurements(after=after, **given))
            pages.append([each.id for each in page.items])
            after = page.after
        return pages

    assert acme.execute(tokens.list_measurements()).items[-1] == stored
    assert exported() == [["m3", "m4", "m2", "m5", "m1", "m6"]]
    assert exported(limit=2) == [["m3", "m4"], ["m2", "m5"], ["m1", "m6"]]
    assert exported(limit=1, since=noon, until=noon + timedelta(milliseconds=1)) == [["m2"], ["m5"]]
    assert exported(since=noon - timedelta(microseconds=1), until=stored.created_at) == [["m2", "m5", "m1"]]
    assert exported(since=noon + timedelta(microseconds=1), until=stored.created_at) == [["m1"]]
    assert exported(until=LONG_AGO) == [[]]
    first = acme.execute(tokens.list_measurements(limit=1)).after
    assert acme.execute(tokens.list_measurements(since=noon, after=first, limit=1)).items[0].id == "m2"
    for after in ("none", "m1"):
        with refused(addresses, InvalidValueError, "after is not a cursor of this list"):
            acme.execute(tokens.list_measurements(after=after))
    for name in ("since", "until"):
        with refused(addresses, InvalidValueError, name, "time zone"):
            acme.execute(tokens.list_measurements(**{name: datetime(2026, 5, 5)}))  # type: ignore[arg-type]
    acme.execute(retention.keep_rows(measurement_days=10), retention.prune_measurements(), skills.delete_skill("s2"))
    assert exported() == [["m4", "m2", "m5", "m1"]]


# Other tenants, deletions, drift


def test_another_tenant_sees_and_changes_no_measurement(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    acme.execute(tokens.record_token_measurement(measured(3, id="m1", user_id="u1")))
    globex = api("globex")
    assert [day.measurements for day in globex.execute(tokens.get_cost_trend("s1", 2))] == [0, 0]
    assert globex.execute(tokens.get_cost_totals()).measurements == 0
    assert [month.measurements for month in globex.execute(tokens.get_total_cost_trend(1, "month"))] == [0]
    assert globex.execute(tokens.get_cost_by_model()) == globex.execute(tokens.get_cost_by_skill()) == []
    assert globex.execute(tokens.list_measurements()).items == []
    for statement in (
        tokens.get_skill_cost_stats("s1"),
        tokens.record_token_measurement(measured(5)),
        tokens.record_token_measurements([measured(5)]),
    ):
        with refused(addresses, NotFoundError, "skill 's1' does not exist", cause=pg.NoDataFound):
            globex.execute(statement)
    new_skill(globex, "s1")
    with refused(addresses, NotFoundError, "user 'u1' does not exist", cause=pg.NoDataFound):
        globex.execute(tokens.record_token_measurement(measured(5, user_id="u1")))
    assert globex.execute(tokens.get_skill_cost_stats("s1")).measurements == 0
    globex.execute(tokens.record_token_measurement(measured(5, id="m1")))
    assert (average(acme, "s1"), average(globex, "s1")) == (3, 5)
    assert [t.execute(tokens.get_skill_cost_stats("s1")).measurements for t in (acme, globex)] == [1, 1]


def test_measurements_of_a_deleted_user_stay_and_count_without_the_name(addresses: Addresses, acme: Api) -> None:
    for number, user in enumerate(("u1", "u2", None), 1):
        acme.execute(tokens.record_token_measurement(measured(number, id=f"m{number}", user_id=user)))
    assert acme.execute(users.delete_user("u1")) == GONE
    kept = "SELECT id, user_id, estimated_cost_microcents FROM token_measurements ORDER BY id"
    assert rows(addresses.admin, kept) == [("m1", None, 1), ("m2", "u2", 2), ("m3", None, 3)]
    assert average(acme, "s1") == 2


def test_measurements_go_with_their_skill(addresses: Addresses, acme: Api) -> None:
    acme.execute(tokens.record_token_measurements([measured(1), measured(2, "s2", id="kept")]))
    assert acme.execute(skills.delete_skill("s1")) is True
    assert rows(addresses.admin, "SELECT id FROM token_measurements") == [("kept",)]
    assert average(acme, "s2") == 2


def test_a_falsified_cost_is_found_and_repaired(addresses: Addresses, acme: Api) -> None:
    acme.execute(tokens.record_token_measurements([measured(10), measured(31), measured(None), measured(1, "s2")]))
    falsified = (
        "UPDATE skills SET priced_measurement_count = 1, token_cost_sum_microcents = 40, "
        "avg_token_cost_microcents = 40, metrics_updated_at = NULL "
        "WHERE id = 's1' RETURNING avg_token_cost_microcents"
    )
    drift = [
        MetricDrift(skill_id="s1", metric="avg_token_cost_microcents", stored=40, actual=21),
        MetricDrift(skill_id="s1", metric="priced_measurement_count", stored=1, actual=2),
        MetricDrift(skill_id="s1", metric="token_cost_sum_microcents", stored=40, actual=41),
    ]
    for repair in (metrics.update_skill_token_cost, metrics.repair_metrics):
        assert rows(addresses.admin, falsified) == [(40,)]
        assert acme.execute(metrics.find_metric_drift()) == drift
        result = acme.execute(repair("s1"))
        assert average(acme, "s1") == 21
        skill = acme.execute(skills.get_skill("s1"))
        assert skill.metrics_updated_at is not None
        assert result == (skill if repair is metrics.repair_metrics else 21)


# The cost of one more


def touched(addresses: Addresses, statement: Statement[Any]) -> int:
    """The buffers that the statement's steps use, from their plans. A node's count includes the nodes below it."""

    def buffers(node: dict[str, Any]) -> int:
        own = sum(int(value) for name, value in node.items() if name.endswith(" Blocks"))
        return max(own, sum(map(buffers, node.get("Plans", []))))

    total = 0
    with psycopg.connect(addresses.service) as conn:
        conn.execute(SET_TENANT, {"tenant_id": "acme"})
        for step in statement.steps:
            params = {**step.params, "tenant_id": "acme"}
            total += buffers(explain.analyse(conn, step.query, params, as_json=True)["Plan"])
        conn.rollback()
    return total


def test_one_more_measurement_costs_as_much_however_many_there_are(addresses: Addresses, acme: Api) -> None:
    more = (
        "INSERT INTO token_measurements (tenant_id, skill_id, model_name, estimated_cost_microcents) "
        "SELECT 'acme', 's1', 'm', 1 FROM generate_series(1, %s) RETURNING 1"
    )
    record = tokens.record_token_measurement(measured(1, user_id="u1"))
    batch = tokens.record_token_measurements([measured(1, user_id="u1"), measured(1, "s2")])
    recompute = metrics.update_skill_token_cost("s1")
    recount = ask("SELECT sum(estimated_cost_microcents) FROM token_measurements WHERE tenant_id = %(tenant_id)s")
    rows(addresses.admin, more, 10)
    few = [touched(addresses, statement) for statement in (record, batch, recompute, recount)]
    rows(addresses.admin, more, 19_990)
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute(b"ANALYZE token_measurements")
    many = [touched(addresses, statement) for statement in (record, batch, recompute, recount)]
    # The indexes have one or two more levels. The last one reads all measurements, and shows that this is noticed.
    cheap = [after - before < 40 for before, after in zip(few, many, strict=True)]
    assert cheap == [True, True, True, False], (few, many)
