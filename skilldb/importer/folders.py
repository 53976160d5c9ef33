"""Turns a folder with skills into skills and versions: decides what is to be done for each, then writes in batches.

docs/importing.md says what it does and why.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from skilldb.database import Tenant
from skilldb.errors import DatabaseUnavailableError, DeadlockError, SerializationError, SkilldbError
from skilldb.importer import finding
from skilldb.importer.finding import Content, ReadSkill, SkillFolder, Unread, shown
from skilldb.importer.reading import UnreadableError
from skilldb.importer.sources import Origin
from skilldb.models import ImportedSkill, NewContent, SkillImport, SlugOwner
from skilldb.repositories import imports, skills
from skilldb.statement import Statement

CATEGORY = "imported"
"""The category of a new skill whose front matter has none."""
BATCH, BATCH_BYTES = 500, 8 << 20
"""The most skills that one transaction writes, and about the most bytes of their contents."""
PAGE = 5_000
KEPT_CHARACTERS = 64 << 20
"""The most text of skills that is kept in memory between reading and writing. The others are read again."""
ATTEMPTS = 5

Outcome = Literal[
    "new", "new version", "unchanged", "failed", "edited", "renamed", "collision", "older", "missing", "archived"
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FAULTS: frozenset[Outcome] = frozenset({"failed", "collision", "older"})
"""The outcomes of skills that were not imported."""

Progress = Callable[[str, int, int], object]
"""(what is done, number done, number in all)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user wants.

    - `on_conflict`: what becomes of two skills of one slug: "skip", "namespace" or "replace".
    - `adopt`: take over skills that this source did not create. `allow_older`: go back to older content.
    - `strict`: warnings are failures. `dry_run`: decide, and write nothing.
    - `category`: that of every skill. `author_id`: the user that new skills refer to.
    - `store`: keep the content in the database.
    - `archive_missing`: archive what vanished from the source, at most `archive_limit` skills, or more if `confirm`
      of their number is true.
    """

    on_conflict: str = "skip"
    adopt: bool = False
    allow_older: bool = False
    strict: bool = False
    dry_run: bool = False
    store: bool = False
    category: str | None = None
    author_id: str | None = None
    archive_missing: bool = False
    archive_limit: int = 5
    confirm: Callable[[int], bool] = lambda number: False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The outcome for one skill. `reason` says why it was not imported, or what was done."""

    path: str
    slug: str
    outcome: Outcome
    reason: str | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Candidate:
    """A skill of the folder. `read` is None if it has to be read again.

    `base` is the slug that its folder gives, `slug` the one that it has or is to get.
    """

    folder: SkillFolder
    path: str
    base: str
    slug: str
    content_hash: str
    warnings: list[str]
    read: ReadSkill | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """What is to be written for a candidate: with what id, over which row of the source, under which new slug."""

    candidate: _Candidate
    item: SkillImport
    outcome: Outcome
    slug: str | None = None
    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class _Plan:
    """What was decided: the reports of what is not written, the writes, and what is to be decided `again`."""

    reports: list[Imported] = field(default_factory=list)
    writes: list[_Write] = field(default_factory=list)
    again: list[_Candidate] = field(default_factory=list)

    def refuse(self, candidate: _Candidate, outcome: Outcome, reason: str) -> None:
        self.reports.append(_report(candidate, outcome, reason))


def _report(candidate: _Candidate, outcome: Outcome, reason: str | None = None) -> Imported:
    return Imported(
        path=candidate.path,
        slug=candidate.slug,
        outcome=outcome,
        reason=reason,
        warnings=candidate.warnings,
    )


def import_folder(
    tenant: Tenant | None,
    folder: Path,
    origin: Origin,
    options: Options,
    progress: Progress = lambda what, done, total: None,
) -> list[Imported]:
    """Import every skill of the folder. Returns the outcomes, ordered by path. A broken skill fails alone.

    `tenant` is None if the organisation does not exist, which only a dry run accepts. A batch is written whole or not
    at all. DatabaseUnavailableError ends the import. Batches that were written stay, and the next import continues.
    """
    run = _Import(tenant=tenant, root=folder, origin=origin, options=options, progress=progress)
    return sorted(run.run(), key=lambda each: (each.path, each.slug))


