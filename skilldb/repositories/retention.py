"""Statements for retention: move the horizon, and delete the raw rows before it."""

from datetime import UTC, datetime, timedelta

from skilldb import queries
from skilldb.models import Horizon, PrunableRows
from skilldb.query import Query, Step
from skilldb.statement import VALUE, Statement, one
from skilldb.values import MAX_DAYS, limited, optional_bounded

_SQL = queries.load("retention")
_LOCKS = queries.load("locks")
LEAST_DAYS = 2
"""The fewest days to keep. Recording an event of today or yesterday then needs no look at the horizon."""
_RECENT = timedelta(hours=12)


def keep_rows(*, event_days: int | None = None, measurement_days: int | None = None) -> Statement[Horizon]:
    """Move the horizon to so many days of UTC before today, and return it. It never moves back. None leaves it.

    From then on events and measurements of an earlier time are refused, and prune_events and prune_measurements delete
    those that are stored. NotFoundError: no such organisation. InvalidValueError: fewer than two days, or more than a
    hundred years.
    """
    return Statement(
        one(Horizon),
        _LOCKS["lock_horizon"](),
        _days(_SQL["keep_rows"], event_days, measurement_days),
    )


def count_prunable(*, event_days: int | None = None, measurement_days: int | None = None) -> Statement[PrunableRows]:
    """How many raw rows would lie before the horizon after keep_rows. Changes nothing.

    InvalidValueError: fewer than two days, or more than a hundred years.
    """
    return Statement(one(PrunableRows), _days(_SQL["count_prunable"], event_days, measurement_days))


def prune_events(limit: int = 10_000) -> Statement[int]:
    """Delete the oldest events before the horizon, at most `limit`, and return their number. 0: none is left.

    Rows that another transaction has locked stay for the next time. InvalidValueError: a limit below 1.
    """
    return Statement(VALUE, _SQL["prune_events"](limit=limited(limit)))


def prune_measurements(limit: int = 10_000) -> Statement[int]:
    """Delete the oldest measurements before the horizon. Otherwise like prune_events."""
    return Statement(VALUE, _SQL["prune_measurements"](limit=limited(limit)))


def with_horizon(check: Step) -> list[Step]:
    """The step that compares the times `created_at` with the horizon, and before it the one that adds a missing row.

    Only an organisation that create_tenant did not write can lack the row, which is locked until the new rows are
    committed. The check locks nothing if all times are at most a day old. Nothing is added then, even if the clock of
    this machine is wrong by half a day.
    """
    recent = datetime.now(UTC) - _RECENT
    if all(at is None or at > recent for at in check.params["created_at"]):
        return [check]
    return [_SQL["prepare_horizon"](), check]


def _days(query: Query, event_days: int | None, measurement_days: int | None) -> Step:
    return query(
        event_days=optional_bounded("event_days", event_days, LEAST_DAYS, MAX_DAYS),
        measurement_days=optional_bounded("measurement_days", measurement_days, LEAST_DAYS, MAX_DAYS),
    )
