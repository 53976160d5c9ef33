"""The rows of the counters and averages on skills."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDrift:
    """A counter of a skill that differs from its rows."""

    skill_id: str
    metric: str
    stored: int
    actual: int
