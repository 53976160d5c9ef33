"""The rows of ratings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """One user's rating of one skill, 1 to 5."""

    id: str
    skill_id: str
    user_id: str
    rating: int
    comment: str | None
    hours_saved_estimate: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingWithUser(Rating):
    """A rating with the name of its user. The name may be None."""

    user_name: str | None
