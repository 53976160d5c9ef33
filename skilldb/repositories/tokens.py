"""Statements for token measurements: the cost of running skills, in total, by day, skill and model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from skilldb import paging, queries
from skilldb.models import (
    CostTotals,
    DailyCost,
    ModelCost,
    NewTokenMeasurement,
    Page,
    SkillCost,
    SkillCostStats,
    TokenMeasurement,
)
from skilldb.prices import DEFAULT_PRICES, Price, estimate_cost_microcents
from skilldb.query import Step
from skilldb.repositories.retention import with_horizon
from skilldb.statement import Reader, Statement, many, one
from skilldb.values import (
    ADAPT,
    MAX_COST_MICROCENTS,
    MAX_DAYS,
    MAX_TOKENS,
    PERIODS,
    bounded,
    limited,
    one_of,
    optional_bounded,
)

__all__ = [
    "estimate_cost_microcents",
    "get_cost_by_model",
    "get_cost_by_skill",
    "get_cost_totals",
    "get_cost_trend",
    "get_skill_cost_stats",
    "get_total_cost_trend",
    "list_measurements",
    "record_token_measurement",
    "record_token_measurements",
]

_SQL = queries.load("tokens")
_LOCKS = queries.load("locks")

_MEASUREMENTS = paging.Sort("measurements", datetime)


def record_token_measurement(
    measurement: NewTokenMeasurement, *, prices: Mapping[str, Price] = DEFAULT_PRICES, backfill: bool = False
) -> Statement[TokenMeasurement]:
    """Record the tokens, cost and latency of one run, and add its cost to the skill's.

    A total or a cost that is None is computed if possible. A measurement from before the horizon is refused, unless
    `backfill` is set: see record_usage_event. NotFoundError: no such skill or user. InvalidValueError: a negative
    number, more than 1,000,000,000 tokens, more than $100,000, or a time before the horizon. AlreadyExistsError: the id
    is taken.
    """
    return Statement(one(TokenMeasurement), *_steps([measurement], prices, backfill))


def record_token_measurements(
    measurements: Iterable[NewTokenMeasurement],
    *,
    prices: Mapping[str, Price] = DEFAULT_PRICES,
    backfill: bool = False,
) -> Statement[int]:
    """Record any number of measurements, all or none. Returns their number. Raises the errors of one measurement."""
    reader = Reader(many(TokenMeasurement).rows, len)
    measurements = list(measurements)
    return Statement(reader, *_steps(measurements, prices, backfill)) if measurements else Statement(reader)


def _steps(measurements: Sequence[NewTokenMeasurement], prices: Mapping[str, Price], backfill: bool) -> list[Step]:
    filled = [_filled(measurement, prices) for measurement in measurements]
    record = _SQL["record_token_measurements"](
        id=[m.id for m in filled],
        skill_id=[m.skill_id for m in filled],
        usage_event_id=[m.usage_event_id for m in filled],
        user_id=[m.user_id for m in filled],
        input_tokens=[m.input_tokens for m in filled],
        output_tokens=[m.output_tokens for m in filled],
        total_tokens=[m.total_tokens for m in filled],
        model_name=[m.model_name for m in filled],
        model_provider=[m.model_provider for m in filled],
        estimated_cost_microcents=[m.estimated_cost_microcents for m in filled],
        latency_ms=[m.latency_ms for m in filled],
        source=[m.source for m in filled],
        created_at=[m.created_at for m in filled],
    )
    dated = not ADAPT["boolean"]("backfill", backfill) and any(m.created_at is not None for m in filled)
    return [
        *(with_horizon(_SQL["check_measurements_kept"](created_at=[m.created_at for m in filled])) if dated else []),
        _LOCKS["lock_users"](user_ids={m.user_id for m in filled if m.user_id is not None}),
        _LOCKS["lock_skills"](skill_ids={m.skill_id for m in filled}),
        record,
    ]


def _filled(measurement: NewTokenMeasurement, prices: Mapping[str, Price]) -> NewTokenMeasurement:
    """The measurement with its total and cost, if they can be computed. Checks the numbers that it adds up."""
    ADAPT["text"]("skill_id", measurement.skill_id)
    tokens_in = optional_bounded("input_tokens", measurement.input_tokens, 0, MAX_TOKENS)
    tokens_out = optional_bounded("output_tokens", measurement.output_tokens, 0, MAX_TOKENS)
    total, cost = measurement.total_tokens, measurement.estimated_cost_microcents
    optional_bounded("latency_ms", measurement.latency_ms)
    if tokens_in is not None and tokens_out is not None:
        total = tokens_in + tokens_out if total is None else total
        cost = estimate_cost_microcents(measurement.model_name, tokens_in, tokens_out, prices) if cost is None else cost
    optional_bounded("total_tokens", total, 0, MAX_TOKENS)
    optional_bounded("estimated_cost_microcents", cost, 0, MAX_COST_MICROCENTS)
    return replace(measurement, total_tokens=total, estimated_cost_microcents=cost)


def get_skill_cost_stats(skill_id: str) -> Statement[SkillCostStats]:
    """The cost statistics of a skill. NotFoundError: no such skill."""
    return Statement(one(SkillCostStats), _SQL["get_skill_cost_stats"](skill_id=skill_id))


def get_cost_trend(skill_id: str, days: int = 90) -> Statement[list[DailyCost]]:
    """The cost of a skill on each of the last `days` days of UTC, oldest first, today last. Days without cost are 0.

    InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(
        many(DailyCost), _SQL["get_cost_trend"](skill_id=skill_id, days=bounded("days", days, 1, MAX_DAYS))
    )


