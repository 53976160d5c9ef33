"""Turns a folder of */SKILL.md files into skills and versions."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from skilldb.database import Tenant
from skilldb.errors import DatabaseUnavailableError, SkilldbError
from skilldb.models import NewSkill, NewSkillVersion, Skill, SkillUpdate
from skilldb.repositories import skills

MAX_BYTES = 1 << 20
CATEGORY = "imported"

Outcome = Literal["new", "new version", "unchanged", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("new", "new version", "unchanged", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The outcome for one folder. `reason` says why it failed."""

    slug: str
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFile:
    """The content of a SKILL.md: its front matter, and the SHA-256 of the whole file."""

    name: str
    description: str
    metadata: dict[str, Any]
    content_hash: str


class _AliasError(ValueError):
    """YAML aliases in the front matter."""


def import_skills(tenant: Tenant, folder: Path) -> list[Imported]:
    """Import every `*/SKILL.md` of the folder, ordered by name. A broken file fails alone.

    A skill and its version are written together or not at all. DatabaseUnavailableError ends the import. Skills that
    were imported before stay, and the next import continues after them.
    """
    report = []
    for path in sorted(folder.glob("*/SKILL.md")):
        slug = path.parent.name
        try:
            outcome = _import(tenant, slug, f"{slug}/{path.name}", read(path))
            report.append(Imported(slug=slug, outcome=outcome))
        except DatabaseUnavailableError:
            raise
        except (SkilldbError, ValueError, OSError) as error:
            report.append(Imported(slug=slug, outcome="failed", reason=str(error)))
    return report


def read(path: Path) -> SkillFile:
    """Read a SKILL.md. ValueError: it is too large or not UTF-8, or it lacks front matter or a name."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError("larger than 1 MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    front = _front_matter(text)
    name, description = front.pop("name", None), front.pop("description", None)
    if not isinstance(name, str | None):
        raise ValueError("the name is not text")
    if name is None or not name.strip():
        raise ValueError("no name in the front matter")
    if description is not None and not isinstance(description, str):
        raise ValueError("the description is not text")
    return SkillFile(
        name=name.strip(),
        description=(description or "").strip(),
        metadata=_json(front),
        content_hash=hashlib.sha256(content).hexdigest(),
    )


def _json(front: dict[str, Any]) -> dict[str, Any]:
    """The front matter as JSON values. YAML's dates become text, because JSON has none."""
    try:
        metadata: dict[str, Any] = json.loads(json.dumps(front, default=str))
        return metadata
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the front matter cannot be written as JSON: {error}") from None


def _front_matter(text: str) -> dict[str, Any]:
    lines = text.split("\n")  # Not splitlines(): it also splits at U+2028, and YAML does not.
    if not lines or lines[0].rstrip() != "---":
        raise ValueError("no front matter: the file does not begin with ---")
    try:
        end = next(number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---")
    except StopIteration:
        raise ValueError("no front matter: its closing --- is missing") from None
    block = "\n".join(lines[1:end])
    try:
        # A few bytes of nested aliases expand to gigabytes, and no front matter needs them.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(block, Loader=yaml.SafeLoader)):
            raise _AliasError("the front matter uses YAML aliases")
        front = yaml.safe_load(block)
    except _AliasError:
        raise
    except Exception as error:  # A tag's constructor may raise anything: `!!int ""` raises IndexError.
        raise ValueError(f"the front matter is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(front, dict):
        raise ValueError("no front matter: it is not a mapping")
    return front


def _import(tenant: Tenant, slug: str, url: str, file: SkillFile) -> Outcome:
    version = NewSkillVersion(content_url=url, content_hash=file.content_hash, metadata=file.metadata)
    skill = tenant.execute(skills.get_skill_by_slug(slug))
    if skill is None:
        id = str(uuid.uuid4())
        new = NewSkill(id=id, name=file.name, slug=slug, description=file.description, category=CATEGORY)
        tenant.execute(skills.create_skill(new), skills.publish_skill_version(id, version))
        return "new"
    if _published_hash(tenant, skill) == file.content_hash:
        return "unchanged"
    changes = SkillUpdate(name=file.name, description=file.description)
    tenant.execute(skills.update_skill(skill.id, changes), skills.publish_skill_version(skill.id, version))
    return "new version"


def _published_hash(tenant: Tenant, skill: Skill) -> str | None:
    if skill.published_version_id is None:
        return None
    published = tenant.execute(skills.get_skill_version(skill.published_version_id))
    return published.content_hash if published else None
