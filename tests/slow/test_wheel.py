"""Tests the wheel that a service installs, without the checkout."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from skilldb import queries
from skilldb.admin import migrate
from tests.support.server import CHECKOUT, Addresses, direct_only

SCRIPT = """
import sys
import skilldb
from skilldb.admin import migrate
from skilldb.dev import scaffold
from skilldb.repositories import tenants

assert "site-packages" in skilldb.__file__, skilldb.__file__
owner, service = sys.argv[1:]
list(migrate.rollback(owner, None))
print(len(list(migrate.migrate(owner))))
with skilldb.connect(service) as db:
    print(db.tenant("acme").execute(tenants.create_tenant("Acme", "acme")).name)
try:
    scaffold.new_migration("add_x")
except skilldb.SkilldbError as error:
    print(error)
"""


@direct_only
def test_a_wheel_installed_alone_migrates_and_runs_a_query(tmp_path: Path, addresses: Addresses) -> None:
    def run(*command: str | Path) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout

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

    venv.create(tmp_path / "alone", with_pip=True)
    python = tmp_path / "alone" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    answer = run(python, "-c", SCRIPT, addresses.owner, addresses.service)
    assert answer.splitlines() == [
        str(len(migrate.read())),
        "Acme",
        "skilldb is installed without its checkout: new migrations are written in a clone of it",
    ]
