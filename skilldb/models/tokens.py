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
    """The cost of a skill on one day of UTC, in microcents ($1 is 100,000,000)."""

    day: date
    cost_microcents: int
    measurements: int
