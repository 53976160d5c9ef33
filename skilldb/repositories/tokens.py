"""What running skills costs, and its sum on skills."""

from collections.abc import Iterable, Mapping, Sequence

from skilldb import queries
from skilldb.models import DailyCost, NewTokenMeasurement, SkillCostStats, TokenMeasurement
from skilldb.prices import DEFAULT_PRICES, Price, estimate_cost_microcents
from skilldb.statement import Reader, Statement, Step, many, one
from skilldb.values import at_least

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
    measurement: NewTokenMeasurement, *, prices: Mapping[str, Price] = DEFAULT_PRICES
) -> Statement[TokenMeasurement]:
    """Record what one run of a skill took, and add its cost to the skill's.

    The total and the cost are filled in where they are left out. NotFoundError: no such skill or user.
    InvalidValueError: a negative number, or one out of range. AlreadyExistsError: the id is taken.
    """
    return Statement(one(TokenMeasurement), *_steps([measurement], prices))


def record_token_measurements(
    measurements: Iterable[NewTokenMeasurement], *, prices: Mapping[str, Price] = DEFAULT_PRICES
) -> Statement[int]:
    """Record any number of measurements, all or none. Returns how many; errors as for one."""
    reader = Reader(many(TokenMeasurement).row_factory, len)
    measurements = list(measurements)
    return Statement(reader, *_steps(measurements, prices)) if measurements else Statement(reader)


def _steps(measurements: Sequence[NewTokenMeasurement], prices: Mapping[str, Price]) -> list[Step]:
    record = _SQL["record_token_measurements"](
        id=[m.id for m in measurements],
        skill_id=[m.skill_id for m in measurements],
        usage_event_id=[m.usage_event_id for m in measurements],
        user_id=[m.user_id for m in measurements],
        input_tokens=[m.input_tokens for m in measurements],
        output_tokens=[m.output_tokens for m in measurements],
        total_tokens=[_total(m) for m in measurements],
        model_name=[m.model_name for m in measurements],
        model_provider=[m.model_provider for m in measurements],
        estimated_cost_microcents=[_cost(m, prices) for m in measurements],
        latency_ms=[m.latency_ms for m in measurements],
        source=[m.source for m in measurements],
        created_at=[m.created_at for m in measurements],
    )
    return [
        _LOCKS["lock_users"](user_ids={m.user_id for m in measurements if m.user_id is not None}),
        _LOCKS["lock_skills"](skill_ids={m.skill_id for m in measurements}),
        record,
    ]


def _total(measurement: NewTokenMeasurement) -> int | None:
    if measurement.total_tokens is not None or measurement.input_tokens is None or measurement.output_tokens is None:
        return measurement.total_tokens
    return measurement.input_tokens + measurement.output_tokens


def _cost(measurement: NewTokenMeasurement, prices: Mapping[str, Price]) -> int | None:
    given = measurement.estimated_cost_microcents
    if given is not None or measurement.input_tokens is None or measurement.output_tokens is None:
        return given
    return estimate_cost_microcents(measurement.model_name, measurement.input_tokens, measurement.output_tokens, prices)


def get_skill_cost_stats(skill_id: str) -> Statement[SkillCostStats]:
    """What a skill costs. NotFoundError: no such skill."""
    return Statement(one(SkillCostStats), _SQL["get_skill_cost_stats"](skill_id=skill_id))


def get_cost_trend(skill_id: str, days: int = 90) -> Statement[list[DailyCost]]:
    """What a skill cost on each of the last `days` days of UTC, oldest first, today last; days without cost are 0.

    InvalidValueError: fewer than one day.
    """
    return Statement(many(DailyCost), _SQL["get_cost_trend"](skill_id=skill_id, days=at_least("days", days)))
