"""The rows of the checks of counters, averages and rollups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDrift:
    """A counter or average of a skill that differs from its rows. An average without rows is None."""

    skill_id: str
    metric: str
    stored: int | None
    actual: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupDrift:
    """A figure of a rollup that differs from the raw rows of its day of UTC.

    `rollup` is the table. `key` is the id of the skill or user, or the name of the tool. `model_name` is None except
    for costs. `metric` is the column, or "uses".
    """

    day: date
    rollup: str
    key: str
    model_name: str | None
    metric: str
    stored: int
    actual: int