# Reports over the organisation. Each reads rollups, and so is exact, also after pruning. Its time grows with the days,
# and with the skills and models that were measured on them. The measurements of a deleted skill are deleted with it,
# and count nowhere.


def get_cost_totals(days: int = 30) -> Statement[CostTotals]:
    """The measurements of all skills on the last `days` days of UTC: their number, cost, tokens and mean latency.

    Today is the last day. InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(one(CostTotals), _SQL["get_cost_totals"](days=bounded("days", days, 1, MAX_DAYS)))


def get_total_cost_trend(days: int = 90, by: str = "day") -> Statement[list[DailyCost]]:
    """The cost of all skills on the last `days` days of UTC, oldest first. `by` is "day", "week" or "month".

    Its days, weeks and months are those of get_usage_trend: the first and the last one are cut to the last `days` days.
    Without cost they are 0. InvalidValueError: another `by`, fewer than one day, or more than a hundred years.
    """
    return Statement(
        many(DailyCost),
        _SQL["get_total_cost_trend"](days=bounded("days", days, 1, MAX_DAYS), by=one_of("by", by, PERIODS)),
    )


def get_cost_by_model(days: int = 30) -> Statement[list[ModelCost]]:
    """The cost of each model that was measured on the last `days` days of UTC, highest cost first.

    Today is the last day. Ties are in the order of the names. InvalidValueError: fewer than one day, or more than a
    hundred years.
    """
    return Statement(many(ModelCost), _SQL["get_cost_by_model"](days=bounded("days", days, 1, MAX_DAYS)))


def get_cost_by_skill(
    days: int = 30, limit: int = 10, *, status: str | None = "published"
) -> Statement[list[SkillCost]]:
    """The skills that cost the most on the last `days` days of UTC, highest cost first. Today is the last day.

    Skills of another status than `status` are left out; None lists all. Ties are in id order. Skills without a
    measurement are left out. InvalidValueError: a limit below 1, fewer than one day or more than a hundred years.
    """
    return Statement(
        many(SkillCost),
        _SQL["get_cost_by_skill"](days=bounded("days", days, 1, MAX_DAYS), limit=limited(limit), status=status),
    )


def list_measurements(
    *, since: datetime | None = None, until: datetime | None = None, limit: int = 1_000, after: str | None = None
) -> Statement[Page[TokenMeasurement]]:
    """One page of the stored measurements from `since` to before `until`, oldest first, for an export.

    It works like usage.list_usage_events, which says how an export misses none. InvalidValueError: a limit below 1, an
    `after` that is not a cursor, or a time without a time zone.
    """
    created_at, id = paging.decode(after, _MEASUREMENTS)
    return Statement(
        paging.page(
            TokenMeasurement, limit, lambda measurement: (measurement.created_at, measurement.id), _MEASUREMENTS
        ),
        _SQL["list_measurements"](since=since, until=until, after_created_at=created_at, after_id=id, limit=limit),
    )
