"""Statements for token measurements: the cost of running skills, in total and by day."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from skilldb import queries
from skilldb.models import DailyCost, NewTokenMeasurement, SkillCostStats, TokenMeasurement
from skilldb.prices import DEFAULT_PRICES, Price, estimate_cost_microcents
from skilldb.query import Step
from skilldb.statement import Reader, Statement, many, one
from skilldb.values import ADAPT, MAX_COST_MICROCENTS, MAX_DAYS, MAX_TOKENS, bounded, optional_bounded

__all__ = [
    "estimate_cost_microcents",
    "get_cost_trend",
    "get_skill_cost_stats",
    "record_token_measurement",
    "record_token_measurements",
]

_SQL = queries.load("tokens")
_LOCKS = queries.load("locks")


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
        *([_SQL["check_measurements_kept"](created_at=[m.created_at for m in filled])] if dated else []),
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
