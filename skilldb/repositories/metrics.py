"""Statements for the counters and averages on skills: move them, recompute them, find drift."""

from skilldb import queries
from skilldb.models import MetricDrift, Skill
from skilldb.statement import VALUE, Statement, many, one
from skilldb.values import MAX_INCREMENT, bounded

_SQL = queries.load("metrics")
_LOCKS = queries.load("locks")
_SKILLS = queries.load("skills")


def increment_skill_uses(skill_id: str, by: int = 1) -> Statement[int]:
    """Count `by` more uses without recording an event. Returns the new total.

    NotFoundError: no such skill. InvalidValueError: `by` below 1 or above 1,000,000.
    """
    return Statement(VALUE, _SQL["increment_skill_uses"](skill_id=skill_id, by=bounded("by", by, 1, MAX_INCREMENT)))


def update_skill_rating(skill_id: str) -> Statement[int | None]:
    """Recompute count, sum and average from the ratings.

    Returns the mean rating * 100, rounded half up; None without ratings. NotFoundError: no such skill.
    """
    return Statement(
        VALUE,
        _LOCKS["lock_skill"](skill_id=skill_id),
        _SQL["update_skill_rating"](skill_id=skill_id),
    )


def update_skill_feedback(skill_id: str) -> Statement[int | None]:
    """Recompute the feedback counts and the percentage from the feedback.

    Returns the percentage of thumbs up, 0 to 100, rounded half up; None without votes. NotFoundError: no such skill.
    """
    return Statement(
        VALUE,
        _LOCKS["lock_skill"](skill_id=skill_id),
        _SQL["update_skill_feedback"](skill_id=skill_id),
    )


def update_skill_token_cost(skill_id: str) -> Statement[int | None]:
    """Recompute count, sum and mean of the token cost from the rollups, which hold every measurement ever recorded.

    Returns the mean in microcents ($1 is 100,000,000), rounded half up; None without a priced measurement.
    NotFoundError: no such skill.
    """
    return Statement(
        VALUE,
        _LOCKS["lock_skill"](skill_id=skill_id),
        _SQL["update_skill_token_cost"](skill_id=skill_id),
    )


def format_rating(stored: int | None) -> str | None:
    """A stored average as people read it: one decimal, half up. 450 is "4.5", 445 is "4.5", None is None."""
    if stored is None:
        return None
    tenths = (stored + 5) // 10
    return f"{tenths // 10}.{tenths % 10}"


def find_metric_drift() -> Statement[list[MetricDrift]]:
    """Every counter, sum and average of every skill that differs from its ratings, feedback or rollups.

    Uses may be counted without an event, so `total_uses` has drifted only if it is below the number of events.
    """
    return Statement(many(MetricDrift), _SQL["find_metric_drift"]())


def repair_metrics(skill_id: str) -> Statement[Skill]:
    """Recompute all counters, sums and averages of a skill from its ratings, feedback and rollups.

    NotFoundError: no such skill.
    """
    return Statement(
        one(Skill),
        _LOCKS["lock_skill"](skill_id=skill_id),
        _SQL["repair_metrics"](skill_id=skill_id),
        _SKILLS["get_skill"](skill_id=skill_id),
    )
