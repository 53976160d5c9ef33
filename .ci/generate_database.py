"""Writes skilldb/database.py, the blocking API, from skilldb/aio.py, the async one. `--check` only compares."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE, TARGET = ROOT / "skilldb/aio.py", ROOT / "skilldb/database.py"
COMMAND = "python .ci/generate_database.py"

# Pattern -> replacement, in this order.
CHANGES = {
    r'\A""".*?"""': '"""Database, Tenant, Transaction: run statements, blocking."""\n\n'
    f"# Generated from aio.py by `{COMMAND}`. Do not edit.",
    r"\basync (?=def |with |for )": "",
    r"\bawait ": "",
    r"\b__a(enter|exit)__\b": r"__\1__",
    r"\basynccontextmanager\b": "contextmanager",
    r"\bAsync(?=[A-Z])": "",
    r"\bconnect_async\b": "connect",
    r"\baio_hooks\b": "database_hooks",
    r"\btask(s?)\b": r"thread\1",
}


def generated() -> str:
    """The text of database.py, formatted as the project's code is."""
    text = SOURCE.read_text(encoding="utf-8")
    for pattern, replacement in CHANGES.items():
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    for arguments in (["check", "--fix", "--quiet", "--select", "I"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(TARGET), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return text


def main() -> None:
    """Write the file, or with --check fail where it is stale."""
    text = generated()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"skilldb/database.py is not what skilldb/aio.py gives. Run: {COMMAND}")


if __name__ == "__main__":
    main()
