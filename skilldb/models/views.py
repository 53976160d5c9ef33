"""The rows of views, and of what's new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSkillView:
    """When a user last viewed a skill, and which version. The version is None if none was published."""

    id: str
    user_id: str
    skill_id: str
    last_viewed_at: datetime
    last_viewed_version: int | None
    view_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedSkill:
    """A skill that a user viewed, with that last view. `skill_status`: a skill may be archived after the view."""

    skill_id: str
    skill_name: str
    skill_slug: str
    skill_status: str
    last_viewed_at: datetime
    last_viewed_version: int | None
    view_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatsNewItem:
    """A skill that changed since the user last viewed it."""

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
    """What changed on a skill since the user last viewed it.

    `version_rose`: a higher version is published than the one the user saw. `version_changed`: a higher or a lower one
    is. `feedback_since`: the number of feedback items since then. `content_changed`: name, description, category, tags
    or status were edited since then.
    """

    skill_id: str
    last_viewed_at: datetime
    last_viewed_version: int | None
    current_version: int | None
    version_rose: bool
    version_changed: bool
    feedback_since: int
    content_changed: bool