@dataclass(slots=True, kw_only=True)
class _Import:
    """One import of one folder."""

    tenant: Tenant | None
    root: Path
    origin: Origin
    options: Options
    progress: Progress
    candidates: list[_Candidate] = field(default_factory=list)
    unread: list[Imported] = field(default_factory=list)
    kept: int = 0

    def run(self) -> Iterator[Imported]:
        """The outcomes, in no order."""
        self._read()
        yield from self.unread
        pending = self.candidates
        for attempt in range(ATTEMPTS):
            rows = self._rows()
            older = self._is_older(rows)
            plan, used = self._plan(rows, pending, older)
            if attempt == 0:
                yield from self._missing(rows, used, older)
                self._store_unchanged(plan)
            yield from plan.reports
            pending = plan.again
            for write, outcome in self._write(plan.writes):
                if isinstance(outcome, Imported):
                    yield outcome
                elif outcome == "skipped":
                    pending.append(write.candidate)
                else:
                    yield _report(write.candidate, write.outcome, write.reason)
            if not pending:
                return
        for candidate in pending:
            yield _report(candidate, "failed", "it was changed by others during the import: import again")

    # Reading

    def _read(self) -> None:
        found = list(finding.find(self.root))
        for number, each in enumerate(found):
            self.progress("reading", number, len(found))
            path = f"{self.origin.prefix}{'' if each.path == '.' else each.path}".rstrip("/")
            if isinstance(each, Unread):
                self._fail(path, _slug(path), each.reason)
                continue
            try:
                read = self._read_folder(each)
                slug = _slug(each.path) or _slug_of_name(read.file.name)
                warnings = list(read.warnings)
                if each.path and read.file.name != slug:
                    warnings.append(f"the name {read.file.name!r} differs from the folder's")
                if self.options.strict and warnings:
                    raise UnreadableError("; ".join(warnings))
                if not slug:
                    raise UnreadableError("its folder has no name, and its name has no letter or digit for a slug")
                if len(slug.encode()) > 255:
                    raise UnreadableError("the slug has more than 255 bytes")
            except UnreadableError as error:
                self._fail(path, _slug(path), str(error))
                continue
            self.kept += _size(read)
            self.candidates.append(
                _Candidate(
                    folder=each,
                    path=path,
                    base=slug,
                    slug=slug,
                    content_hash=read.content_hash,
                    warnings=warnings,
                    read=read if self.kept <= KEPT_CHARACTERS else None,
                )
            )
        self.progress("reading", len(found), len(found))

    def _fail(self, path: str, slug: str, reason: str) -> None:
        self.unread.append(Imported(path=path, slug=slug, outcome="failed", reason=reason))

    def _content(self, candidate: _Candidate) -> ReadSkill:
        """What the candidate holds, read again if it was not kept."""
        return candidate.read or self._read_folder(candidate.folder)

    def _read_folder(self, folder: SkillFolder) -> ReadSkill:
        read = finding.read(self.root, folder, for_git=self.origin.commit is not None)
        return replace(read, file=replace(read.file, text=read.file.text[: read.file.text.find("\n---")]))

    # What the database knows

    def _rows(self) -> list[ImportedSkill]:
        """The skills of the source."""
        found: list[ImportedSkill] = []
        after: str | None = None
        while self.tenant is not None:
            statement = imports.list_imported_skills(self.origin.name, limit=PAGE, after=after)
            page = self.tenant.execute(statement)
            found += page.items
            after = page.after
            if after is None:
                break
        return found

    def _owners(self, slugs: Iterable[str]) -> dict[str, SlugOwner]:
        wanted = sorted(set(slugs))
        found: dict[str, SlugOwner] = {}
        for start in range(0, len(wanted) if self.tenant else 0, PAGE):
            assert self.tenant is not None
            owners = self.tenant.execute(imports.find_slug_owners(wanted[start : start + PAGE]))
            found |= {owner.slug: owner for owner in owners}
        return found

    def _is_older(self, rows: Sequence[ImportedSkill]) -> bool:
        """Whether the checkout is older than what was imported from the source."""
        dated = [(row.committed_at, row.commit_hash) for row in rows if row.committed_at and row.commit_hash]
        at, hash = max(dated, default=(None, None))
        return self.origin.is_older_than(hash, at)

    # Deciding

    def _plan(
        self, rows: Sequence[ImportedSkill], pending: Sequence[_Candidate], older: bool
    ) -> tuple[_Plan, set[str]]:
        """What to do with each candidate, and the ids of the skills that candidates are."""
        plan = _Plan()
        by_path = {row.path: row for row in rows}
        for candidate in pending:
            candidate.slug = candidate.base
        matched = [(each, by_path[each.path]) for each in pending if each.path in by_path]
        others = [each for each in pending if each.path not in by_path]
        # The slugs that skills of the folder have, or would have: what is ambiguous now is so in the next import.
        known = {each.base: each.path for each in self.candidates if each.path in by_path}
        known |= {by_path[each.path].slug: each.path for each in self.candidates if each.path in by_path}
        others = self._without_collisions(others, known, plan)
        moved, others = _moved(others, self._vanished(rows))
        matched += moved
        used = {row.skill_id for _, row in matched}
        self._plan_new(others, plan, used, {row.skill_id: row for row in rows})
        self._plan_known(matched, plan, older)
        return plan, used

    def _without_collisions(
        self, candidates: Sequence[_Candidate], known: dict[str, str], plan: _Plan
    ) -> list[_Candidate]:
        """The candidates whose slug no other skill of the folder has; with `namespace` under another slug."""
        groups: dict[str, list[_Candidate]] = defaultdict(list)
        for candidate in candidates:
            groups[candidate.slug].append(candidate)
        kept: list[_Candidate] = []
        for slug, group in groups.items():
            others = [known[slug]] if slug in known else []
            if len(group) + len(others) == 1:
                kept += group
            elif self.options.on_conflict == "namespace":
                for candidate in group:
                    candidate.slug = self._namespaced(candidate)
                kept += group
            elif self.options.on_conflict == "replace" and not others:
                *refused, last = sorted(group, key=lambda each: each.path)
                kept.append(last)
                for candidate in refused:
                    plan.refuse(candidate, "collision", f"{_named(last.path)} has the same slug and comes later")
            else:
                paths = sorted([*(each.path for each in group), *others])
                for candidate in group:
                    rest = [_named(path) for path in paths if path != candidate.path]
                    plan.refuse(candidate, "collision", f"{_joined(rest)} has the same slug {slug!r}")
        twice = Counter(candidate.slug for candidate in kept)
        for candidate in [each for each in kept if twice[each.slug] > 1]:
            plan.refuse(candidate, "collision", f"another skill would have the slug {candidate.slug!r} as well")
        return [each for each in kept if twice[each.slug] == 1]

    def _namespaced(self, candidate: _Candidate) -> str:
        """A slug with the path in it, or with the name of the source if the path is only a folder."""
        parts = candidate.path.split("/")
        if len(parts) < 2:
            parts = [_slug_of_name(self.origin.name.rstrip("/").rpartition("/")[2]), candidate.slug]
        return "-".join(part.lstrip(".") for part in parts)

    def _plan_new(
        self, candidates: Sequence[_Candidate], plan: _Plan, used: set[str], rows: dict[str, ImportedSkill]
    ) -> None:
        """Candidates that the source has not had: new skills, unless their slug is taken."""
        owners = self._owners(each.slug for each in candidates)
        if self.options.on_conflict == "namespace" and not self.options.adopt:
            for candidate in candidates:
                if candidate.slug in owners:
                    candidate.slug = self._namespaced(candidate)
            owners = self._owners(each.slug for each in candidates) if owners else owners
        for candidate in candidates:
            owner = owners.get(candidate.slug)
            if owner is None:
                self._add(plan, candidate, None, "new", id=str(uuid.uuid4()))
            elif owner.source == self.origin.name and owner.skill_id not in rows:
                plan.again.append(candidate)  # Another import created it since the rows were read.
            elif owner.source == self.origin.name:
                reason = f"{_named(owner.path or '')} of this source has the same slug {owner.slug!r}"
                plan.refuse(candidate, "collision", reason)
            elif self.options.adopt:
                used.add(owner.skill_id)
                reason = f"taken over from {shown(owner.source)}" if owner.source else "taken over"
                self._add(
                    plan,
                    candidate,
                    None,
                    "new version",
                    id=owner.skill_id,
                    expected=owner.published_version_id,
                    adopted=True,
                    reason=reason,
                )
            else:
                whose = f"comes from {shown(owner.source)}" if owner.source else "was not imported"
                reason = f"the skill with the slug {owner.slug!r} {whose}: pass --adopt to take it over"
                plan.refuse(candidate, "collision", reason)

    def _plan_known(self, matched: Sequence[tuple[_Candidate, ImportedSkill]], plan: _Plan, older: bool) -> None:
        """Candidates that the source has had."""
        changed: list[tuple[_Candidate, ImportedSkill, Outcome, str | None]] = []
        for candidate, row in matched:
            candidate.slug = row.slug
            outcome: Outcome | None = None
            reason = slug = None
            if candidate.path != row.path:
                outcome, reason = "renamed", f"was {_named(row.path)}"
                if row.slug == _slug(row.path) != candidate.base:
                    slug = candidate.base
            if candidate.content_hash != row.content_hash:
                outcome = outcome or "new version"
            elif self._columns_differ(candidate, row):
                outcome = outcome or "edited"
            if outcome is None:
                plan.reports.append(_report(candidate, "unchanged"))
            elif older and not self.options.allow_older:
                reason = f"commit {(row.commit_hash or '')[:12]} was imported before, and is newer"
                plan.refuse(candidate, "older", f"{reason}: pass --allow-older to go back")
            else:
                changed.append((candidate, row, outcome, reason))
                if slug is not None:
                    candidate.slug = slug
        undone = self._undone([each[:2] for each in changed])
        for candidate, row, outcome, reason in changed:
            if candidate.path in undone:
                number = undone[candidate.path]
                said = f"it is the content of version {number}: pass --allow-older to go back"
                plan.refuse(candidate, "older", said)
            else:
                self._add(
                    plan,
                    candidate,
                    row,
                    outcome,
                    id=row.skill_id,
                    expected=row.published_version_id,
                    slug=candidate.slug if candidate.slug != row.slug else None,
                    reason=reason,
                )

    def _undone(self, changed: Sequence[tuple[_Candidate, ImportedSkill]]) -> dict[str, int]:
        """Of a source without commits, the candidates whose content is that of an earlier version, and its number."""
        asked = [
            (candidate, row)
            for candidate, row in changed
            if candidate.content_hash != row.content_hash and (self.origin.commit is None or row.commit_hash is None)
        ]
        found: dict[tuple[str, str], int] = {}
        for start in range(0, 0 if self.options.allow_older else len(asked), PAGE):
            assert self.tenant is not None
            part = asked[start : start + PAGE]
            statement = imports.find_earlier_versions(
                [row.skill_id for _, row in part], [candidate.content_hash for candidate, _ in part]
            )
            found |= {(each.skill_id, each.content_hash): each.version for each in self.tenant.execute(statement)}
        return {
            candidate.path: found[row.skill_id, candidate.content_hash]
            for candidate, row in asked
            if (row.skill_id, candidate.content_hash) in found
        }

    def _columns_differ(self, candidate: _Candidate, row: ImportedSkill) -> bool:
        """Whether the source, or an option, gives a column another value than the last import wrote."""
        columns = self._columns(self._content(candidate), row, adopted=False)
        return any(row.imported.get(name) != value for name, value in columns.items() if value is not None)

    def _columns(self, read: ReadSkill, row: ImportedSkill | None, *, adopted: bool) -> dict[str, Any]:
        """The columns that the source gives. None changes nothing."""
        known = row is not None or adopted
        before = row.imported if row else {}
        category = self.options.category or read.file.category or (None if known else CATEGORY)
        tags = read.file.tags or ([] if before.get("tags") or not known else None)
        return {
            "name": read.file.name,
            "description": read.file.description,
            "category": category,
            "tags": tags,
            "status": "published" if before.get("status") == "archived" else None,
        }

    def _add(
        self,
        plan: _Plan,
        candidate: _Candidate,
        row: ImportedSkill | None,
        outcome: Outcome,
        *,
        id: str,
        expected: str | None = None,
        adopted: bool = False,
        slug: str | None = None,
        reason: str | None = None,
    ) -> None:
        try:
            read = self._content(candidate)
        except UnreadableError as error:
            plan.refuse(candidate, "failed", str(error))
            return
        commit = self.origin.commit
        item = SkillImport(
            id=id,
            version_id=str(uuid.uuid4()),
            slug=candidate.slug,
            path=candidate.path,
            content_url=self.origin.content_url(candidate.path, candidate.folder.file_name, read),
            content_hash=read.content_hash,
            metadata=read.file.metadata,
            author_id=self.options.author_id,
            expected_version_id=expected,
            commit_hash=commit.hash if commit else None,
            committed_at=commit.at if commit else None,
            **self._columns(read, row, adopted=adopted),
        )
        plan.writes.append(_Write(candidate=candidate, item=item, outcome=outcome, slug=slug, reason=reason))

    # What vanished

    def _vanished(self, rows: Sequence[ImportedSkill]) -> list[ImportedSkill]:
        """The skills whose folder was looked for, and is gone. What is in a folder that cannot be read is not gone."""
        present = {candidate.path for candidate in self.candidates}
        unread = {each.path for each in self.unread}
        return [
            row
            for row in rows
            if row.path not in present
            and f"{row.path}/".startswith(self.origin.prefix)
            and not unread.intersection(["", ".", row.path, *map(str, PurePosixPath(row.path).parents)])
        ]

    def _missing(self, rows: Sequence[ImportedSkill], used: set[str], older: bool) -> Iterator[Imported]:
        """The skills of the source whose folder is gone, archived if that is wanted."""
        gone = [
            row for row in self._vanished(rows) if row.skill_id not in used and row.imported.get("status") != "archived"
        ]
        if older and not self.options.allow_older:
            gone = []
        wanted = self.options.archive_missing
        if wanted and len(gone) > self.options.archive_limit and not self.options.confirm(len(gone)):
            wanted = False
        reason = "its folder is gone from the source"
        if self.options.archive_missing and not wanted:
            reason += f", as those of {len(gone) - 1} others: pass --archive-limit {len(gone)} to archive them"
        for row in gone if not wanted else []:
            yield Imported(path=row.path, slug=row.slug, outcome="missing", reason=reason)
        commit = self.origin.commit
        items = [
            SkillImport(
                id=row.skill_id,
                version_id=str(uuid.uuid4()),
                slug=row.slug,
                path=row.path,
                name=row.imported["name"],
                description=row.imported["description"],
                category=None,
                content_url="",
                content_hash=row.content_hash,
                status="archived",
                expected_version_id=row.published_version_id,
                commit_hash=commit.hash if commit else row.commit_hash,
                committed_at=commit.at if commit else row.committed_at,
            )
            for row in (gone if wanted else [])
        ]
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            outcomes = ["written"] * len(part)
            if not self.options.dry_run:
                outcomes = [each.outcome for each in self._execute(imports.import_skills(self.origin.name, part))]
            for item, outcome in zip(part, outcomes, strict=True):
                done = outcome != "skipped"
                said = reason if done else "it was changed by others during the import: import again"
                yield Imported(path=item.path, slug=item.slug, outcome="archived" if done else "failed", reason=said)

    # Writing

    def _write(self, writes: Sequence[_Write]) -> Iterator[tuple[_Write, str | Imported]]:
        """Each write, and its outcome or the report of its failure."""
        # Also in the order of ids within a batch: import_skills sorts them itself, but renames come one by one.
        ordered = sorted(writes, key=lambda write: (write.slug is None, write.item.id))
        batch: list[_Write] = []
        contents: list[list[NewContent]] = []
        size = 0
        for number, write in enumerate(ordered):
            self.progress("writing", number - len(batch), len(ordered))
            held = []
            if self.options.store:
                try:
                    held = self._contents(write.candidate, write.item.content_hash)
                except UnreadableError as error:
                    yield write, _report(write.candidate, "failed", str(error))
                    continue
            batch.append(write)
            contents.append(held)
            size += sum(len(content.body) for content in held)
            if len(batch) == BATCH or size >= BATCH_BYTES:
                yield from self._write_batch(batch, contents)
                batch, contents, size = [], [], 0
        if batch:
            yield from self._write_batch(batch, contents)
        self.progress("writing", len(ordered), len(ordered))

    def _contents(self, candidate: _Candidate, content_hash: str) -> list[NewContent]:
        """The files of the candidate and its manifest. UnreadableError: they are no longer those of the hash."""
        kept = Content()
        read = finding.read(self.root, candidate.folder, kept)
        if read.content_hash != content_hash:
            raise UnreadableError("it was changed during the import: import again")
        return [NewContent.of(read.manifest.encode()), *(NewContent.of(content) for content in kept.files.values())]

    def _store_unchanged(self, plan: _Plan) -> None:
        """Store what is unchanged, but was imported without its content."""
        if not self.options.store or self.options.dry_run or self.tenant is None:
            return
        paths = {each.path for each in plan.reports if each.outcome == "unchanged"}
        known = {each.content_hash: each for each in self.candidates if each.path in paths}
        hashes = list(known)
        for start in range(0, len(hashes), PAGE):
            contents: list[NewContent] = []
            size = 0
            for hash in self.tenant.execute(imports.find_missing_contents(hashes[start : start + PAGE])):
                try:
                    held = self._contents(known[hash], hash)
                except UnreadableError:  # The next import tells.
                    continue
                contents += held
                size += sum(len(content.body) for content in held)
                if size >= BATCH_BYTES:
                    self._execute(imports.store_contents(contents))
                    contents, size = [], 0
            if contents:
                self._execute(imports.store_contents(contents))

    def _write_batch(
        self, batch: Sequence[_Write], contents: Sequence[Sequence[NewContent]]
    ) -> Iterator[tuple[_Write, str | Imported]]:
        """Write the batch whole. If the database refuses it, write each half, down to the skill that is refused."""
        if self.options.dry_run:
            yield from ((write, "written") for write in batch)
            return
        try:
            statement = imports.import_skills(self.origin.name, [write.item for write in batch])
            renames = [
                skills.update_skill(write.item.id, {"slug": write.slug}) for write in batch if write.slug is not None
            ]
            held = imports.store_contents([content for each in contents for content in each])
            outcomes = self._execute(*renames, held, statement)
        except DatabaseUnavailableError:
            raise
        except SkilldbError as error:
            if len(batch) == 1:
                reason = shown(" ".join(str(error).split()))[:200]
                yield batch[0], _report(batch[0].candidate, "failed", reason)
                return
            middle = len(batch) // 2
            yield from self._write_batch(batch[:middle], contents[:middle])
            yield from self._write_batch(batch[middle:], contents[middle:])
            return
        for write, each in zip(batch, outcomes, strict=True):
            yield write, each.outcome

    def _execute(self, *statements: Statement[Any]) -> Any:
        """The result of the last statement. A deadlock or a conflict is tried again."""
        assert self.tenant is not None
        for attempt in range(ATTEMPTS):
            try:
                found = self.tenant.execute(*statements)
                return found[-1] if len(statements) > 1 else found
            except (DeadlockError, SerializationError):
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")


