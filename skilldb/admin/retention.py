"""Deletes the raw rows of an organisation by age, in bounded transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from skilldb.database import Tenant
from skilldb.models import PrunableRows
from skilldb.repositories import retention
from skilldb.statement import Statement


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one transaction deleted: events or measurements, and how many."""

    kind: str
    rows: int


def count(tenant: Tenant, *, event_days: int | None, measurement_days: int | None) -> PrunableRows:
    """How many rows prune() would delete: none of a kind whose days are None."""
    rows = tenant.execute(retention.count_prunable(event_days=event_days, measurement_days=measurement_days))
    return PrunableRows(
        events=0 if event_days is None else rows.events,
        measurements=0 if measurement_days is None else rows.measurements,
    )


def prune(tenant: Tenant, *, event_days: int | None, measurement_days: int | None) -> Iterator[Pruned]:
    """Move the horizon to so many days before today, and delete the raw rows before it. None leaves a kind alone.

    It may be stopped at any time: the next call goes on. Others may write meanwhile. Rows that another transaction has
    locked are left for the next call.
    """
    tenant.execute(retention.keep_rows(event_days=event_days, measurement_days=measurement_days))
    if event_days is not None:
        yield from _batches(tenant, "events", retention.prune_events)
    if measurement_days is not None:
        yield from _batches(tenant, "measurements", retention.prune_measurements)


def _batches(tenant: Tenant, kind: str, batch: Callable[[], Statement[int]]) -> Iterator[Pruned]:
    while rows := tenant.execute(batch()):
        yield Pruned(kind, rows)
