"""The rows and inputs of skills and their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSkill:
    """A skill to be created. `status` is draft, pending_review, published or archived; `hours_saved` is per use.

    To import a skill from another system give its `created_at`, and its `updated_at`, the time of its last change. None
    is now; an `updated_at` that is None is the `created_at`. Each version that is published then moves `updated_at`
    by a millisecond at least, so that callers notice it.
    """

    name: str
    slug: str
    description: str
    category: str
    tags: Sequence[str] = ()
    status: str = "published"
    hours_saved: int | None = 1
    author_id: str | None = None
    id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class SkillUpdate(TypedDict, total=False):
    """The columns of a skill to change, and their new values."""

    name: str
    slug: str
    description: str
    category: str
    tags: Sequence[str]
    status: str
    hours_saved: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill as it is now.

    `updated_at` is the time of the last change of content, `metrics_updated_at` of the last change of a counter. Give
    `updated_at` to update_skill, to change only what nobody has changed since.
    `average_rating` is the mean rating * 100, `positive_feedback_pct` is 0 to 100, `avg_token_cost_microcents` is in
    millionths of a cent. Each is rounded half up, and None if nothing was counted yet.
    """

    id: str
    name: str
    slug: str
    description: str
    category: str
    tags: list[str]
    status: str
    hours_saved: int | None
    author_id: str | None
    published_version_id: str | None
    published_version: int | None
    created_at: datetime
    updated_at: datetime
    metrics_updated_at: datetime | None
    total_uses: int
    rating_count: int
    average_rating: int | None
    total_feedback: int
    positive_feedback_pct: int | None
    avg_token_cost_microcents: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSkill(Skill):
    """A skill that a search found. The higher `rank`, the better it fits."""

    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCount:
    """A category, and how many published skills it has."""

    category: str
    skills: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TagCount:
    """A tag, and how many published skills have it."""

    tag: str
    skills: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSkillVersion:
    """Content to be published. `content_hash` is its SHA-256, 64 lower-case hexadecimal digits.

    `created_at` None is now. To import versions from another system publish them in their order, each with its time.
    """

    content_url: str
    content_hash: str
    content_type: str = "text/markdown"
    metadata: Mapping[str, Any] | None = None
    created_by: str | None = None
    id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillVersion:
    """A published version. `name` and `description` are those of the skill at that time."""

    id: str
    skill_id: str
    version: int
    content_url: str
    content_hash: str
    content_type: str
    name: str
    description: str
    metadata: dict[str, Any] | None
    created_by: str | None
    created_at: datetime
