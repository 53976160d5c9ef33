"""The rows and inputs of usage events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUsageEvent:
    """A usage event to be recorded. `id` is a UUID; recording it again changes nothing. `created_at` None is now.

    To repeat an event safely after days or weeks, keep its `created_at` with its `id`, and give both again. Old events
    may have been pruned. Then the id is unknown, and only `created_at` shows that it may have been recorded before.
    """

    tool_name: str
    skill_id: str | None = None
    user_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyUses:
    """The uses of a skill, or of all, on one day of UTC."""

    day: date
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillUses:
    """The uses of a skill over some days; `average_rating` is the mean rating * 100, None without ratings."""

    skill_id: str
    skill_name: str
    skill_slug: str
    average_rating: int | None
    uses: int
