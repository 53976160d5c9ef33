"""Tests the migration files, forwards and back, and yoyo's gaps that migrate.py closes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner

import skilldb
from skilldb import cli, queries
from skilldb.admin import migrate
from skilldb.admin.migrate import MigrationError
from skilldb.repositories import ratings, tenants
from tests.support.api import new_skill, new_user
from tests.support.database import contents, rows, until
from tests.support.schema import LAST, dump
from tests.support.server import CHECKOUT, RUN, Addresses, Admin, created
from tests.support.waits import running


def states(dsn: str) -> set[str]:
    return {migration.state for migration in migrate.status(dsn)}


def test_up_down_to_nothing_and_up_again_gives_the_same_schema(addresses: Addresses) -> None:
    before = dump(addresses.admin)
    assert "CREATE TABLE public.ratings" in before
    down = [done.id for done in migrate.rollback(addresses.owner, None)]
    assert down == sorted(migrate.read(), reverse=True)
    assert states(addresses.owner) == {"pending"}
    left = rows(addresses.admin, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    assert all("yoyo" in name for (name,) in left)
    assert rows(addresses.admin, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []
    may_create_temporary = "SELECT has_database_privilege('skilldb_service', current_database(), 'TEMPORARY')"
    assert rows(addresses.admin, may_create_temporary) == [(True,)]
    up = [done.id for done in migrate.migrate(addresses.owner)]
    assert up == sorted(migrate.read())
    assert rows(addresses.admin, may_create_temporary) == [(False,)]
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
    """After a crash between applying a migration and recording it, yoyo applies it again."""
    schema = dump(addresses.admin)
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute("DELETE FROM _yoyo_migration")
    assert len(list(migrate.migrate(addresses.owner))) == len(migrate.read())
    assert dump(addresses.admin) == schema


def test_the_files_are_numbered_and_each_has_a_rollback_and_a_lock_timeout() -> None:
    for id in migrate.read():
        up = queries.folder("migrations") / f"{id}.sql"
        for file in (up, up.with_name(f"{id}.rollback.sql")):
            lines = file.read_text().splitlines()
            statements = [line for line in lines if line and not line.startswith("--")]
            local = "" if lines[0] == "-- transactional: false" else "LOCAL "
            assert statements[0].startswith(f"SET {local}lock_timeout"), file.name
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
    with pytest.raises(MigrationError, match="the file of 0004_create_users is not the one that was applied"):
        list(migrate.migrate(addresses.owner))


def test_a_line_to_the_linter_is_no_edit_and_what_looks_like_one_is(files: Path) -> None:
    before = migrate.read()
    file = files / "0004_create_users.sql"
    text = file.read_text()
    file.write_text(text.replace("CREATE TABLE", "-- squawk-ignore prefer-identity -- a reason\nCREATE TABLE"))
    assert migrate.read() == before
    for edit in ("-- squawk, ignore it\nCREATE TABLE", "SELECT 1; -- squawk-ignore prefer-identity\nCREATE TABLE"):
        file.write_text(text.replace("CREATE TABLE", edit))
        assert migrate.read() != before


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX IF NOT EXISTS users_name_idx ON users (tenant_id, name);", "require-concurrent-index-creation"),
        ("ALTER TABLE users ADD CONSTRAINT a CHECK (name <> '');", "constraint-missing-not-valid"),
        ("DROP TABLE IF EXISTS users;", "ban-drop-table"),
    ],
)
def test_the_linter_refuses_what_blocks_or_breaks_others(tmp_path: Path, statement: str, rule: str) -> None:
    file = tmp_path / f"{LAST + 1:04}_bad.sql"
    command = [str(Path(sys.executable).parent / "squawk"), "--config", str(CHECKOUT / ".squawk.toml"), str(file)]
    for allowed, status in (("", 1), (f"-- squawk-ignore {rule} -- a reason\n", 0)):
        file.write_text(f"SET LOCAL lock_timeout = '5s';\n\n{allowed}{statement}\n")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == status, done.stdout
        assert (rule in done.stdout) == (status == 1), done.stdout


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


def make_old(addresses: Addresses) -> None:
    """Record the migrations of skilldb before 0.2, whose 17 files made the same schema."""
    with psycopg.connect(addresses.admin) as conn:
        conn.execute(
            """
            UPDATE _yoyo_migration
            SET migration_id = CASE migration_id
                WHEN '0002_create_raise_functions' THEN '0002_create_raise_not_found'
                WHEN '0011_create_benchmark_tables' THEN '0011_create_benchmarks'
                ELSE migration_id
            END
            """
        )
        conn.execute(
            """
            INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)
            SELECT id, id, now()
            FROM unnest(ARRAY[
                '0014_create_raise_invalid', '0015_put_the_tenant_first_in_indexes',
                '0016_revoke_temporary_from_public', '0017_update_counters_in_place'
            ]) AS id
            """
        )


@pytest.mark.parametrize(
    "arguments", ["status", "migrate", "migrate --dry-run", "rollback --yes", "rollback --all --yes", "demo"]
)
def test_a_database_made_before_0_2_is_refused_in_one_sentence(addresses: Addresses, arguments: str) -> None:
    make_old(addresses)
    before = contents(addresses.admin)
    env = {"SKILLDB_OWNER_DSN": addresses.owner, "SKILLDB_DSN": addresses.service}
    result = CliRunner().invoke(cli.app, arguments.split(), env=env)
    assert (result.exit_code, type(result.exception), result.output) == (1, migrate.OldDatabaseError, "")
    message = str(result.exception)
    assert message.startswith(
        "this database was made by skilldb before 0.2, whose migrations were rewritten: recreate it."
    )
    assert "`make db-stop`, `rm -rf .skilldb` and `make migrate`" in message
    ((name,),) = rows(addresses.admin, "SELECT current_database()")
    assert f"DROP DATABASE {name}; CREATE DATABASE {name} OWNER skilldb_owner; and then `skilldb migrate`" in message
    assert contents(addresses.admin) == before


def test_a_schema_made_before_0_2_is_recreated_without_the_rest_of_its_database(addresses: Addresses) -> None:
    with psycopg.connect(addresses.owner) as conn:
        conn.execute("CREATE SCHEMA skills")
    list(migrate.migrate(addresses.owner, schema="skills"))
    old = "SET migration_id = '0002_create_raise_not_found' WHERE migration_id LIKE '0002%%' RETURNING 1"
    rows(addresses.owner, f"UPDATE skills._yoyo_migration {old}")
    with pytest.raises(migrate.OldDatabaseError, match="owner: DROP SCHEMA skills CASCADE; CREATE SCHEMA skills;"):
        migrate.status(addresses.owner, schema="skills")
    assert states(addresses.owner) == {"applied"}


def test_a_failing_migration_leaves_nothing_and_stays_pending(addresses: Addresses, files: Path) -> None:
    id = f"{LAST + 1:04}_fails"
    (files / f"{id}.sql").write_text("CREATE TABLE half (a INTEGER);\nSELECT 1 / 0;")
    (files / f"{id}.rollback.sql").write_text("DROP TABLE half;")
    with pytest.raises(MigrationError, match=f"{id} failed") as caught:
        list(migrate.migrate(addresses.owner))
    assert isinstance(caught.value.__cause__, psycopg.errors.DivisionByZero)
    assert rows(addresses.admin, "SELECT to_regclass('half')") == [(None,)]
    assert [m.id for m in migrate.status(addresses.owner) if m.state == "pending"] == [id]


def test_a_lock_left_behind_is_explained_and_only_that_one_is_removed(addresses: Addresses) -> None:
    take = b"INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, %s, 4711)"
    assert migrate.get_lock(addresses.owner) is None
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute(take, ["2026-01-02 03:04:05.678901"])
    message = "process 4711 holds the migration lock since 2026-01-02 03:04:05 .*no session .*skilldb unlock"
    with pytest.raises(MigrationError, match=message):
        list(migrate.migrate(addresses.owner, wait=0.1))
    lock = migrate.get_lock(addresses.owner)
    assert lock is not None
    assert migrate.unlock(addresses.owner, lock) is True
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute(take, ["2026-01-02 03:04:05.678902"])
    # Another run took the lock later.
    assert migrate.unlock(addresses.owner, lock) is False
    later = migrate.get_lock(addresses.owner)
    assert later is not None
    assert migrate.unlock(addresses.owner, later) is True
    assert list(migrate.migrate(addresses.owner)) == []


def test_a_session_of_another_role_is_explained_as_far_as_it_shows(addresses: Addresses) -> None:
    with psycopg.connect(addresses.admin, application_name="skilldb migrate") as other:
        other.execute(b"INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)")
        other.commit()
        with pytest.raises(MigrationError, match=r"4711 holds .* since a time that this role may not see"):
            list(migrate.migrate(addresses.owner, wait=0.1))


def test_a_migration_whose_checksum_was_not_noted_is_shown_as_unverified(addresses: Addresses) -> None:
    rows(addresses.admin, "UPDATE _yoyo_log SET comment = NULL WHERE migration_id LIKE '0005%%' RETURNING 1")
    found = {m.id[:4]: m.state for m in migrate.status(addresses.owner)}
    assert found.pop("0005") == "unverified"
    assert set(found.values()) == {"applied"}
    assert list(migrate.migrate(addresses.owner)) == []


def test_a_killed_run_is_explained_unlocked_and_ended_by_the_next(addresses: Addresses) -> None:
    """The process is killed while a migration waits for a lock. Its session lasts until it gets that lock."""
    list(migrate.rollback(addresses.owner, LAST - 11))
    before = dump(addresses.admin)
    with psycopg.connect(addresses.admin) as holder, psycopg.connect(addresses.admin, autocommit=True) as observer:
        holder.execute("LOCK TABLE skills IN ACCESS SHARE MODE")
        command = [str(Path(sys.executable).parent / "skilldb"), "migrate"]
        env = os.environ | {"SKILLDB_OWNER_DSN": addresses.owner, "SKILLDB_DSN": addresses.service}
        with running(command, env=env, stdout=subprocess.PIPE) as crashed:
            blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
            until(lambda: observer.execute(blocked, [holder.info.backend_pid]).fetchone() == (1,))
            crashed.kill()
        lock = migrate.get_lock(addresses.owner)
        assert lock is not None
        assert lock.process == crashed.pid
        assert "a session of `skilldb migrate` is connected from " in str(lock)
        unlocked = CliRunner().invoke(cli.app, ["unlock", "--yes"], env=env)
        assert unlocked.exit_code == 1
        assert migrate.get_lock(addresses.owner) == lock
        with pytest.raises(MigrationError, match=r"wait for it\. If"):
            migrate.unlock(addresses.owner, lock)
        holder.rollback()
        until(lambda: (lock := migrate.get_lock(addresses.owner)) is not None and not lock.sessions)
    with pytest.raises(MigrationError, match=f"process {crashed.pid} .*no session .*is connected.*skilldb unlock"):
        list(migrate.migrate(addresses.owner, wait=0.1))
    assert dump(addresses.admin) == before
    assert {m.id for m in migrate.status(addresses.owner) if m.state == "pending"} == set(sorted(migrate.read())[11:])

    def unlock(answer: str) -> str:
        return CliRunner().invoke(cli.app, ["unlock"], input=answer, env=env).output

    assert f"process {crashed.pid} holds the migration lock since " in unlock("n\n")
    assert migrate.get_lock(addresses.owner) is not None
    assert "Lock removed." in unlock("y\n")
    assert unlock("") == "There is no lock.\n"
    assert [done.id for done in migrate.migrate(addresses.owner)] == sorted(migrate.read())[11:]


def test_a_role_that_cannot_list_the_organisations_may_not_migrate(addresses: Addresses) -> None:
    with pytest.raises(MigrationError, match="skilldb_service cannot list the organisations"):
        list(migrate.migrate(make_conninfo(addresses.owner, user="skilldb_service")))


def blocks(section: str) -> list[str]:
    """The SQL blocks under a heading of CONTRIBUTING.md."""
    text = (CHECKOUT / "CONTRIBUTING.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^```sql\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_an_owner_without_bypassrls_migrates_to_the_same_schema_and_back(
    subject: Addresses, addresses: Addresses
) -> None:
    before = dump(addresses.admin)
    assert dump(subject.admin) == before
    assert len(list(migrate.rollback(subject.owner, None))) == LAST
    assert len(list(migrate.migrate(subject.owner))) == LAST
    assert dump(subject.admin) == before
    assert states(subject.owner) == {"applied"}


def test_without_bypassrls_tenants_must_not_be_forced(subject: Addresses) -> None:
    """Its organisations would be an empty list, and each backfill would change nothing."""
    with psycopg.connect(subject.owner) as conn:
        conn.execute("ALTER TABLE tenants FORCE ROW LEVEL SECURITY")
    with pytest.raises(MigrationError, match="ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY"):
        list(migrate.migrate(subject.owner))


FORGETFUL = "UPDATE skills SET category = 'changed';"
RIGHT, KEY = blocks("Change rows in a migration")
RIGHT = RIGHT.replace("lower(category)", "'changed'")


@pytest.fixture
def filled(either: Addresses) -> Addresses:
    """A database with two organisations of one skill each, whose owner has BYPASSRLS or does not."""
    with skilldb.connect(either.service) as db:
        for id in ("acme", "globex"):
            db.tenant(id).execute(tenants.create_tenant(id, id))
            new_skill(db.tenant(id), "s1")
    return either


def categories(addresses: Addresses) -> list[tuple[str, ...]]:
    return rows(addresses.admin, "SELECT tenant_id, category FROM skills ORDER BY 1")


def write(files: Path, up: str, down: str = "SELECT 1;", *, transactional: bool = True) -> str:
    """Write the next migration, and return its id."""
    id = f"{LAST + 1:04}_backfill"
    for name, text in ((f"{id}.sql", up), (f"{id}.rollback.sql", down)):
        (files / name).write_text(text if transactional else f"-- transactional: false\n{text}")
    return id


def test_a_backfill_from_organisation_to_organisation_reaches_every_row(filled: Addresses, files: Path) -> None:
    id = write(files, RIGHT, RIGHT.replace("changed", "and back"))
    assert [done.id for done in migrate.migrate(filled.owner)] == [id]
    assert categories(filled) == [("acme", "changed"), ("globex", "changed")]
    assert [done.id for done in migrate.rollback(filled.owner)] == [id]
    assert categories(filled) == [("acme", "and back"), ("globex", "and back")]


def test_a_backfill_without_the_setting_is_an_error_without_bypassrls(
    filled: Addresses, files: Path, request: pytest.FixtureRequest
) -> None:
    """Even where the table is empty: PostgreSQL refuses it when it plans it."""
    id = write(files, FORGETFUL)
    before = categories(filled)
    if "with BYPASSRLS" in request.node.name:
        assert [done.id for done in migrate.migrate(filled.owner)] == [id]
        assert categories(filled) == [("acme", "changed"), ("globex", "changed")]
    else:
        with pytest.raises(MigrationError, match=f"{id} failed and was undone: query would be affected by row-level"):
            list(migrate.migrate(filled.owner))
        assert categories(filled) == before
        assert {m.id for m in migrate.status(filled.owner) if m.state == "pending"} == {id}


def test_a_statement_behind_a_backfill_is_refused_as_before(subject: Addresses, files: Path) -> None:
    """The backfill has switched row_security off again, for the rest of its transaction."""
    write(files, RIGHT + FORGETFUL)
    with pytest.raises(MigrationError, match="query would be affected by row-level"):
        list(migrate.migrate(subject.owner))


def test_a_foreign_key_is_validated_over_all_rows_where_force_is_off(filled: Addresses, files: Path) -> None:
    with skilldb.connect(filled.service) as db:
        new_user(db.tenant("acme"), "u1")
        db.tenant("acme").execute(ratings.rate_skill("u1", "s1", 5))
    write(files, KEY, "ALTER TABLE ratings DROP CONSTRAINT ratings_again_fk;")
    assert len(list(migrate.migrate(filled.owner))) == 1
    validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'ratings_again_fk'"
    assert rows(filled.admin, validated) == [(True,)]
    forced = "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relname IN ('ratings', 'users')"
    assert rows(filled.admin, forced) == [(True,)]
    list(migrate.rollback(filled.owner))
    write(files, KEY.replace("(tenant_id, user_id)", "(tenant_id, skill_id)"))
    with pytest.raises(MigrationError, match="violates foreign key constraint"):
        list(migrate.migrate(filled.owner))


def test_a_foreign_key_with_force_on_is_refused_without_bypassrls(subject: Addresses, files: Path) -> None:
    """Outside migrate(), where row_security is on, PostgreSQL accepts the key without looking at a row."""
    with skilldb.connect(subject.service) as db:
        tenant = db.tenant("acme")
        tenant.execute(tenants.create_tenant("acme", "acme"))
        new_skill(tenant, "s1")
        new_user(tenant, "u1")
        tenant.execute(ratings.rate_skill("u1", "s1", 5))
    add = next(line for line in KEY.splitlines() if "ADD CONSTRAINT" in line)
    write(files, add)
    with pytest.raises(MigrationError, match="query would be affected by row-level"):
        list(migrate.migrate(subject.owner))
    with psycopg.connect(subject.owner) as conn:
        conn.execute(add.replace("(tenant_id, user_id)", "(tenant_id, skill_id)").encode())
        conn.rollback()


@pytest.mark.parametrize("transactional", [True, False])
@pytest.mark.parametrize(
    "statement",
    [
        f"SET LOCAL row_security = on; {FORGETFUL}",
        f"SET row_security TO true; {FORGETFUL}",
        f"SELECT set_config('row_security', 'on', true); {FORGETFUL}",
        f"DO $$ BEGIN SET LOCAL row_security = on; {FORGETFUL} SET LOCAL row_security = off; END $$;",
        RIGHT.replace("set_config('row_security', 'off', true)", "1"),
        RIGHT.replace("set_config('app.current_tenant_id', organisation, true)", "1"),
        "-- app.current_tenant_id, row_security = off\n" + FORGETFUL.replace("UPDATE", "SET row_security = on; UPDATE"),
    ],
    ids=["SET LOCAL", "SET", "set_config", "no organisation", "not off again", "too late", "in a comment"],
)
def test_row_security_is_on_for_one_organisation_only(
    filled: Addresses, files: Path, statement: str, transactional: bool
) -> None:
    """Else the rest of the migration would see no rows, without an error. Both owners refuse it, before it runs."""
    id = write(files, statement, transactional=transactional)
    before = categories(filled)
    for attempt in (migrate.migrate, migrate.plan):
        with pytest.raises(MigrationError, match=f"{id} switches row_security on"):
            list(attempt(filled.owner))
    assert categories(filled) == before
    write(files, "SELECT 1;", statement, transactional=transactional)
    assert [done.id for done in migrate.migrate(filled.owner)] == [id]
    with pytest.raises(MigrationError, match=f"{id}.rollback switches row_security on"):
        list(migrate.rollback(filled.owner))


def test_the_role_stays_while_logins_or_other_databases_use_it(addresses: Addresses) -> None:
    """A role belongs to the whole server, and the template database of these tests has grants to it."""
    list(migrate.rollback(addresses.owner, None))
    assert rows(addresses.admin, "SELECT count(*) FROM pg_roles WHERE rolname = 'skilldb_app'") == [(1,)]


def test_a_dsn_with_options_of_its_own_keeps_them(addresses: Addresses) -> None:
    given = conninfo_to_dict(addresses.owner)
    dsn = make_conninfo(addresses.owner, options=f"{given.get('options') or ''} -c work_mem=5MB")
    assert list(migrate.migrate(dsn)) == []


def test_status_of_an_empty_database_is_all_pending_and_writes_nothing(addresses: Addresses, admin: Admin) -> None:
    dbname = f"skilldb_empty_{RUN}"
    with created(addresses.admin, dbname, "template0"):
        assert states(admin.dsn(dbname, "skilldb_owner")) == {"pending"}
        assert rows(admin.dsn(dbname), "SELECT to_regclass('_yoyo_migration'), to_regclass('yoyo_lock')") == [
            (None, None)
        ]
