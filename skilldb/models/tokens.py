"""The rows and inputs of token measurements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTokenMeasurement:
    """One run of a skill to be recorded. `latency_ms` in milliseconds, cost in microcents: $1 is 100,000,000.

    `total_tokens` and the cost, where they are None, are filled in if both token counts are given and, for the cost,
    the model has a price. `created_at` None is now.
    """

    skill_id: str
    model_name: str
    model_provider: str = "anthropic"
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    estimated_cost_microcents: int | None = None
    latency_ms: int | None = None
    user_id: str | None = None
    usage_event_id: str | None = None
    source: str = "hook"
    id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMeasurement:
    """The tokens, cost in microcents ($1 is 100,000,000) and latency in milliseconds of one run; None: not known."""

    id: str
    skill_id: str
    usage_event_id: str | None
    user_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    model_name: str
    model_provider: str
    estimated_cost_microcents: int | None
    latency_ms: int | None
    source: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillCostStats:
    """The cost of a skill, in microcents ($1 is 100,000,000).

    Total and mean cover the measurements that have a cost; the mean is None if there are none. `measurements` counts
    all of them. `predominant_model` is the model with the most measurements, or None.
    """

    skill_id: str
    total_cost_microcents: int
    avg_cost_microcents: int | None
    measurements: int
    predominant_model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCost:
    """The cost of a skill, or of all, on one day of UTC, or in the week or month that begins with the day.

    In microcents: $1 is 100,000,000.
    """

    day: date
    cost_microcents: int
    measurements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTotals:
    """The measurements of all skills over some days: their cost in microcents ($1 is 100,000,000) and their tokens.

    `priced_measurements` have a cost. Tokens are added up where they were measured. `avg_latency_ms` is the mean of the
    measurements that have a latency, in milliseconds, rounded half up; None if there are none.
    """

    measurements: int
    priced_measurements: int
    cost_microcents: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    avg_latency_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """The measurements of one model over some days, of all skills. The figures are those of CostTotals."""

    model_name: str
    measurements: int
    priced_measurements: int
    cost_microcents: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    avg_latency_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillCost:
    """The measurements of one skill over some days, of all models. The figures are those of CostTotals."""

    skill_id: str
    skill_name: str
    skill_slug: str
    measurements: int
    priced_measurements: int
    cost_microcents: int
    total_tokens: int
