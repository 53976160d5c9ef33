"""Statements for the rollups: add up the pending uses, compare a day with its raw rows, rebuild it."""

from collections.abc import Iterable
from datetime import date

from skilldb import queries
from skilldb.models import RollupDrift
from skilldb.statement import NOTHING, VALUE, Statement, many
from skilldb.values import ADAPT, limited

_SQL = queries.load("rollups")
_LOCKS = queries.load("locks")


def fold_uses(limit: int = 10_000) -> Statement[int]:
    """Add at most `limit` rows of pending uses to the rollups of tools and users. Returns how many, 0 if none is left.

    Each use is added exactly once. Reports count it before and after. NotFoundError: no such
    organisation. InvalidValueError: a limit below 1.
    """
    return Statement(VALUE, _LOCKS["lock_horizon"](), _SQL["fold_uses"](limit=limited(limit)))


def get_next_day(after: date) -> Statement[date | None]:
    """The first day of UTC after this one that has raw rows or rollups to compare; None if there is none.

    Days before the horizon cannot be compared. InvalidValueError: no date.
    """
    return Statement(VALUE, _SQL["get_next_day"](after=after))


def find_use_drift(day: date) -> Statement[list[RollupDrift]]:
    """The rollups of uses that differ from the events of this day of UTC. Tools and users have drifted if too low.

    Empty for a day before the horizon. InvalidValueError: no date.
    """
    return Statement(many(RollupDrift), _SQL["find_use_drift"](day=day))


def find_cost_drift(day: date) -> Statement[list[RollupDrift]]:
    """The rollups of cost that differ from the measurements of this day of UTC.

    Empty for a day before the horizon. InvalidValueError: no date.
    """
    return Statement(many(RollupDrift), _SQL["find_cost_drift"](day=day))


def rebuild_day(day: date, skill_ids: Iterable[str]) -> Statement[None]:
    """Recompute the rollups of one day of UTC from the raw rows: those of these skills, and of all tools and users.

    What a tool or user lacks is added, but nothing is taken away. Skills that do not exist are left out. Nothing
    changes on a day before the horizon. NotFoundError: no such organisation. InvalidValueError: no date.
    """
    skills = ADAPT["text[]"]("skill_ids", skill_ids)
    return Statement(
        NOTHING,
        _LOCKS["lock_horizon"](),
        _SQL["lock_skills_of_rollups"](skill_ids=skills),
        _SQL["append_missing_uses"](day=day),
        _SQL["rebuild_skill_uses"](day=day, skill_ids=skills),
        _SQL["clear_skill_costs"](day=day, skill_ids=skills),
        _SQL["rebuild_skill_costs"](day=day, skill_ids=skills),
    )
