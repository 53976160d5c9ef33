"""Tests the wheel that a service installs, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from skilldb import queries
from skilldb.admin import migrate
from tests.support.server import CHECKOUT, Addresses, direct_only

SERVICE = """
import sys
import skilldb
from skilldb.repositories import tenants

assert "site-packages" in skilldb.__file__, skilldb.__file__
with skilldb.connect(sys.argv[1]) as db:
    print(db.tenant("acme").execute(tenants.create_tenant("Acme", "acme")).name)
try:
    from skilldb.admin import migrate
except ImportError as error:
    print(error)
"""
OWNER = """
import sys
import skilldb
from skilldb.admin import migrate
from skilldb.dev import scaffold

list(migrate.rollback(sys.argv[1], None))
print(len(list(migrate.migrate(sys.argv[1]))))
try:
    scaffold.new_migration("add_x")
except skilldb.SkilldbError as error:
    print(error)
"""


@direct_only
def test_a_wheel_installed_alone_serves_and_with_its_extra_migrates(tmp_path: Path, addresses: Addresses) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: str | Path, status: int = 0) -> str:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=240, env=environment
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", CHECKOUT)
    (wheel,) = tmp_path.glob("skilldb-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for name in ("sql", "migrations"):
        root = queries.folder(name)
        for file in root.rglob("*.*"):
            assert f"skilldb/{name}/{file.relative_to(root).as_posix()}" in names
    assert "skilldb/py.typed" in names
    assert not [name for name in names if not name.startswith("skilldb")]

    venv.create(tmp_path / "alone")
    python = tmp_path / "alone" / "bin" / "python"
    # Our own pip installs there: a second one would take longer than all the rest.
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", wheel)
    installed = {line.partition("==")[0].lower() for line in run(*pip, "list", "--format=freeze").splitlines()}
    # psycopg needs typing-extensions on some versions of Python.
    assert installed - {"typing-extensions", "typing_extensions"} == {
        "skilldb",
        "psycopg",
        "psycopg-binary",
        "psycopg-pool",
    }
    assert run(python, "-c", SERVICE, addresses.service).splitlines() == [
        "Acme",
        "skilldb.admin.migrate needs yoyo-migrations: pip install 'skilldb[cli]'",
    ]
    said = run(python, "-m", "skilldb.cli", "status", status=1)
    assert said == "the command line is not installed: pip install 'skilldb[cli]'\n"

    run(*pip, "install", "--quiet", f"{wheel}[cli]")
    assert run(python, "-c", OWNER, addresses.owner).splitlines() == [
        str(len(migrate.read())),
        "skilldb is installed without its checkout: new migrations are written in a clone of it",
    ]
    environment.update(SKILLDB_OWNER_DSN=addresses.owner, SKILLDB_DSN=addresses.service)
    assert "applied" in run(python, "-m", "skilldb.cli", "status")
