"""Writes stored skills into folders, which an import finds unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skilldb.database import Tenant
from skilldb.importer.finding import shown
from skilldb.models import StoredFile
from skilldb.repositories import imports, skills

BATCH = 50
"""How many versions are read in one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A skill, and why it was not written; `reason` is None if it was."""

    slug: str
    path: str
    reason: str | None = None


def export(tenant: Tenant, into: Path, source: str | None = None) -> Iterator[Exported]:
    """Write the published version of each skill that is not archived into a folder below `into`.

    Without a source the folder is the slug. With one, only its skills are written, each to the path that it has there.
    """
    batch: list[tuple[str, str, str]] = []
    for each in _skills(tenant, source):
        batch.append(each)
        if len(batch) == BATCH:
            yield from _write(tenant, into, batch)
            batch = []
    yield from _write(tenant, into, batch)


def _skills(tenant: Tenant, source: str | None) -> Iterator[tuple[str, str, str]]:
    """The slug, path and published version of each skill."""
    after: str | None = None
    while True:
        found: list[tuple[str, str, str | None]]
        if source is None:
            page = tenant.execute(skills.list_skills(status=None, limit=1_000, after=after))
            found = [(each.slug, each.slug, each.published_version_id) for each in page.items if _is_shown(each.status)]
            after = page.after
        else:
            imported = tenant.execute(imports.list_imported_skills(source, after=after))
            found = [
                (each.slug, each.path, each.published_version_id)
                for each in imported.items
                if _is_shown(each.imported.get("status"))
            ]
            after = imported.after
        yield from ((slug, path, version) for slug, path, version in found if version is not None)
        if after is None:
            return


def _is_shown(status: str | None) -> bool:
    return status != "archived"


def _write(tenant: Tenant, into: Path, batch: list[tuple[str, str, str]]) -> Iterator[Exported]:
    if not batch:
        return
    contents = tenant.execute(*(imports.get_version_content(version) for _, _, version in batch))
    for (slug, path, _), files in zip(batch, contents if len(batch) > 1 else [contents], strict=True):
        yield Exported(slug=slug, path=path, reason=_write_skill(into, path, files))


def _write_skill(into: Path, path: str, files: list[StoredFile]) -> str | None:
    """Write the files. Returns why not."""
    if not files:
        return "its content is not stored: import it with --store"
    targets = [PurePosixPath(path, file.path) for file in files]
    for target in targets:
        if target.is_absolute() or ".." in target.parts or "\0" in str(target):
            return f"the path {shown(str(target))} leads out of the folder"
    try:
        for target, file in zip(targets, files, strict=True):
            (into / target).parent.mkdir(parents=True, exist_ok=True)
            with (into / target).open("xb") as written:
                written.write(file.content)
    except OSError as error:
        return f"it cannot be written: {error.strerror}"
    return None
