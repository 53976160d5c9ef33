"""The parts that commands share: the application, the terminal, the addresses, and common options."""

from __future__ import annotations

import os
from typing import Annotated

try:
    import typer
    import yoyo  # noqa: F401  It belongs to the same extra; without it `migrate` would fail late.
    from rich.console import Console
except ImportError:
    raise SystemExit("the command line is not installed: pip install 'skilldb[cli]'") from None

from skilldb import settings
from skilldb.dev import embedded
from skilldb.errors import InvalidValueError, SkilldbError

Schema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="NAME",
        show_default="SKILLDB_SCHEMA, or public",
        help="The schema of skilldb's tables. A search_path has no effect.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For machines: a list of objects.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The data layer of a skill catalogue. Uses the servers in SKILLDB_OWNER_DSN (migrations) and SKILLDB_DSN "
    "(everything else). If neither is set, it starts an embedded PostgreSQL in .skilldb/ when needed.",
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def owner_dsn() -> str:
    """The address of the owner."""
    return _dsn("SKILLDB_OWNER_DSN", "SKILLDB_DSN") or embedded.start().owner_dsn


def service_dsn() -> str:
    """The address of the service."""
    return _dsn("SKILLDB_DSN", "SKILLDB_OWNER_DSN") or embedded.start().service_dsn


def _dsn(name: str, other: str) -> str | None:
    """The variable's value. If only the other one is set, using the embedded server would be a surprise: refuse."""
    found = os.environ.get(name)
    if not found and os.environ.get(other):
        raise SkilldbError(
            f"{other} is set and {name} is not. Set both variables to use your own server; "
            "leave both unset to use the embedded one"
        )
    if found:
        try:
            settings.parse(found)
        except InvalidValueError as error:
            raise InvalidValueError(f"{name}: {error}") from None
    return found
