"""The migrations as files, up and down, and yoyo's gaps that migrate.py closes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from skilldb import embedded, migrate, queries
from skilldb.migrate import MigrationError
from tests.conftest import Addresses, Admin, rows

LAST = len(migrate.read())


def dump(dsn: str) -> str:
    """The schema as pg_dump writes it, without yoyo's own tables and the dump's random tokens."""
    command = [str(embedded.program("pg_dump")), "--schema-only", "--exclude-table=*yoyo*", dsn]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.MULTILINE)


def states(dsn: str) -> set[str]:
    return {migration.state for migration in migrate.status(dsn)}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of migrations/ that a test may change, and that migrate.py reads."""
    copy = tmp_path / "migrations"
    shutil.copytree(queries.folder("migrations"), copy)
    original = queries.folder
    monkeypatch.setattr(queries, "folder", lambda name: copy if name == "migrations" else original(name))
    return copy


def test_up_down_to_nothing_and_up_again_gives_the_same_schema(addresses: Addresses) -> None:
    before = dump(addresses.admin)
    assert "CREATE TABLE public.ratings" in before
    down = [done.id for done in migrate.rollback(addresses.owner, None)]
    assert down == sorted(migrate.read(), reverse=True)
    assert states(addresses.owner) == {"pending"}
    left = rows(addresses.admin, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    assert all("yoyo" in name for (name,) in left)
    assert rows(addresses.admin, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []
    up = [done.id for done in migrate.migrate(addresses.owner)]
    assert up == sorted(migrate.read())
    assert dump(addresses.admin) == before


def test_each_step_down_ends_where_the_step_up_began(addresses: Addresses, files: Path) -> None:
    down = {}
    for id in sorted(migrate.read(), reverse=True):
        list(migrate.rollback(addresses.owner, 1))
        down[id] = dump(addresses.admin)
    whole = queries.folder("migrations")
    shutil.move(whole, whole.with_name("all"))
    whole.mkdir()
    for id in sorted(down):
        assert dump(addresses.admin) == down[id]
        for file in whole.with_name("all").glob(f"{id}.*"):
            shutil.copy(file, whole)
        assert [done.id for done in migrate.migrate(addresses.owner)] == [id]


def test_applying_twice_applies_nothing_the_second_time(addresses: Addresses) -> None:
    assert list(migrate.migrate(addresses.owner)) == []
    assert states(addresses.owner) == {"applied"}


def test_applying_what_is_there_already_changes_nothing(addresses: Addresses) -> None:
    """A crash between a migration and its mark makes yoyo apply it again."""
    schema = dump(addresses.admin)
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute("DELETE FROM _yoyo_migration")
    assert len(list(migrate.migrate(addresses.owner))) == len(migrate.read())
    assert dump(addresses.admin) == schema


def test_the_files_are_numbered_and_each_has_a_rollback_and_a_lock_timeout() -> None:
    for id in migrate.read():
        up = queries.folder("migrations") / f"{id}.sql"
        for file in (up, up.with_name(f"{id}.rollback.sql")):
            statements = [line for line in file.read_text().splitlines() if line and not line.startswith("--")]
            assert statements[0].startswith("SET LOCAL lock_timeout"), file.name
            assert "-- Locks: " in file.read_text(), file.name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{LAST:04}_a_second_one.sql", f"should be {LAST + 1:04}"),
        (f"{LAST + 2:04}_after_a_gap.sql", f"should be {LAST + 1:04}"),
        (f"{LAST + 1:04}_without_rollback.sql", "has no rollback"),
    ],
)
def test_a_wrong_set_of_files_is_refused(files: Path, name: str, message: str) -> None:
    (files / name).write_text("SELECT 1;")
    if "without" not in name:
        (files / name.replace(".sql", ".rollback.sql")).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=message):
        migrate.read()


def test_an_edited_migration_is_shown_and_refused(addresses: Addresses, files: Path) -> None:
    edited = files / "0004_create_users.sql"
    edited.write_text(edited.read_text() + "-- one more thought\n")
    assert [m.id for m in migrate.status(addresses.owner) if m.state == "edited"] == ["0004_create_users"]
    with pytest.raises(MigrationError, match="0004_create_users is not what was applied"):
        list(migrate.migrate(addresses.owner))


def test_line_ends_are_no_edit(addresses: Addresses, files: Path) -> None:
    file = files / "0004_create_users.sql"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert states(addresses.owner) == {"applied"}


def test_an_applied_migration_without_a_file_is_shown_and_refused(addresses: Addresses, files: Path) -> None:
    last = max(migrate.read())
    (files / f"{last}.sql").unlink()
    assert [m.id for m in migrate.status(addresses.owner) if m.state == "missing"] == [last]
    for run in (migrate.migrate, migrate.rollback):
        with pytest.raises(MigrationError, match=last):
            list(run(addresses.owner))


def test_a_failing_migration_leaves_nothing_and_stays_pending(addresses: Addresses, files: Path) -> None:
    id = f"{LAST + 1:04}_fails"
    (files / f"{id}.sql").write_text("CREATE TABLE half (a INTEGER);\nSELECT 1 / 0;")
    (files / f"{id}.rollback.sql").write_text("DROP TABLE half;")
    with pytest.raises(MigrationError, match=f"{id} failed") as caught:
        list(migrate.migrate(addresses.owner))
    assert isinstance(caught.value.__cause__, psycopg.errors.DivisionByZero)
    assert rows(addresses.admin, "SELECT to_regclass('half')") == [(None,)]
    assert [m.id for m in migrate.status(addresses.owner) if m.state == "pending"] == [id]


def test_the_lock_of_a_crashed_run_is_explained_and_can_be_removed(addresses: Addresses) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, '2026-01-02 03:04:05', 4711)")
    message = "process 4711 holds the migration lock since 2026-01-02 03:04:05 .*skilldb unlock"
    with pytest.raises(MigrationError, match=message):
        list(migrate.migrate(addresses.owner, wait=0.1))
    assert migrate.unlock(addresses.owner) is True
    assert migrate.unlock(addresses.owner) is False
    assert list(migrate.migrate(addresses.owner)) == []


def test_a_role_that_policies_hold_may_not_migrate(addresses: Addresses) -> None:
    with pytest.raises(MigrationError, match="skilldb_service is held by the policies"):
        list(migrate.migrate(addresses.service))


def test_the_role_stays_while_logins_or_other_databases_use_it(addresses: Addresses) -> None:
    """A role belongs to the whole server: the template of these tests has granted to it."""
    list(migrate.rollback(addresses.owner, None))
    assert rows(addresses.admin, "SELECT count(*) FROM pg_roles WHERE rolname = 'skilldb_app'") == [(1,)]


def test_a_dsn_with_options_of_its_own_keeps_them(addresses: Addresses) -> None:
    given = conninfo_to_dict(addresses.owner)
    dsn = make_conninfo(addresses.owner, options=f"{given.get('options') or ''} -c work_mem=5MB")
    assert list(migrate.migrate(dsn)) == []


def test_status_of_an_empty_database_is_all_pending_and_writes_nothing(addresses: Addresses, admin: Admin) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        conn.execute("CREATE DATABASE empty_one OWNER skilldb_owner TEMPLATE template0")
    try:
        assert states(admin.dsn("empty_one", "skilldb_owner")) == {"pending"}
        assert rows(admin.dsn("empty_one"), "SELECT to_regclass('_yoyo_migration'), to_regclass('yoyo_lock')") == [
            (None, None)
        ]
    finally:
        with psycopg.connect(addresses.admin, autocommit=True) as conn:
            conn.execute("DROP DATABASE empty_one")
