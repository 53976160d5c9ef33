"""The commands of a developer's machine: the embedded server, example data, the demo, new migrations."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import Progress

import skilldb
from skilldb.admin import migrate
from skilldb.cli.shared import Schema, app, err, out, owner_dsn, service_dsn
from skilldb.dev import demo, embedded, scaffold
from skilldb.dev.seed import seed as write_seed

_Show = Callable[[str, int, int], object]


@app.command("db-start")
def db_start() -> None:
    """Start the embedded PostgreSQL, if it is not running, and print its addresses for the shell.

    `eval "$(skilldb db-start)"` sets both variables.
    """
    server = embedded.start()
    err.print(f"PostgreSQL runs in {embedded.FOLDER}/. Its addresses:", soft_wrap=True)
    print(f"export SKILLDB_OWNER_DSN={shlex.quote(server.owner_dsn)}")
    print(f"export SKILLDB_DSN={shlex.quote(server.service_dsn)}")


@app.command("db-stop")
def db_stop() -> None:
    """Stop the embedded PostgreSQL. Its data is kept."""
    out.print("Stopped." if embedded.stop() else "It was not running.")


@app.command("new-migration")
def new_migration(
    name: Annotated[str, typer.Argument(help="What it does, such as add_x_to_skills. Its number is added.")],
    table: Annotated[
        str | None,
        typer.Option(help="The table that it creates. Default: TABLE of a name like create_TABLE, else none."),
    ] = None,
) -> None:
    """Write the two files of a new migration into the checkout: the migration and its rollback, ready to be filled in.

    Both files have a header and a lock_timeout. For a new table they also have its skeleton and everything that
    isolates it. Name a migration create_... only if it creates a table; use add_..., for example, for an index.
    """
    for path in scaffold.new_migration(name, table):
        out.print(f"wrote {path}", markup=False, soft_wrap=True)
    out.print(
        "Next: fill in both files, then run `make lint`, `make migrate`, `make rollback` and `make schema`.",
        soft_wrap=True,
    )


@app.command()
def seed(schema: Schema = None) -> None:
    """Write the example data: two organisations with users, skills, ratings, events and views. Writes it only once."""
    with skilldb.connect(service_dsn(), schema=schema) as db:
        _seed(db)


@app.command("demo")
def demo_(schema: Schema = None) -> None:
    """Start, migrate and seed a database, then show top skills, what's new, and that organisations are isolated."""
    for done in migrate.migrate(owner_dsn(), schema=schema):
        out.print(f"applied {done.id}")
    with skilldb.connect(service_dsn(), schema=schema, application_name="skilldb demo") as db:
        _seed(db)
        demo.show(db, out)


def _seed(db: skilldb.Database) -> None:
    added = 0
    with _progress() as show:
        for step in write_seed(db):
            added += step.added
            show(f"{step.organisation}: {step.kind}", step.done, step.total)
    out.print(f"Seeded: {added} rows added." if added else "Nothing to seed: the example data is there already.")


@contextmanager
def _progress() -> Iterator[_Show]:
    """A function (what, done, total) that shows progress: a bar on a terminal, else one line per kind of row."""
    if not out.is_terminal:
        yield lambda what, done, total: out.print(f"{what}: {done}") if total and done >= total else None
        return
    with Progress(console=out, transient=True) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=max(total, 1) if done < total else max(done, 1))

        yield show
