"""Compares the locks that a dry run names with those that PostgreSQL takes, and tests the output of a dry run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner
from yoyo.migrations import read_sql_migration

from skilldb import cli, queries
from skilldb.admin import locks, migrate
from skilldb.admin.locks import ACTIONS, ALTER_TABLE, MODES, STATEMENTS, Kind, match_kind
from tests.support.database import contents, rows, until
from tests.support.server import RUN, Addresses, Admin, created
from tests.support.waits import ended, started

Conn = psycopg.Connection[Any]

HELD = """
SELECT c.relname, l.mode FROM pg_locks AS l INNER JOIN pg_class AS c ON c.oid = l.relation
WHERE l.pid = %s AND l.granted AND c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
"""
ROWS = """
INSERT INTO tenants (id, name, slug) VALUES ('t', 't', 't');
INSERT INTO users (tenant_id, id, email) VALUES ('t', 'u', 'u');
INSERT INTO skills (tenant_id, id, name, slug, description, category) VALUES ('t', 's', 's', 's', 's', 's')
"""

FIRST_ROWS = {
    "tenants": "INSERT INTO tenants (id, name, slug) VALUES ('a', 'A', 'a')",
    "skills": "INSERT INTO skills (tenant_id, id, name, slug, description, category) "
    "VALUES ('a', 's', 's', 's', 's', 's')",
    "users": "INSERT INTO users (tenant_id, id, email) VALUES ('a', 'u', 'u')",
    "usage_events": "INSERT INTO usage_events (tenant_id, tool_name, skill_id, user_id) SELECT 'a', 't', 's', 'u'",
    "token_measurements": "INSERT INTO token_measurements (tenant_id, skill_id, model_name) SELECT 'a', 's', 'm'",
}

# The last statement of each entry is tested. The statements before it set up what it needs.
STATEMENT_EXAMPLES = [
    "CREATE INDEX ON skills (name)",
    "DROP INDEX skills_updated_idx",
    "REINDEX INDEX skills_updated_idx",
    "REINDEX TABLE ratings",
    "ALTER INDEX skills_updated_idx RENAME TO renamed",
    "CREATE TABLE IF NOT EXISTS notes (a TEXT REFERENCES public.tenants (id))",
    "CREATE TABLE parted (LIKE tenants) PARTITION BY LIST (id);\nCREATE TABLE part PARTITION OF parted DEFAULT",
    "CREATE TABLE heirs () INHERITS (public.tenants)",
    "CREATE VIEW names AS SELECT s.name FROM skills AS s INNER JOIN users AS u USING (tenant_id)",
    "TRUNCATE TABLE benchmark_runs CASCADE",
    "LOCK TABLE skills",
    "LOCK TABLE skills IN SHARE MODE",
    "CLUSTER skills USING skills_pkey",
    "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO skilldb_app",
    'CREATE TABLE "notes" (a TEXT, b TEXT, FOREIGN KEY (a, b) REFERENCES skills (tenant_id, id))',
    "DROP TABLE IF EXISTS ratings, benchmark_results",
    "DROP TABLE skills CASCADE",
    "CREATE POLICY p ON skills USING (true)",
    "ALTER POLICY tenant_access ON skills USING (name = 'FROM users; DROP TABLE users')",
    "DROP POLICY IF EXISTS tenant_access ON skills",
    "CREATE TRIGGER t BEFORE UPDATE ON skills FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE TRIGGER t BEFORE UPDATE ON skills FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();\n"
    "DROP TRIGGER t ON skills",
    "CREATE STATISTICS s ON name, slug FROM skills",
    "ANALYZE skills",
    "COMMENT ON TABLE skills IS 'It''s; a comment'",
    "COMMENT ON COLUMN public.skills.name IS 'x'",
    "COMMENT ON CONSTRAINT skills_author_fk ON skills IS 'x'",
    "COMMENT ON POLICY tenant_access ON skills IS 'x'",
    "COMMENT ON FUNCTION raise_not_found(TEXT, TEXT) IS 'x'",
    "GRANT EXECUTE ON FUNCTION raise_not_found(TEXT, TEXT) TO skilldb_app",
    "GRANT SELECT, UPDATE (name) ON skills TO skilldb_app",
    "REVOKE SELECT ON TABLE skills FROM skilldb_app",
    "GRANT skilldb_app TO skilldb_service",
    "CREATE ROLE a_role",
    "CREATE OR REPLACE FUNCTION f() RETURNS TEXT LANGUAGE plpgsql AS $$ BEGIN UPDATE skills SET name = ''; END $$",
    "DROP FUNCTION raise_not_found(TEXT, TEXT)",
    "CREATE DOMAIN hours AS INTEGER CHECK (VALUE >= 0)",
    "INSERT INTO user_skill_views (tenant_id, user_id, skill_id) SELECT tenant_id, 'u', id FROM skills",
    "UPDATE skills SET name = u.email FROM users AS u WHERE u.tenant_id = skills.tenant_id",
    "DELETE FROM skills",
    "SELECT s.id FROM skills AS s INNER JOIN users AS u USING (tenant_id) FOR KEY SHARE",
    "SELECT count(*) FROM skills",
    "SET LOCAL lock_timeout = '5s'",
    "DO $$ BEGIN RAISE NOTICE 'DROP TABLE users;'; END $$",
]
ACTION_EXAMPLES = [
    "ALTER TABLE ratings ADD CONSTRAINT c FOREIGN KEY (tenant_id) REFERENCES tenants (id) NOT VALID",
    "ALTER TABLE ratings ADD CONSTRAINT c FOREIGN KEY (tenant_id) REFERENCES tenants (id) NOT VALID;\n"
    "ALTER TABLE ratings VALIDATE CONSTRAINT c",
    "ALTER TABLE ratings ADD CONSTRAINT c CHECK (rating > 0) NOT VALID;\nALTER TABLE ratings VALIDATE CONSTRAINT c",
    "ALTER TABLE skills SET (fillfactor = 80)",
    "ALTER TABLE skills ALTER COLUMN name SET STATISTICS 50",
    "ALTER TABLE skills DISABLE TRIGGER USER",
    "ALTER TABLE IF EXISTS skills DROP COLUMN author_id, DROP CONSTRAINT IF EXISTS skills_published_version_fk",
    "ALTER TABLE ONLY public.skills ADD COLUMN a NUMERIC (5, 2) DEFAULT 1, ADD CHECK (name IN ('s', 't'))",
    "ALTER TABLE skills ADD COLUMN a TEXT REFERENCES tenants (id)",
    "ALTER TABLE skills ALTER hours_saved SET NOT NULL",
    "ALTER TABLE skills RENAME COLUMN name TO n",
    "ALTER TABLE skills OWNER TO skilldb_owner",
    "ALTER TABLE skills NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY",
]
# These cannot run in a transaction. Their locks are read while they wait for an open transaction.
CONCURRENT_EXAMPLES = [
    "CREATE INDEX CONCURRENTLY ON skills (name)",
    "DROP INDEX CONCURRENTLY skills_updated_idx",
    "REINDEX INDEX CONCURRENTLY skills_updated_idx",
    "REINDEX TABLE CONCURRENTLY skills",
]
# These cannot either, and they wait only for the lock on their table.
VACUUM_EXAMPLES = ["VACUUM (FULL, VERBOSE) skills", "VACUUM FULL skills", "VACUUM (FREEZE) skills", "VACUUM skills"]


def held(observer: Conn, conn: Conn) -> dict[str, str]:
    """The strongest mode that the connection holds on each table that another session can see."""
    found = locks.Locks()
    for table, mode in observer.execute(HELD, [conn.info.backend_pid]).fetchall():
        found.add(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", mode.removesuffix("Lock")).upper(), [table])
    return found.modes


def claimed(conn: Conn, statement: str, catalogue: locks.Catalogue) -> dict[str, str]:
    """The locks of the dry run on tables that existed before."""
    found = locks.of_statement(statement, catalogue)
    # SQL that PL/pgSQL builds at run time is not known before.
    assert [part for part in found.unknown if not part.startswith("EXECUTE ")] == []
    if conn.info.server_version < 180000 and re.match("GRANT|REVOKE", statement):
        found.modes.clear()
    return {table: mode for table, mode in found.modes.items() if table not in found.created}


@pytest.mark.parametrize("example", STATEMENT_EXAMPLES + ACTION_EXAMPLES)
def test_a_kind_of_statement_takes_the_locks_that_are_claimed(addresses: Addresses, example: str) -> None:
    *before, statement = example.split(";\n")
    with psycopg.connect(addresses.admin) as conn, psycopg.connect(addresses.admin, autocommit=True) as observer:
        for sql in [*ROWS.split(";\n"), *before]:
            conn.execute(sql.encode())
        conn.commit()
        claims = claimed(observer, statement, locks.catalogue(observer))
        conn.execute(statement.encode())
        assert claims == held(observer, conn)
        conn.rollback()


@pytest.mark.parametrize("statement", CONCURRENT_EXAMPLES)
def test_what_runs_in_no_transaction_takes_the_locks_that_are_claimed(addresses: Addresses, statement: str) -> None:
    with (
        psycopg.connect(addresses.admin) as writer,
        psycopg.connect(addresses.admin, autocommit=True) as runner,
        psycopg.connect(addresses.admin, autocommit=True) as observer,
    ):
        writer.execute(b"INSERT INTO tenants (id, name, slug) VALUES ('t', 't', 't')")
        writer.execute(b"LOCK TABLE skills IN ROW EXCLUSIVE MODE")
        claims = claimed(observer, statement, locks.catalogue(observer))
        running = started(runner.execute, statement.encode())
        pid = runner.info.backend_pid
        until(lambda: observer.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid]).fetchone() == (True,))
        actual = held(observer, runner)
        writer.rollback()
        ended(running)
    assert claims == actual


@pytest.mark.parametrize("statement", VACUUM_EXAMPLES)
def test_what_vacuum_waits_for_is_the_lock_that_is_claimed(addresses: Addresses, statement: str) -> None:
    waits = "SELECT mode FROM pg_locks WHERE pid = %s AND NOT granted AND relation = 'skills'::regclass"
    with (
        psycopg.connect(addresses.admin) as holder,
        psycopg.connect(addresses.admin, autocommit=True) as runner,
        psycopg.connect(addresses.admin, autocommit=True) as observer,
    ):
        holder.execute(b"LOCK TABLE skills IN SHARE UPDATE EXCLUSIVE MODE")
        (claim,) = claimed(observer, statement, locks.catalogue(runner)).values()
        running = started(runner.execute, statement.encode())
        pid = runner.info.backend_pid
        until(lambda: observer.execute(waits, [pid]).fetchall() != [])
        ((mode,),) = observer.execute(waits, [pid]).fetchall()
        holder.rollback()
        ended(running)
    assert re.sub(r"(?<=[a-z])(?=[A-Z])", " ", mode.removesuffix("Lock")).upper() == claim


def test_every_kind_has_an_example() -> None:
    statements = [example.split(";\n")[-1] for example in STATEMENT_EXAMPLES + CONCURRENT_EXAMPLES + VACUUM_EXAMPLES]
    found: set[Kind | None] = {match_kind(STATEMENTS, statement)[0] for statement in statements}
    # Statements of PL/pgSQL in the DO blocks.
    found.add(match_kind(STATEMENTS, "RAISE NOTICE")[0])
    assert [kind.pattern for kind in STATEMENTS if kind not in found] == []
    alters = [ALTER_TABLE.match(example.split(";\n")[-1]) for example in ACTION_EXAMPLES]
    shown = [match_kind(ACTIONS, alter["actions"].rstrip(";"))[0] for alter in alters if alter]
    assert [kind.pattern for kind in ACTIONS if kind not in shown] == []


def test_a_do_block_claims_every_branch() -> None:
    block = """
    DO $x$
    DECLARE a TEXT; b TEXT;
    BEGIN
        -- Not now; DROP TABLE users;
        IF NOT EXISTS (SELECT FROM users WHERE name = 'THEN DROP TABLE users;') THEN
            CREATE POLICY p ON skills USING (true);
        ELSIF a = b THEN
            ALTER TABLE notes ADD a TEXT;
        ELSE
            FOR a IN SELECT id FROM ratings LOOP
                UPDATE ratings SET id = a;
            END LOOP;
        END IF;
        PERFORM id FROM tenants;
        EXECUTE format('DROP TABLE %I', a);
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN
            DROP INDEX an_index;
    END
    $x$
    """
    found = locks.of_statement(block, locks.Catalogue(tables=frozenset({"users", "ratings", "tenants", "skills"})))
    assert found.modes == {
        "users": "ACCESS SHARE",
        "skills": "ACCESS EXCLUSIVE",
        "notes": "ACCESS EXCLUSIVE",
        "ratings": "ROW EXCLUSIVE",
        "tenants": "ACCESS SHARE",
        "the table of index an_index": "ACCESS EXCLUSIVE",
    }
    assert [part.split("(")[0] for part in found.unknown] == ["EXECUTE format"]


@pytest.mark.parametrize(
    "statement", ["WITH s AS (SELECT) DELETE FROM skills", "CALL f()", "ALTER TABLE skills INHERIT other"]
)
def test_what_is_not_known_is_said(statement: str) -> None:
    assert len(locks.of_statement(statement, locks.Catalogue()).unknown) == 1


@pytest.mark.parametrize("direction", ["up", "down"])
def test_every_migration_takes_the_locks_that_its_dry_run_claims_and_its_header_names(
    addresses: Addresses, direction: str
) -> None:
    """Run statement by statement, each in its own transaction. Tables that the same file creates count as new."""
    ids = sorted(migrate.read())
    list(migrate.rollback(addresses.owner, None if direction == "up" else 0))
    wrong = []
    with psycopg.connect(addresses.owner) as conn, psycopg.connect(addresses.owner, autocommit=True) as observer:
        for id in ids if direction == "up" else reversed(ids):
            file = queries.folder("migrations") / (f"{id}.sql" if direction == "up" else f"{id}.rollback.sql")
            directives, _, statements = read_sql_migration(str(file))
            before = locks.catalogue(observer).tables
            for table, insertion in FIRST_ROWS.items():  # What is done for each row takes no lock where there is none.
                if table in before:
                    observer.execute(f"{insertion} ON CONFLICT DO NOTHING".encode())
            conn.autocommit = directives.get("transactional") == "false"
            whole = locks.Locks()
            for statement in statements:
                claims = claimed(observer, statement, locks.catalogue(observer))
                conn.execute(statement.encode())
                actual = held(observer, conn)
                conn.commit()
                for table in before & (actual.keys() | claims.keys()):
                    whole.add(claims.get(table), [table])
                    # Without a transaction the locks are already released. The test above reads them.
                    if claims.get(table) != actual.get(table) and not conn.autocommit:
                        wrong.append(f"{file.name}: {claims} claimed, {actual} taken: {statement[:60]}")
            header = re.search(r"-- Locks: (.*?)SET ", file.read_text(), flags=re.DOTALL)
            assert header
            wrong += [
                f"{file.name}: the header does not name {mode} on {table}"
                for table, mode in whole.modes.items()
                if MODES[mode].startswith("blocks writes") or MODES[mode].startswith("blocks reads")
                if not (mode in header[1] and re.search(rf"\b{table}\b", header[1]))
            ]
            conn.autocommit = False
    assert wrong == []


# The printed output.


def test_a_dry_run_says_what_would_run_and_writes_nothing(addresses: Addresses, files: Path) -> None:
    number = len(migrate.read()) + 1
    name = f"{number:04}_notes"
    (files / f"{name}.rollback.sql").write_text("DROP TABLE notes;")
    (files / f"{name}.sql").write_text(
        """
        SET LOCAL lock_timeout = '5s';
        CREATE TABLE notes (tenant_id TEXT REFERENCES tenants (id));
        COMMENT ON TABLE notes IS 'Notes';
        CREATE INDEX ON skills (name);
        ALTER TABLE skills INHERIT other;
        """
    )
    (files / f"{number + 1:04}_more.rollback.sql").write_text("SELECT 1;")
    (files / f"{number + 1:04}_more.sql").write_text(
        "-- transactional: false\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i\nON skills (name);"
    )
    before = contents(addresses.admin)
    result = CliRunner().invoke(cli.app, ["migrate", "--dry-run"], env=environment(addresses))
    assert result.exit_code == 0
    assert contents(addresses.admin) == before
    assert [line.strip() for line in result.output.splitlines() if line] == [
        f"-- {name}: one transaction: each lock is held until the end",
        "-- no lock on a table",
        "SET LOCAL lock_timeout = '5s';",
        "-- SHARE ROW EXCLUSIVE on tenants: blocks writes",
        "CREATE TABLE notes (tenant_id TEXT REFERENCES tenants (id));",
        "-- no lock that others wait for: notes is new",
        "COMMENT ON TABLE notes IS 'Notes';",
        "-- SHARE on skills: blocks writes",
        "CREATE INDEX ON skills (name);",
        "-- the locks of this part are unknown, at worst ACCESS EXCLUSIVE. Read it: INHERIT other",
        "ALTER TABLE skills INHERIT other;",
        f"-- {number + 1:04}_more: in no transaction",
        "-- SHARE UPDATE EXCLUSIVE on skills: blocks neither reads nor writes",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS i",
        "ON skills (name);",
    ]


def test_a_dry_run_with_nothing_pending_says_so(addresses: Addresses) -> None:
    result = CliRunner().invoke(cli.app, ["migrate", "--dry-run"], env=environment(addresses))
    assert result.output == "Nothing to apply: all migrations are applied.\n"


def test_a_dry_run_on_an_empty_database_plans_all_and_writes_nothing(addresses: Addresses, admin: Admin) -> None:
    dbname = f"skilldb_empty_{RUN}"
    with created(addresses.admin, dbname, "template0"):
        planned = migrate.plan(admin.dsn(dbname, "skilldb_owner"))
        assert [migration.id for migration in planned] == sorted(migrate.read())
        unknown = {(m.id, part) for m in planned for s in m.statements for part in s.locks.unknown}
        assert unknown == {
            ("0001_create_app_role", "EXECUTE format('', current_schema())"),
            ("0001_create_app_role", "EXECUTE format('', current_database())"),
        }
        assert rows(admin.dsn(dbname), "SELECT relname FROM pg_class WHERE relname ~ 'yoyo'") == []


def test_a_dry_run_refuses_an_edited_migration_as_migrate_does(addresses: Addresses, files: Path) -> None:
    edited = files / "0004_create_users.sql"
    edited.write_text(edited.read_text() + "-- one more thought\n")
    for arguments in (["migrate", "--dry-run"], ["migrate"]):
        result = CliRunner().invoke(cli.app, arguments, env=environment(addresses))
        assert "the file of 0004_create_users is not the one that was applied" in str(result.exception)
    status = CliRunner().invoke(cli.app, ["status"], env=environment(addresses))
    assert status.exit_code == 1
    assert re.search("0004_create_users.*edited", status.output)


def environment(addresses: Addresses) -> dict[str, str]:
    return {"SKILLDB_OWNER_DSN": addresses.owner, "SKILLDB_DSN": addresses.service}
