"""The command `skilldb`."""

from __future__ import annotations

import io
import sys

from skilldb.cli.shared import app, err  # First, because it says what to install.

# isort: split

from skilldb.admin import doctor
from skilldb.cli import admin, dev, rollups, skills
from skilldb.errors import DatabaseUnavailableError, SkilldbError

__all__ = ["admin", "app", "dev", "main", "rollups", "skills"]


def main() -> None:
    """Run the command line. An error of skilldb prints one line (two if no server is reached) and exits with 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # The terminal may not know every letter.
    try:
        app()
    except SkilldbError as error:
        err.print(f"error: {error}", markup=False, soft_wrap=True)
        # A server's own error, such as a timeout, has an SQLSTATE: the server was reached then.
        if isinstance(error, DatabaseUnavailableError) and getattr(error.__cause__, "sqlstate", None) is None:
            err.print(doctor.UNREACHABLE, markup=False, soft_wrap=True)
        raise SystemExit(1) from None
