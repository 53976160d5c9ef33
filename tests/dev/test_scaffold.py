"""Tests new migrations: the pair of files passes all checks as written, and bad names are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from skilldb import cli, queries
from skilldb.admin import migrate
from skilldb.admin.isolation import Check
from skilldb.dev.scaffold import new_migration
from skilldb.errors import AlreadyExistsError, InvalidValueError, SkilldbError
from tests.support import isolation
from tests.support.schema import LAST, dump
from tests.support.server import CHECKOUT, Addresses

NEXT = f"{LAST + 1:04}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["new-migration", *arguments])


def lint(*paths: Path) -> None:
    """Fails if `make lint` would."""
    tools = Path(sys.executable).parent
    for command in (["sqlfluff", "lint", "--config", "pyproject.toml"], ["squawk", "--config", ".squawk.toml"]):
        done = subprocess.run(
            [tools / command[0], *command[1:], *paths],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "arguments", [("create_skill_tags", None), ("add_tags", "skill_tags")], ids=["by its name", "by --table"]
)
def test_a_pair_for_a_table_works_as_written(
    addresses: Addresses, files: Path, arguments: tuple[str, str | None]
) -> None:
    before = dump(addresses.admin)
    paths = new_migration(*arguments)
    assert paths == [files / f"{NEXT}_{arguments[0]}.sql", files / f"{NEXT}_{arguments[0]}.rollback.sql"]
    lint(*paths)
    for _ in range(2):
        assert [done.id for done in migrate.migrate(addresses.owner)] == [paths[0].stem]
        with psycopg.connect(addresses.service, prepare_threshold=None) as conn:
            assert "skill_tags" in [table.name for table in isolation.tables(conn)]
            found = {check.__name__: check(conn) for check in isolation.STRUCTURE}
            assert found == {name: [] for name in found}
        assert [done.id for done in migrate.rollback(addresses.owner)] == [paths[0].stem]
        assert dump(addresses.admin) == before


@pytest.mark.parametrize("check", isolation.BEHAVIOUR, ids=lambda check: check.__name__)
def test_a_table_as_written_is_closed_to_others(addresses: Addresses, files: Path, check: Check) -> None:
    new_migration("create_skill_tags")
    assert len(list(migrate.migrate(addresses.owner))) == 1
    with psycopg.connect(addresses.admin) as conn:
        isolation.seed(conn)
    with psycopg.connect(addresses.service, prepare_threshold=None) as conn:
        assert check(conn) == []


def test_a_pair_without_a_table_does_nothing_yet(addresses: Addresses, files: Path) -> None:
    before = dump(addresses.admin)
    paths = new_migration("add_x_to_skills")
    lint(*paths)
    assert [done.id for done in migrate.migrate(addresses.owner)] == [f"{NEXT}_add_x_to_skills"]
    assert dump(addresses.admin) == before
    assert [done.id for done in migrate.rollback(addresses.owner)] == [f"{NEXT}_add_x_to_skills"]
    for path in paths:
        assert "-- Locks: " in path.read_text()


@pytest.mark.parametrize(
    ("name", "table", "error", "message"),
    [
        ("Add-x", None, InvalidValueError, "'Add-x' is not a name"),
        ("../x", None, InvalidValueError, "is not a name"),
        ("0015_add_x", None, InvalidValueError, "number is added"),
        ("add_x.sql", None, InvalidValueError, "is not a name"),
        ("add_x\n", None, InvalidValueError, "is not a name"),
        ("", None, InvalidValueError, "is not a name"),
        ("create_", None, InvalidValueError, "is not a name"),
        ("x" * 54, None, InvalidValueError, "at most 53 letters"),
        ("add_x", "a; DROP TABLE skills", InvalidValueError, "is not a name"),
        ("create_users", None, AlreadyExistsError, "a migration of that name: 0004_create_users"),
        ("add_x_to_skills", "skills", AlreadyExistsError, "0005_create_skills creates skills: .* needs no --table"),
        ("create_benchmark_runs", None, AlreadyExistsError, "0011_create_benchmark_tables creates benchmark_runs"),
    ],
)
def test_a_name_that_will_not_do_is_refused_and_nothing_written(
    files: Path, name: str, table: str | None, error: type[SkilldbError], message: str
) -> None:
    before = sorted(files.iterdir())
    with pytest.raises(error, match=message):
        new_migration(name, table)
    assert sorted(files.iterdir()) == before


def test_a_file_that_is_there_is_not_overwritten(files: Path) -> None:
    (files / f"{NEXT}_add_x.rollback.sql").write_text("DROP TABLE x;")
    with pytest.raises(AlreadyExistsError, match=r"rollback\.sql exists already"):
        new_migration("add_x")
    assert (files / f"{NEXT}_add_x.rollback.sql").read_text() == "DROP TABLE x;"


def test_a_pair_that_cannot_be_written_whole_is_not_written(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def full(path: Path, *args: str, **options: str) -> int:
        if path.name.endswith(".rollback.sql"):
            raise OSError(28, "No space left on device")
        return write(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SkilldbError, match=r"cannot be written: .*No space left"):
        new_migration("add_x")
    assert not list(files.glob("*add_x*"))


def test_the_command_says_what_it_wrote_and_what_comes_next(files: Path) -> None:
    said = run("create_skill_tags")
    assert said.exit_code == 0, said.output
    assert said.output.splitlines()[:2] == [
        f"wrote {files / f'{NEXT}_create_skill_tags.sql'}",
        f"wrote {files / f'{NEXT}_create_skill_tags.rollback.sql'}",
    ]
    assert "`make migrate`" in said.output
    assert queries.folder("migrations") == files
    assert "CREATE TABLE IF NOT EXISTS skill_tags (" in (files / f"{NEXT}_create_skill_tags.sql").read_text()
