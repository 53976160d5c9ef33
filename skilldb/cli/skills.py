"""The command that imports skills."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import skilldb
from skilldb.cli.shared import Schema, app, out, service_dsn
from skilldb.errors import NotFoundError, SkilldbError
from skilldb.importer.folders import OUTCOMES, import_skills
from skilldb.repositories import tenants

IMPORT_TENANT = "imported"


@app.command("import")
def import_(
    folder: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="A folder with skills at any depth to 6."),
    ],
    tenant: Annotated[
        str | None, typer.Option(help=f"The organisation's id. Default: {IMPORT_TENANT}, created if it is missing.")
    ] = None,
    schema: Schema = None,
) -> None:
    """Import the SKILL.md files of a folder as skills and versions. Exit status 1: one failed."""
    with skilldb.connect(service_dsn(), schema=schema) as db:
        handle = db.tenant(IMPORT_TENANT if tenant is None else tenant)
        if handle.execute(tenants.get_tenant()) is None:
            if tenant is not None:
                raise NotFoundError(
                    f"tenant {tenant!r} does not exist. Create it with skilldb.repositories.tenants.create_tenant(), "
                    f"or leave out --tenant to import into {IMPORT_TENANT!r}."
                )
            handle.execute(tenants.create_tenant("Imported", IMPORT_TENANT))
        report = import_skills(handle, folder)
    if not report:
        raise SkilldbError(
            f"there is no SKILL.md in {folder}, nor six folders below it. Name a folder that contains the skills."
        )
    for item in report:
        if item.reason is not None:
            out.print(f"{item.slug}: {item.reason}", markup=False, soft_wrap=True)
    counts = Counter(item.outcome for item in report)
    table = Table(*OUTCOMES)
    table.add_row(*(str(counts[outcome]) for outcome in OUTCOMES))
    out.print(table)
    if counts["failed"]:
        raise typer.Exit(1)
