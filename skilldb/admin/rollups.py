"""Adds up pending uses, and compares or rebuilds the rollups of an organisation day by day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from skilldb.database import Tenant
from skilldb.models import RollupDrift
from skilldb.repositories import rollups

_FIRST = date(2, 1, 1)
_FOLDED = 10_000
"""How many pending uses one transaction folds."""
_SKILLS = 10_000
"""How many skills one transaction locks and rebuilds."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day of UTC, and what had drifted on it."""

    day: date
    drift: list[RollupDrift]


def fold(tenant: Tenant) -> Iterator[int]:
    """Add up the pending uses of the organisation. Yields how many rows each transaction took."""
    folded = _FOLDED
    while folded == _FOLDED:  # Fewer are the last: others may append more all the time.
        folded = tenant.execute(rollups.fold_uses(_FOLDED))
        yield folded


def recount(tenant: Tenant, since: date | None = None, *, repair: bool = False) -> Iterator[Day]:
    """Compare the rollups of each day with its raw rows, oldest day first. With `repair`, rebuild what has drifted.

    Each day is its own transaction or transactions, so it may be stopped and continued with the next day. Others may
    write meanwhile. Days before the horizon are left out, and rows before it never lower a figure.
    """
    day = tenant.execute(rollups.get_next_day(_FIRST if since is None else since - timedelta(days=1)))
    while day is not None:
        uses, costs, following = tenant.execute(
            rollups.find_use_drift(day), rollups.find_cost_drift(day), rollups.get_next_day(day)
        )
        found = [*uses, *costs]
        if repair and found:
            skills = sorted({drift.key for drift in found if drift.rollup.startswith("skill_")})
            for at in range(0, len(skills) or 1, _SKILLS):
                tenant.execute(rollups.rebuild_day(day, skills[at : at + _SKILLS]))
        yield Day(day, found)
        day = following
