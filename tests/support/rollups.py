"""Compares the rollups of an organisation with its raw rows, day by day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from skilldb.models import RollupDrift
from skilldb.repositories import rollups


def drifted(execute: Callable[..., Any]) -> list[RollupDrift]:
    """What has drifted on any day. `execute`: that of an organisation."""
    found: list[RollupDrift] = []
    day = execute(rollups.get_next_day(date(2, 1, 1)))
    for _ in range(1_000):
        if day is None:
            return found
        uses, costs, day = execute(rollups.find_use_drift(day), rollups.find_cost_drift(day), rollups.get_next_day(day))
        found += [*uses, *costs]
    raise AssertionError("more than a thousand days")
