"""What the commands share: the application, the terminal, the addresses, and options of several commands."""

from __future__ import annotations

import os
from typing import Annotated

try:
    import typer
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
        help="The schema that skilldb's tables are in. No search_path is asked.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For machines: a list of objects.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The data layer of a skill catalogue. Uses the servers that SKILLDB_OWNER_DSN (migrations) and SKILLDB_DSN "
    "(everything else) name; where neither is set, an embedded PostgreSQL in .skilldb/, started when needed.",
)
out = Console(highlight=False)


def owner_dsn() -> str:
    """The address to migrate with."""
    return _dsn("SKILLDB_OWNER_DSN", "SKILLDB_DSN") or embedded.start().owner_dsn


def service_dsn() -> str:
    """The address to work with."""
    return _dsn("SKILLDB_DSN", "SKILLDB_OWNER_DSN") or embedded.start().service_dsn


def _dsn(name: str, other: str) -> str | None:
    """The variable's value. Where only the other one is set, going to the embedded server would surprise."""
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
