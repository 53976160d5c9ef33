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
    """The uses of a skill, or of all, on one day of UTC, or in the week or month that begins with the day."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One use of a skill or a tool, as it is stored; None: not given, or the user was deleted."""

    id: str
    tool_name: str
    skill_id: str | None
    user_id: str | None
    metadata: dict[str, Any] | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """All uses over some days, and how many skills, users and tools have at least one of them."""

    uses: int
    skills_used: int
    active_users: int
    tools_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendingSkill:
    """A skill with its score: a use of today counts 1,000,000, an earlier one less the older it is.

    `average_rating` is the mean rating * 100, None without ratings.
    """

    skill_id: str
    skill_name: str
    skill_slug: str
    average_rating: int | None
    score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserUses:
    """The uses of a user over some days, with or without a skill; `user_name` is None if the user has none."""

    user_id: str
    user_name: str | None
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUses:
    """The uses of a tool over some days, with or without a skill."""

    tool_name: str
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveUser:
    """A user with the last day of UTC on which the user used anything; `user_name` is None if the user has none."""

    user_id: str
    user_name: str | None
    last_active_day: date
