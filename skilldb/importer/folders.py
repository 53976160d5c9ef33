"""Turns a folder with SKILL.md files into skills and versions."""

from __future__ import annotations

import unicodedata
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skilldb.database import Tenant
from skilldb.errors import DatabaseUnavailableError, SkilldbError
from skilldb.importer import finding
from skilldb.importer.finding import ReadSkill, Unread
from skilldb.importer.reading import UnreadableError
from skilldb.models import NewSkill, NewSkillVersion, Skill, SkillUpdate
from skilldb.repositories import skills

CATEGORY = "imported"

Outcome = Literal["new", "new version", "unchanged", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("new", "new version", "unchanged", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The outcome for one folder. `reason` says why it failed."""

    slug: str
    outcome: Outcome
    reason: str | None = None


def import_skills(tenant: Tenant, folder: Path) -> list[Imported]:
    """Import every skill of the folder, ordered by path. A broken file fails alone.

    A skill and its version are written together or not at all. DatabaseUnavailableError ends the import. Skills that
    were imported before stay, and the next import continues after them.
    """
    report = []
    for found in finding.find(folder):
        slug = _slug(found.path)
        try:
            if isinstance(found, Unread):
                raise UnreadableError(found.reason)
            skill = finding.read(folder, found)
            slug = slug or skill.file.name
            outcome = _import(tenant, slug, f"{found.path}/{found.file_name}".lstrip("/"), skill)
            report.append(Imported(slug=slug, outcome=outcome))
        except DatabaseUnavailableError:
            raise
        except (SkilldbError, UnreadableError) as error:
            report.append(Imported(slug=slug, outcome="failed", reason=str(error)))
    return report


def _slug(path: str) -> str:
    """The name of the skill's folder; empty for the folder that is imported."""
    return unicodedata.normalize("NFC", path.rpartition("/")[2].strip())


def _import(tenant: Tenant, slug: str, url: str, read: ReadSkill) -> Outcome:
    file = read.file
    version = NewSkillVersion(content_url=url, content_hash=read.content_hash, metadata=file.metadata)
    skill = tenant.execute(skills.get_skill_by_slug(slug))
    if skill is None:
        id = str(uuid.uuid4())
        new = NewSkill(
            id=id,
            name=file.name,
            slug=slug,
            description=file.description,
            category=file.category or CATEGORY,
            tags=file.tags,
        )
        tenant.execute(skills.create_skill(new), skills.publish_skill_version(id, version))
        return "new"
    if _published_hash(tenant, skill) == read.content_hash:
        return "unchanged"
    changes = SkillUpdate(
        name=file.name, description=file.description, category=file.category or CATEGORY, tags=file.tags
    )
    tenant.execute(skills.update_skill(skill.id, changes), skills.publish_skill_version(skill.id, version))
    return "new version"


def _published_hash(tenant: Tenant, skill: Skill) -> str | None:
    if skill.published_version_id is None:
        return None
    published = tenant.execute(skills.get_skill_version(skill.published_version_id))
    return published.content_hash if published else None