def _size(read: ReadSkill) -> int:
    """About how many characters are kept of a skill: its front matter, manifest and ids of files."""
    return len(read.file.text) + 3 * len(read.manifest) + 500


def _moved(
    candidates: Sequence[_Candidate], vanished: Sequence[ImportedSkill]
) -> tuple[list[tuple[_Candidate, ImportedSkill]], list[_Candidate]]:
    """The candidates that are vanished skills in another folder, and the rest.

    Such a skill has the same slug, or its content is that of one vanished skill and of no other candidate.
    """
    by_slug = {row.slug: row for row in vanished}
    moved = [(each, by_slug[each.slug]) for each in candidates if each.slug in by_slug]
    used = {row.skill_id for _, row in moved}
    rest = [each for each in candidates if each.slug not in by_slug]
    hashes = Counter(row.content_hash for row in vanished if row.skill_id not in used)
    new = Counter(each.content_hash for each in rest)
    unique = {
        row.content_hash: row
        for row in vanished
        if row.skill_id not in used and hashes[row.content_hash] == 1 == new[row.content_hash]
    }
    moved += [(each, unique[each.content_hash]) for each in rest if each.content_hash in unique]
    return moved, [each for each in rest if each.content_hash not in unique]


def _slug(path: str) -> str:
    """The name of the skill's folder; empty for the folder that is imported."""
    return unicodedata.normalize("NFC", path.rpartition("/")[2].strip())


def _slug_of_name(name: str) -> str:
    """The letters and digits of a name in small letters, with hyphens between them."""
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return unicodedata.normalize("NFC", "-".join(words))


def _named(path: str) -> str:
    return shown(path) or "the folder itself"


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
