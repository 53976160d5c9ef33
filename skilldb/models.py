"""The rows, as frozen dataclasses, and the New... inputs. Times carry a zone; ids are strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, TypedDict, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some of the rows. `after` is the cursor to ask for the next page with, None on the last one."""

    items: list[T]
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organisation."""

    id: str
    name: str
    slug: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of an organisation; `role` is admin or member."""

    id: str
    email: str
    name: str | None
    role: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSkill:
    """A skill to be created. `status` is draft, pending_review, published or archived; `hours_saved` is by one use."""

    name: str
    slug: str
    description: str
    category: str
    tags: Sequence[str] = ()
    status: str = "published"
    hours_saved: int | None = 1
    author_id: str | None = None
    id: str | None = None


class SkillUpdate(TypedDict, total=False):
    """The columns of a skill that are to change, and their new values."""

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

    `updated_at` is the last change of content, `metrics_updated_at` that of a counter. `average_rating` is the mean
    rating * 100, `positive_feedback_pct` 0 to 100, `avg_token_cost_microcents` in millionths of a cent; each rounded
    half up, and None where nothing was counted yet.
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
class NewSkillVersion:
    """Content to be published. `content_hash` is its SHA-256, 64 lower-case hexadecimal digits."""

    content_url: str
    content_hash: str
    content_type: str = "text/markdown"
    metadata: Mapping[str, Any] | None = None
    created_by: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillVersion:
    """A published version; `name` and `description` are the skill's as they were then."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDrift:
    """A counter of a skill that differs from what its rows say."""

    skill_id: str
    metric: str
    stored: int
    actual: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUsageEvent:
    """A use to be recorded. `id` is a UUID; recording it again changes nothing. `created_at` None is now."""

    tool_name: str
    skill_id: str | None = None
    user_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyUses:
    """The uses of a skill on one day of UTC."""

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
class Rating:
    """What one user thinks of one skill, 1 to 5."""

    id: str
    skill_id: str
    user_id: str
    rating: int
    comment: str | None
    hours_saved_estimate: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSkillView:
    """When a user last looked at a skill, and which version was shown, None where none was published."""

    id: str
    user_id: str
    skill_id: str
    last_viewed_at: datetime
    last_viewed_version: int | None
    view_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatsNewItem:
    """A skill that changed since the user last looked."""

    skill_id: str
    skill_name: str
    skill_slug: str
    category: str
    updated_at: datetime
    last_viewed_at: datetime
    view_count: int
    last_viewed_version: int | None
    published_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillChanges:
    """What changed on a skill since the user last looked.

    `version_rose`: a higher version than the one seen is published. `feedback_since`: number of feedback items since.
    `content_changed`: something other than the version did (name, description, category, tags or status).
    """

    skill_id: str
    last_viewed_at: datetime
    last_viewed_version: int | None
    current_version: int | None
    version_rose: bool
    feedback_since: int
    content_changed: bool
