"""The rows of the counters and averages on skills."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDrift:
    """A counter or average of a skill that differs from its rows. An average without rows is None."""

    skill_id: str
    metric: str
    stored: int | None
    actual: int | None
