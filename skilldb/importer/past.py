"""Imports the history of a repository: each commit that changed the folder, oldest first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from skilldb.database import Tenant
from skilldb.importer import sources
from skilldb.importer.folders import FAULTS, Imported, Options, Progress, import_folder
from skilldb.importer.sources import Origin
from skilldb.repositories import imports


def import_history(tenant: Tenant, origin: Origin, options: Options, progress: Progress) -> list[Imported]:
    """Import the commits one after the other. Returns what each wrote, and everything of the last.

    Commits before the newest that was imported are left out, so an import that was interrupted continues. What vanished
    is archived after the last commit only.
    """
    hashes = sources.commits(origin)
    known = _imported_commits(tenant, origin.name)
    newest = max((number for number, hash in enumerate(hashes) if hash in known), default=0)
    hashes = hashes[newest:]
    report: list[Imported] = []
    with TemporaryDirectory(prefix="skilldb-") as folder:
        top = Path(folder).resolve()
        for number, commit in enumerate(sources.checked_out(origin, hashes, top), start=1):
            progress("commits", number - 1, len(hashes))
            is_last = number == len(hashes)
            chosen = options if is_last else replace(options, archive_missing=False)
            root = top / origin.prefix
            root.mkdir(parents=True, exist_ok=True)
            at = replace(origin, commit=commit, checkout=top)
            for each in import_folder(tenant, root, at, chosen):
                if is_last or each.outcome not in ("unchanged", "missing", *FAULTS):
                    report.append(each)
        progress("commits", len(hashes), len(hashes))
    return report


def _imported_commits(tenant: Tenant, source: str) -> set[str | None]:
    found: set[str | None] = set()
    after: str | None = None
    while True:
        page = tenant.execute(imports.list_imported_skills(source, after=after))
        found |= {each.commit_hash for each in page.items}
        after = page.after
        if after is None:
            return found
