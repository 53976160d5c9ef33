"""The command `skilldb`."""

from __future__ import annotations

import io
import sys

from rich.console import Console

from skilldb.admin import doctor
from skilldb.cli import admin, dev, skills
from skilldb.cli.shared import app
from skilldb.errors import DatabaseUnavailableError, SkilldbError

__all__ = ["admin", "app", "dev", "main", "skills"]


def main() -> None:
    """Run the command line. An error of ours is one line and exit status 1, and how to reach a server another line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for a terminal that does not know every letter
    try:
        app()
    except SkilldbError as error:
        said = Console(stderr=True, highlight=False)
        said.print(f"error: {error}", markup=False, soft_wrap=True)
        # What a server says of itself, a timeout for one, has an SQLSTATE: then it was reached.
        if isinstance(error, DatabaseUnavailableError) and getattr(error.__cause__, "sqlstate", None) is None:
            said.print(doctor.UNREACHABLE, markup=False, soft_wrap=True)
        raise SystemExit(1) from None
