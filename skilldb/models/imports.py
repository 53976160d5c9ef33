"""The rows and inputs of imports: skills that come from a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillImport:
    """A skill as its source has it, to be created or changed.

    `id` is the skill's id: that of a new skill, or of the one to change. `slug` and `author_id` are for a new skill
    only. `path` is the skill's folder within the source. A value that is None is the default of a new skill, and
    changes nothing of an existing one; a new skill needs a category. `expected_version_id` is the published version
    that the caller has seen. `commit_hash` and `committed_at` name the commit of a repository.
    """

    id: str
    version_id: str
    slug: str
    path: str
    name: str
    description: str
    category: str | None
    content_url: str
    content_hash: str
    tags: Sequence[str] | None = None
    status: str | None = None
    author_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    expected_version_id: str | None = None
    commit_hash: str | None = None
    committed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOutcome:
    """What became of one skill: "published" with a new version, "written" without one, or "skipped"."""

    skill_id: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSkill:
    """A skill and its source.

    `content_hash` is that of the source at the last import that wrote; `imported` holds the columns of the skill that
    imports wrote. Since then people may have changed both.
    """

    skill_id: str
    slug: str
    source: str
    path: str
    content_hash: str
    imported: dict[str, Any]
    commit_hash: str | None
    committed_at: datetime | None
    created_at: datetime
    imported_at: datetime
    published_version_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlugOwner:
    """The skill that has a slug, and its source and path; both None if nobody imported it."""

    slug: str
    skill_id: str
    published_version_id: str | None
    source: str | None
    path: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierVersion:
    """A version of a skill that has some content."""

    skill_id: str
    content_hash: str
    version: int
