"""The commands that import and export skills."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

import skilldb
from skilldb.cli.shared import Json, Schema, app, err, out, service_dsn
from skilldb.errors import InvalidValueError, NotFoundError, SkilldbError
from skilldb.importer import archives, exporting, folders, past, sources
from skilldb.importer.finding import shown
from skilldb.importer.folders import FAULTS, OUTCOMES, Imported, Options
from skilldb.importer.sources import Origin
from skilldb.repositories import tenants, users

IMPORT_TENANT = "imported"
ALWAYS = OUTCOMES[:4]
"""The outcomes whose numbers are always shown."""


@app.command("import")
def import_(
    folder: Annotated[
        Path, typer.Argument(exists=True, metavar="DIR", help="A folder with skills to depth 6, or a .skill archive.")
    ],
    tenant: Annotated[
        str | None, typer.Option(help=f"The organisation's id. Default: {IMPORT_TENANT}, created if it is missing.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The source's name. Default: the repository's address, or the folder."),
    ] = None,
    on_conflict: Annotated[
        str, typer.Option(metavar="skip|namespace|replace", help="What to do with two skills of one slug.")
    ] = "skip",
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over skills of the same slug that this source did not create.")
    ] = False,
    allow_older: Annotated[
        bool, typer.Option("--allow-older", help="Go back where the folder is older than what was imported.")
    ] = False,
    category: Annotated[str | None, typer.Option(help="The category of all skills.")] = None,
    author: Annotated[
        str | None, typer.Option(metavar="USER", help="The id of the user whom new skills have as their author.")
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="Keep the content of the skills in the database.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Import each commit of the repository, oldest first.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what has a warning.")] = False,
    archive_missing: Annotated[
        bool, typer.Option("--archive-missing", help="Archive skills that vanished from the source.")
    ] = False,
    archive_limit: Annotated[int, typer.Option(min=0, help="Archive at most so many skills without a question.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    as_json: Json = False,
    schema: Schema = None,
) -> None:
    """Import the skills of a folder: each folder with a SKILL.md. docs/importing.md describes it.

    Exit status 1: a skill was not imported.
    """
    if on_conflict not in ("skip", "namespace", "replace"):
        raise InvalidValueError(f"--on-conflict is skip, namespace or replace, not {shown(on_conflict)}")
    options = Options(
        on_conflict=on_conflict,
        adopt=adopt,
        allow_older=allow_older,
        category=category,
        author_id=author,
        strict=strict,
        archive_missing=archive_missing,
        archive_limit=archive_limit,
        confirm=_confirm,
        dry_run=dry_run,
        store=store,
    )
    origin = sources.origin(folder, source) if folder.is_dir() else Origin(name=source or str(folder.resolve()))
    if len(origin.name.encode()) > 255:
        raise InvalidValueError("the source's name has more than 255 bytes. Give it a shorter one: --source NAME")
    if history and (origin.commit is None or dry_run):
        raise InvalidValueError("--history needs a git repository, and goes without --dry-run")
    with ExitStack() as stack:
        if not folder.is_dir():
            if not folder.is_file():  # Reading a FIFO would wait for a writer.
                raise InvalidValueError(f"{shown(str(folder))} is neither a folder nor an archive")
            into = Path(stack.enter_context(TemporaryDirectory(prefix="skilldb-")))
            archives.extract(folder, into)
            folder = into
        db = stack.enter_context(skilldb.connect(service_dsn(), schema=schema))
        show = stack.enter_context(_progress())
        handle = _tenant(db, tenant, dry_run)
        if author is not None and (handle is None or handle.execute(users.get_user(author)) is None):
            raise NotFoundError(
                f"user {shown(author)!r} does not exist in this organisation: --author takes a user's id"
            )
        if history and handle is not None:
            report = past.import_history(handle, origin, options, show)
        else:
            report = folders.import_folder(handle, folder, origin, options, show)
    if not report:
        raise SkilldbError(
            f"there is no SKILL.md in {folder}, nor six folders below it. Name a folder that contains the skills."
        )
    _print(report, as_json)
    if any(item.outcome in FAULTS for item in report):
        raise typer.Exit(1)


@app.command("export")
def export_(
    folder: Annotated[Path, typer.Argument(file_okay=False, metavar="DIR", help="An empty or new folder.")],
    tenant: Annotated[str, typer.Option(help="The organisation's id.")] = IMPORT_TENANT,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the skills of this source, each to its path there.")
    ] = None,
    schema: Schema = None,
) -> None:
    """Write the published version of each skill into a folder, if its content is stored (`import --store`).

    Import the folder with the same --source, and all skills are unchanged. Exit status 1: a skill was not written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise SkilldbError(f"{folder} is not empty. Name a new folder, so that nothing is overwritten.")
    with skilldb.connect(service_dsn(), schema=schema) as db:
        handle = db.tenant(tenant)
        if handle.execute(tenants.get_tenant()) is None:
            raise NotFoundError(f"tenant {tenant!r} does not exist")
        done = list(exporting.export(handle, folder, source))
    failed = [each for each in done if each.reason is not None]
    for each in failed:
        out.print(f"{shown(each.path or each.slug)}: {shown(each.reason or '')}", markup=False, soft_wrap=True)
    out.print(f"{len(done) - len(failed)} skills written, {len(failed)} not.")
    if failed:
        raise typer.Exit(1)


def _tenant(db: skilldb.Database, tenant: str | None, dry_run: bool) -> skilldb.Tenant | None:
    """The organisation's handle; None if it would be created, and this is a dry run."""
    handle = db.tenant(IMPORT_TENANT if tenant is None else tenant)
    if handle.execute(tenants.get_tenant()) is None:
        if tenant is not None:
            raise NotFoundError(
                f"tenant {tenant!r} does not exist. Create it with skilldb.repositories.tenants.create_tenant(), "
                f"or leave out --tenant to import into {IMPORT_TENANT!r}."
            )
        if dry_run:
            return None
        handle.execute(tenants.create_tenant("Imported", IMPORT_TENANT))
    return handle


def _confirm(number: int) -> bool:
    """Ask on a terminal. Elsewhere nobody can answer."""
    return sys.stdin.isatty() and typer.confirm(f"Archive {number} skills that vanished from the source?", err=True)


def _print(report: list[Imported], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(item) for item in report], indent=2))
        return
    for item in report:
        name = shown(item.path or item.slug)
        if item.outcome not in ("new", "new version", "unchanged", "edited"):
            label = "" if item.outcome == "failed" else f"{item.outcome}: "
            out.print(f"{name}: {label}{shown(item.reason or '')}", markup=False, soft_wrap=True)
        elif item.reason:
            out.print(f"{name}: {shown(item.reason)}", markup=False, soft_wrap=True)
        for warning in item.warnings:
            out.print(f"{name}: warning: {shown(warning)}", markup=False, soft_wrap=True)
    counts = Counter(item.outcome for item in report)
    columns = [outcome for outcome in OUTCOMES if outcome in ALWAYS or counts[outcome]]
    table = Table(*columns)
    table.add_row(*(str(counts[outcome]) for outcome in columns))
    out.print(table)


@contextmanager
def _progress() -> Iterator[folders.Progress]:
    """A function that shows a bar on a terminal, and nothing elsewhere."""
    if not err.is_terminal:
        yield lambda what, done, total: None
        return
    with Progress(console=err, transient=True) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=max(total, 1))

        yield show
