"""The rows and inputs of imports: skills that come from a source."""

from __future__ import annotations

import base64
import difflib
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
    """A version of a skill that has some content and is not the published one."""

    skill_id: str
    content_hash: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContent:
    """The content of a file: text, or base64 of what is no text."""

    body: str
    is_binary: bool = False

    @classmethod
    def of(cls, content: bytes) -> NewContent:
        """The content as text if it is UTF-8 without NUL bytes, which PostgreSQL does not store."""
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = "\0"
        return cls(body=base64.b64encode(content).decode(), is_binary=True) if "\0" in text else cls(body=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of a version: its path within the skill's folder, and its content, as text or as base64."""

    path: str
    body: str
    is_binary: bool

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return base64.b64decode(self.body) if self.is_binary else self.body.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that differs between two versions. `old_body` is None if it was added, `new_body` if it was removed.

    The bodies are text, unless `is_binary`: then one or both are base64.
    """

    path: str
    old_body: str | None
    new_body: str | None
    is_binary: bool

    def unified(self) -> str:
        """The change as a unified diff; of a binary file one line that says so."""
        if self.is_binary:
            return f"Binary file {self.path} differs\n"
        old, new = ((body or "").splitlines(keepends=True) for body in (self.old_body, self.new_body))
        before = "/dev/null" if self.old_body is None else f"a/{self.path}"
        after = "/dev/null" if self.new_body is None else f"b/{self.path}"
        lines = difflib.unified_diff(old, new, before, after)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
