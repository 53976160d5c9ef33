"""The rows of retention."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """The first day of UTC whose raw rows are all kept. None: nothing was pruned."""

    events_kept_from: date | None
    measurements_kept_from: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunableRows:
    """How many raw rows lie before a horizon."""

    events: int
    measurements: int
