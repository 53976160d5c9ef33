"""Tests `skilldb doctor`: it finds nothing in a healthy database, and exactly the faults in a faulty one."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner, Result

import skilldb
from skilldb import cli
from skilldb.admin import doctor, migrate
from skilldb.admin.doctor import Finding
from skilldb.dev import embedded
from skilldb.errors import DatabaseUnavailableError
from skilldb.settings import Secret
from tests.support.api import new_skill
from tests.support.database import contents, rows
from tests.support.server import POOLER, TEST_DSN, Addresses, direct_only


@pytest.fixture(autouse=True)
def environment(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that a service uses, so that the command uses the test's own database."""
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["doctor", *arguments])


def change(addresses: Addresses, *statements: str) -> None:
    """Run each statement as the superuser, in its own transaction."""
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.replace("{database}", f'"{conn.info.dbname}"').encode())


def examine(addresses: Addresses) -> list[Finding]:
    return list(doctor.examine(addresses.owner, addresses.service))


def bad(addresses: Addresses) -> list[Finding]:
    """The findings that are not ok. Each must have advice."""
    found = [finding for finding in examine(addresses) if finding.level != "ok"]
    assert all(finding.advice for finding in found)
    return found


def fill(addresses: Addresses, count: int) -> None:
    """An organisation with so many usage events. Autovacuum is switched off for them."""
    change(
        addresses,
        "ALTER TABLE usage_events SET (autovacuum_enabled = off)",
        "INSERT INTO tenants (id, name, slug) VALUES ('acme', 'Acme', 'acme')",
        f"INSERT INTO usage_events (tenant_id, tool_name) SELECT 'acme', 't' FROM generate_series(1, {count})",  # noqa: S608
    )


def an_index(addresses: Addresses) -> str:
    """An index that enforces nothing."""
    names = rows(addresses.owner, "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisunique ORDER BY 1")
    return str(next(name for (name,) in names if not name.startswith("pg_")))


# A healthy database


def test_the_seeded_database_has_no_finding_that_is_not_ok_and_is_left_as_it_was(addresses: Addresses) -> None:
    assert CliRunner().invoke(cli.app, ["seed"]).exit_code == 0
    before = contents(addresses.admin)
    result = run()
    assert result.exit_code == 0, result.output
    assert {line.split()[0] for line in result.output.splitlines()} == {"ok"}
    assert contents(addresses.admin) == before


def test_every_check_gives_a_line_and_json_has_the_same_findings(addresses: Addresses) -> None:
    found = examine(addresses)
    assert {finding.check for finding in found} >= {
        *("connection", "migrations", "opening", "roles", "row security", "policies", "privileges", "owner"),
        *("other roles", "queries"),
        *("definitions", "invalid indexes", "duplicate indexes", "unused indexes", "drift", "tables"),
        *("connections", "settings", "statements"),
    }
    assert all(finding.found for finding in found)
    result = run("--json")
    assert result.exit_code == 0
    counted = [replace(finding, found="") if finding.check == "connections" else finding for finding in found]
    printed = [Finding(**finding) for finding in json.loads(result.output)]
    assert [replace(f, found="") if f.check == "connections" else f for f in printed] == counted
    # One line for each finding, with the same text.
    lines = run().output.splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines] == [finding.level for finding in found]
    assert all(finding.check in line for finding, line in zip(found, lines, strict=True))


# A faulty database


def test_five_faults_at_once_are_all_named_and_the_status_is_2(addresses: Addresses, acme: skilldb.Tenant) -> None:
    new_skill(acme, "s1")
    new_skill(acme, "s2")
    dropped = an_index(addresses)
    ((definition,),) = rows(addresses.owner, f"SELECT replace(pg_get_indexdef('{dropped}'::regclass), 'public.', '')")
    change(
        addresses,
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        "GRANT TRUNCATE ON ratings TO skilldb_app",
        f"DROP INDEX {dropped}",
        "UPDATE skills SET total_feedback = 7 WHERE id = 's1'",
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        change(addresses, "CREATE UNIQUE INDEX CONCURRENTLY unfinished ON skills (tenant_id, category)")

    result = run()

    assert result.exit_code == 2
    wrong = [line.split(" -> ") for line in result.output.splitlines() if line.startswith("failure")]
    assert [found.split(maxsplit=1)[1] for found, _ in wrong] == [
        "row security: users: row-level security is not enabled",
        "privileges: relation ratings: TRUNCATE for skilldb_app",
        f"definitions: index {dropped} is missing: expected {definition}",
        "invalid indexes: unfinished on skills is invalid: it slows writes, and no query can use it",
        "drift: organisation acme: 1 counters differ from their rows",
    ]
    assert all(advice for _, advice in wrong)
    assert "warning" not in result.output
    assert run("--skip-drift").output.count("drift") == 0


# Each fault must be reported by the named checks, with the given word, and by no other check.
FAULTS = {
    "a table without a policy": (
        "CREATE TABLE notes (tenant_id TEXT NOT NULL REFERENCES tenants (id), id TEXT, PRIMARY KEY (tenant_id, id));"
        "ALTER TABLE notes OWNER TO skilldb_owner; ALTER TABLE notes ENABLE ROW LEVEL SECURITY;"
        "ALTER TABLE notes FORCE ROW LEVEL SECURITY",
        {"policies": "failure"},
        "notes",
    ),
    "no isolation": ("ALTER TABLE users NO FORCE ROW LEVEL SECURITY", {"row security": "failure"}, "users"),
    "a trigger": (
        "CREATE TRIGGER noted BEFORE UPDATE ON skills "
        "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        {"triggers": "failure"},
        "noted",
    ),
    "a key never validated": (
        "ALTER TABLE users DROP CONSTRAINT users_tenant_fk, ADD CONSTRAINT users_tenant_fk "
        "FOREIGN KEY (tenant_id) REFERENCES tenants (id) NOT VALID",
        {"foreign keys": "failure", "definitions": "failure"},
        "users_tenant_fk",
    ),
    "a key across tenants": ("CREATE UNIQUE INDEX lone ON users (email)", {"unique keys": "failure"}, "lone"),
    "an unsafe function": (
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM users';"
        "REVOKE ALL ON FUNCTION peek FROM PUBLIC; GRANT EXECUTE ON FUNCTION peek TO skilldb_app",
        {"functions": "failure"},
        "peek",
    ),
    "a tenant set beforehand": (
        "ALTER ROLE skilldb_service IN DATABASE {database} SET app.current_tenant_id = 'acme'",
        {"roles": "failure"},
        "acme",
    ),
    "a table of the service": (
        "ALTER TABLE tenants OWNER TO skilldb_service",
        {"creation": "failure"},
        "tenants",
    ),
    "a table of somebody else": ("ALTER TABLE ratings OWNER TO CURRENT_USER", {"owner": "warning"}, "ratings"),
    "no grant on a table": (
        "REVOKE SELECT ON ratings FROM skilldb_app",
        {"queries": "failure"},
        "metrics.update_skill_rating and N more: permission denied for table ratings",
    ),
    "no grant on a column": (
        "REVOKE UPDATE (total_uses) ON skills FROM skilldb_app",
        {"queries": "failure"},
        "metrics.increment_skill_uses",
    ),
    # One query uses it inside a CASE, which the planner removes if the value is NULL.
    "no grant on a function": (
        "REVOKE EXECUTE ON FUNCTION raise_not_found FROM skilldb_app",
        {"queries": "failure"},
        "benchmarks.lock_benchmark_run and N more: permission denied for function raise_not_found",
    ),
    "a column gone": (
        "ALTER TABLE ratings DROP COLUMN comment",
        {"queries": "failure", "definitions": "failure"},
        "ratings.rate_skill",
    ),
    "an index again": ("CREATE INDEX again ON ratings (tenant_id, id)", {"duplicate indexes": "warning"}, "again"),
    "a pending migration": (
        "DELETE FROM _yoyo_migration WHERE migration_id LIKE '0013%'",
        {"migrations": "warning"},
        "1 pending, the first 0013",
    ),
    "an edited migration": (
        "UPDATE _yoyo_log SET comment = 'of another text' WHERE migration_id LIKE '0004%'",
        {"migrations": "failure"},
        "0004_create_users is edited",
    ),
    "a migration without a file": (
        "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) VALUES ('x', '9999_gone', now())",
        {"migrations": "failure"},
        "9999_gone is missing",
    ),
    "a migration lock": (
        "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, '2026-01-02 03:04:05', 4711)",
        {"migrations": "warning"},
        "process 4711 holds the migration lock since 2026-01-02 03:04:05 UTC",
    ),
    "what the owner may not read": (
        "ALTER TABLE yoyo_lock OWNER TO CURRENT_USER",
        {"migrations": "failure"},
        "cannot be checked: permission denied for table yoyo_lock",
    ),
    "no statement_timeout": (
        "ALTER ROLE skilldb_service IN DATABASE {database} SET statement_timeout = 0",
        {"settings": "warning"},
        "statement_timeout of skilldb_service is 0",
    ),
    "no idle_in_transaction_session_timeout": (
        "ALTER ROLE skilldb_service IN DATABASE {database} SET idle_in_transaction_session_timeout = 0",
        {"settings": "warning"},
        "idle_in_transaction_session_timeout of skilldb_service is 0",
    ),
    "an unlogged table": (
        "ALTER TABLE token_measurements SET UNLOGGED",
        {"tables": "failure"},
        "token_measurements is unlogged",
    ),
    "a migration of which nothing was noted": (
        "UPDATE _yoyo_log SET comment = NULL WHERE migration_id LIKE '0005%'",
        {"migrations": "warning"},
        "0005",
    ),
}


@pytest.mark.parametrize(("statements", "checks", "named"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_by_its_check_and_by_no_other(
    addresses: Addresses, statements: str, checks: dict[str, str], named: str
) -> None:
    if POOLER and "settings" in checks:
        pytest.skip("a pooler's connections have the settings that they were opened with")
    change(addresses, *statements.split(";"))
    found = bad(addresses)
    assert {finding.check: finding.level for finding in found} == checks
    assert any(named in re.sub(r"\d+ more:", "N more:", finding.found) for finding in found), found
    # Each query runs on its own: a failing one does not affect the next.
    refused = [finding.found for finding in found if finding.check == "queries"]
    assert [text for text in refused if not re.search("permission denied|column .* does not exist", text)] == []
    assert run().exit_code == (2 if "failure" in checks.values() else 1)


@direct_only
def test_a_role_that_may_bypass_isolation_and_an_owner_without_tables_are_named(addresses: Addresses) -> None:
    swapped = list(doctor.examine(addresses.service, addresses.owner))
    found = {(finding.check, finding.level) for finding in swapped}
    assert {("opening", "failure"), ("roles", "failure"), ("owner", "failure")} <= found
    assert any("skilldb_service cannot list the organisations" in finding.found for finding in swapped)


def test_an_owner_with_bypassrls_is_named_as_such(addresses: Addresses) -> None:
    (owner,) = [finding for finding in examine(addresses) if finding.check == "owner"]
    assert owner == Finding(
        check="owner", level="ok", found="skilldb_owner owns every table and bypasses the policies: it sees all rows"
    )


def test_a_database_made_before_0_2_has_that_one_finding(addresses: Addresses) -> None:
    change(
        addresses,
        "UPDATE _yoyo_migration SET migration_id = '0002_create_raise_not_found' WHERE migration_id LIKE '0002%'",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
    )
    *_, last = examine(addresses)
    assert bad(addresses) == [last]
    assert (last.check, last.level) == ("migrations", "failure")
    assert last.found == "this database was made by skilldb before 0.2, whose migrations were rewritten"
    assert last.advice.startswith("recreate it. On the embedded server run `make db-stop`, `rm -rf .skilldb`")
    assert run().exit_code == 2


AUTHOR_IDX = "CREATE INDEX skills_author_idx"
AUTHOR_IDX_DIFFERS = (
    f"index skills_author_idx differs: expected {AUTHOR_IDX} ON skills USING btree (tenant_id, author_id) "
    "WHERE (author_id IS NOT NULL)"
)
# Each change with the doctor's finding: expected and found definition.
CHANGED = {
    "an index of that name on another table": (
        f"DROP INDEX skills_author_idx; {AUTHOR_IDX} ON users (tenant_id, name)",
        f"{AUTHOR_IDX_DIFFERS}, found {AUTHOR_IDX} ON users USING btree (tenant_id, name)",
    ),
    "an index without the tenant": (
        f"DROP INDEX skills_author_idx; {AUTHOR_IDX} ON skills (author_id) WHERE author_id IS NOT NULL",
        f"{AUTHOR_IDX_DIFFERS}, found {AUTHOR_IDX} ON skills USING btree (author_id) WHERE",
    ),
    "an index without its condition": (
        f"DROP INDEX skills_author_idx; {AUTHOR_IDX} ON skills (tenant_id, author_id)",
        f"{AUTHOR_IDX_DIFFERS}, found {AUTHOR_IDX} ON skills USING btree (tenant_id, author_id)",
    ),
    "a key dropped": (
        "ALTER TABLE ratings DROP CONSTRAINT ratings_user_fk",
        "constraint ratings.ratings_user_fk is missing: expected FOREIGN KEY",
    ),
    "a check of other values": (
        "ALTER TABLE ratings DROP CONSTRAINT ratings_rating_check;"
        "ALTER TABLE ratings ADD CONSTRAINT ratings_rating_check CHECK (rating < 9)",
        "constraint ratings.ratings_rating_check differs: expected CHECK (((rating >= 1) AND (rating <= 5))), "
        "found CHECK ((rating < 9))",
    ),
    "a unique key dropped": (
        "ALTER TABLE skills DROP CONSTRAINT skills_slug_key",
        "constraint skills.skills_slug_key is missing: expected UNIQUE (tenant_id, slug)",
    ),
    "a column that may be NULL": (
        "ALTER TABLE skills ALTER name DROP NOT NULL",
        "column skills.name differs: expected text NOT NULL, found text",
    ),
    "a column without its default": (
        "ALTER TABLE skills ALTER created_at DROP DEFAULT",
        "column skills.created_at differs: expected timestamp(3) with time zone NOT NULL DEFAULT "
        "date_trunc('milliseconds'::text, now()), "
        "found timestamp(3) with time zone NOT NULL",
    ),
    "a column of another type": (
        "ALTER TABLE ratings ALTER comment TYPE varchar(9)",
        "column ratings.comment differs: expected text, found character varying(9)",
    ),
    "a domain of other values": (
        "ALTER DOMAIN skills_rating_count DROP CONSTRAINT rating_count_check;"
        "ALTER DOMAIN skills_rating_count ADD CONSTRAINT rating_count_check CHECK (VALUE >= -1)",
        "domain skills_rating_count differs: expected bigint CHECK ((VALUE >= 0)), found bigint CHECK ((VALUE >= '-1'",
    ),
    "a domain without its constraint": (
        "ALTER DOMAIN skills_status DROP CONSTRAINT status_check",
        "domain skills_status differs: expected text CHECK ((VALUE = ANY (ARRAY['draft'::text, ",
    ),
    "a column without its domain": (
        "ALTER TABLE skills ALTER total_uses TYPE bigint",
        "column skills.total_uses differs: expected skills_total_uses NOT NULL DEFAULT 0, "
        "found bigint NOT NULL DEFAULT 0",
    ),
    "another mean": (
        "CREATE OR REPLACE FUNCTION mean_cost(cost_sum bigint, priced bigint) RETURNS bigint LANGUAGE sql IMMUTABLE "
        "RETURN cost_sum / priced",
        "function mean_cost(bigint,bigint) differs: expected RETURN (div((((2)::numeric * (cost_sum)::numeric) +",
    ),
}


@pytest.mark.parametrize(("statements", "expected"), CHANGED.values(), ids=CHANGED)
def test_a_definition_that_is_not_what_the_migrations_made_is_named(
    addresses: Addresses, statements: str, expected: str
) -> None:
    change(addresses, *statements.split(";"))
    (found,) = (finding for finding in bad(addresses) if finding.check == "definitions")
    assert (found.level, found.found[: len(expected)]) == ("failure", expected)


def test_what_an_operator_adds_is_no_fault(addresses: Addresses) -> None:
    change(
        addresses,
        "CREATE INDEX added ON ratings (tenant_id, hours_saved_estimate)",
        "ALTER TABLE ratings ADD COLUMN note TEXT, ADD CONSTRAINT note_check CHECK (note <> '')",
    )
    assert bad(addresses) == []


@pytest.mark.parametrize("migrations", ["a pending migration", "an edited migration", "a migration without a file"])
def test_definitions_are_not_compared_with_those_of_other_migrations(addresses: Addresses, migrations: str) -> None:
    change(addresses, "ALTER TABLE skills ALTER name DROP NOT NULL", FAULTS[migrations][0])
    (found,) = (finding for finding in examine(addresses) if finding.check == "definitions")
    assert (found.level, found.found.split(":")[0]) == ("ok", "not compared")


LOCKED = {
    "ratings": ["policies", "queries", "definitions", "tables", "drift"],
    "tenants": ["policies", "queries", "definitions", "tables", "drift"],
    "_yoyo_migration": ["migrations", "definitions", "tables"],
}


@pytest.mark.parametrize("table", LOCKED)
def test_a_locked_table_is_a_warning_that_names_the_holder_and_does_not_wait(
    addresses: Addresses, acme: skilldb.Tenant, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LOCK_TIMEOUT", 0.2)
    with psycopg.connect(addresses.owner) as conn:
        conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        found = bad(addresses)
        expected = f"cannot be checked: {table} is locked by process {conn.info.backend_pid} since "
    assert [(finding.check, finding.level) for finding in found] == [(check, "warning") for check in LOCKED[table]]
    assert [finding.found for finding in found if not finding.found.startswith(expected)] == []
    assert bad(addresses) == []


# Each change with the level and text of the finding.
ROLES = {
    "a grant on every table": (
        "CREATE ROLE {role} LOGIN BYPASSRLS; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        "warning",
        "{role} has BYPASSRLS, privileges on benchmark_results and N more",
    ),
    "a grant on a column": (
        "CREATE ROLE {role}; GRANT SELECT (rating) ON ratings TO {role}",
        "warning",
        "{role} has privileges on ratings",
    ),
    "all data": (
        "CREATE ROLE {role} LOGIN NOINHERIT IN ROLE pg_read_all_data",
        "warning",
        "{role} has privileges on all tables as pg_read_all_data",
    ),
    "a member of the owner": (
        "CREATE ROLE {role} LOGIN IN ROLE skilldb_owner; COMMENT ON SCHEMA public IS 'skilldb trusts: ann, {role} '",
        "ok",
        "{role} has ownership of the tables as skilldb_owner; the schema's comment trusts it",
    ),
    "a service with a grant of its own": (
        "CREATE ROLE {role} LOGIN IN ROLE skilldb_app; GRANT TRUNCATE ON ratings TO {role}",
        "warning",
        "{role} has privileges on ratings",
    ),
    "a service with BYPASSRLS": (
        "CREATE ROLE {role} LOGIN BYPASSRLS IN ROLE skilldb_app",
        "failure",
        "{role} is a member of skilldb_app and has BYPASSRLS: it may bypass the policies",
    ),
    "a service with CREATEROLE": (
        "CREATE ROLE {role} LOGIN CREATEROLE IN ROLE skilldb_service",
        "failure",
        "{role} is a member of skilldb_app and has CREATEROLE: it may bypass the policies",
    ),
    "a superuser made a service": (
        "CREATE ROLE {role} LOGIN SUPERUSER IN ROLE skilldb_app",
        "failure",
        "{role} is a member of skilldb_app and has SUPERUSER: it may bypass the policies",
    ),
    "a service that may become the owner": (
        "CREATE ROLE {role} LOGIN IN ROLE skilldb_app, skilldb_owner; "
        "COMMENT ON SCHEMA public IS 'skilldb trusts: {role}'",
        "failure",
        "{role} is a member of skilldb_app and has ownership of the tables as skilldb_owner: "
        "it may bypass the policies",
    ),
    "what a comment explains": (
        "CREATE ROLE {role} LOGIN BYPASSRLS IN ROLE pg_read_all_data; COMMENT ON ROLE {role} IS 'for pg_dump'",
        "ok",
        "{role} has BYPASSRLS, privileges on all tables as pg_read_all_data; its comment says why: for pg_dump",
    ),
    "no comment explains a service": (
        "CREATE ROLE {role} LOGIN BYPASSRLS IN ROLE skilldb_app; COMMENT ON ROLE {role} IS 'for reports'",
        "failure",
        "{role} is a member of skilldb_app and has BYPASSRLS: it may bypass the policies",
    ),
    "who created a service": (
        "CREATE ROLE {role} CREATEROLE; GRANT skilldb_service TO {role} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
        "ok",
        "",
    ),
    "who created the owner": (
        "CREATE ROLE {role} CREATEROLE; GRANT skilldb_owner TO {role} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
        "warning",
        "{role} has CREATEROLE, ownership of the tables as skilldb_owner",
    ),
    "a trusted administrator who created the owner": (
        "CREATE ROLE {role} CREATEROLE; GRANT skilldb_owner TO {role} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE; "
        "COMMENT ON SCHEMA public IS 'skilldb trusts: {role}'",
        "ok",
        "{role} has CREATEROLE, ownership of the tables as skilldb_owner; the schema's comment trusts it",
    ),
    "another service": ("CREATE ROLE {role} LOGIN IN ROLE skilldb_app", "ok", ""),
    "another superuser": ("CREATE ROLE {role} LOGIN SUPERUSER", "ok", ""),
    "a role for something else": ("CREATE ROLE {role} LOGIN BYPASSRLS CREATEROLE", "ok", ""),
}


@pytest.mark.parametrize(("statements", "level", "expected"), ROLES.values(), ids=ROLES)
def test_another_role_that_reaches_the_tables_is_named(
    addresses: Addresses, statements: str, level: str, expected: str
) -> None:
    role = f"{conninfo_to_dict(addresses.owner)['dbname']}_other"
    try:
        change(addresses, *statements.replace("{role}", role).split(";"))
        found = examine(addresses)
    finally:
        change(addresses, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    (named,) = [finding for finding in found if finding.check == "other roles"]
    assert (named.level, role in named.found) == (level, bool(expected))
    assert expected.replace("{role}", role) in re.sub(r"\d+ more", "N more", named.found)
    assert bool(named.advice) == (level != "ok")
    assert {finding.check for finding in found if finding.level != "ok"} == (
        {"other roles"} if level != "ok" else set()
    )


@direct_only
def test_row_security_off_is_no_fault_because_each_call_sets_it(addresses: Addresses) -> None:
    change(addresses, "ALTER ROLE skilldb_service IN DATABASE {database} SET row_security = off")
    assert bad(addresses) == []


def test_queries_that_fail_for_one_reason_are_one_line_with_the_first(addresses: Addresses) -> None:
    change(addresses, "REVOKE SELECT ON ratings, users FROM skilldb_app")
    found = [finding.found for finding in bad(addresses)]
    assert [re.sub(r"\d+", "N", text) for text in found] == [
        "feedback.list_feedback and N more: permission denied for table users",
        "metrics.update_skill_rating and N more: permission denied for table ratings",
    ]


REDUNDANT = {
    "(tenant_id)": True,
    "(tenant_id, user_id, skill_id)": True,
    "(tenant_id, user_id) INCLUDE (skill_id)": True,
    "(tenant_id, user_id) INCLUDE (rating)": False,
    "(tenant_id, user_id text_pattern_ops)": False,
    '(tenant_id, user_id COLLATE "C")': False,
    "(tenant_id, user_id DESC)": False,
    "(tenant_id, user_id) WHERE rating > 3": False,
    "(user_id, skill_id)": False,
    "(tenant_id, lower(user_id))": False,
}


@pytest.mark.parametrize(("columns", "redundant"), REDUNDANT.items())
def test_an_index_is_redundant_where_another_has_its_columns_first(
    addresses: Addresses, columns: str, redundant: bool
) -> None:
    change(
        addresses,
        "CREATE UNIQUE INDEX other ON ratings (tenant_id, user_id, skill_id, created_at)",
        f"CREATE INDEX added ON ratings {columns}",
    )
    named = [finding.found.split()[0] for finding in bad(addresses)]
    assert named.count("added") == redundant
    assert "other" not in named  # a unique index enforces something


def test_of_two_equal_indexes_the_one_behind_a_constraint_stays(addresses: Addresses) -> None:
    change(
        addresses,
        "CREATE UNIQUE INDEX older ON ratings (tenant_id, comment)",
        "ALTER TABLE ratings ADD CONSTRAINT younger UNIQUE (tenant_id, comment)",
        "CREATE INDEX plain ON ratings (rating, id)",
        "CREATE INDEX same ON ratings (rating, id)",
        "CREATE INDEX narrow ON ratings (hours_saved_estimate)",
        "CREATE INDEX wide ON ratings (hours_saved_estimate) INCLUDE (rating)",
        # Each of these enforces something that the others do not.
        "CREATE UNIQUE INDEX stricter ON ratings (tenant_id, comment) NULLS NOT DISTINCT",
        "CREATE UNIQUE INDEX strict ON ratings (tenant_id, created_at)",
        "ALTER TABLE ratings ADD CONSTRAINT lax UNIQUE (tenant_id, created_at, updated_at)",
        "CREATE INDEX first ON ratings (tenant_id, updated_at)",
        "CREATE UNIQUE INDEX second ON ratings (tenant_id, updated_at)",
    )
    assert [finding.found for finding in bad(addresses)] == [
        "older is redundant: younger serves the same queries",
        "same is redundant: plain serves the same queries",
        "narrow is redundant: wide serves the same queries",
        "first is redundant: second serves the same queries",
    ]


def test_an_unused_index_of_a_large_busy_table_is_named_unless_its_comment_explains_it(addresses: Addresses) -> None:
    fill(addresses, doctor.LARGE)
    change(
        addresses,
        "CREATE INDEX useless ON usage_events (tool_name)",
        "CREATE UNIQUE INDEX forbids ON usage_events (tenant_id, tool_name, id)",
        "ANALYZE usage_events",
    )
    assert bad(addresses) == []  # no query has used it
    change(
        addresses,
        f"DO $$ BEGIN FOR n IN 1..{doctor.BUSY} LOOP "
        f"PERFORM FROM usage_events WHERE tenant_id = 'acme' AND id = '{UUID(int=0)}'; END LOOP; END $$",
    )
    named = [finding for finding in bad(addresses) if "useless" in finding.found]
    assert [(finding.check, finding.level) for finding in named] == [("unused indexes", "warning")]
    assert "forbids" not in str(bad(addresses))

    change(addresses, "COMMENT ON INDEX useless IS 'for the yearly report'")
    (explained,) = (finding for finding in examine(addresses) if "useless" in finding.found)
    assert explained.level == "ok"
    assert "for the yearly report" in explained.found


def test_dead_rows_and_old_statistics_of_a_large_table_are_named(addresses: Addresses) -> None:
    fill(addresses, 2 * doctor.LARGE)
    (stale,) = bad(addresses)
    assert (stale.check, stale.level) == ("tables", "warning")
    assert "usage_events: 100000 of its 100000 rows changed since it was analysed, never" in stale.found
    change(addresses, "SELECT pg_stat_reset()")
    (forgotten,) = bad(addresses)
    assert (forgotten.check, forgotten.found) == ("tables", "usage_events was never analysed: its plans are guesses")

    change(addresses, "ANALYZE usage_events")
    assert bad(addresses) == []

    rows(addresses.admin, "DELETE FROM usage_events WHERE ctid <= '(400, 0)' RETURNING id")
    change(addresses, "ANALYZE usage_events")
    (dead,) = bad(addresses)
    assert dead.check == "tables"
    assert "of its rows are dead, vacuumed never (limit 30 %)" in dead.found
    change(addresses, "VACUUM usage_events")
    assert bad(addresses) == []


def test_uses_that_nobody_folds_are_named(addresses: Addresses) -> None:
    change(
        addresses,
        "INSERT INTO tenants (id, name, slug) VALUES ('acme', 'Acme', 'acme')",
        "INSERT INTO pending_uses (tenant_id, day, tool_name, uses) "  # noqa: S608
        f"SELECT 'acme', '2026-01-01', 't', 1 FROM generate_series(1, {doctor.LARGE})",
    )
    change(addresses, "VACUUM (ANALYZE) pending_uses")
    (found,) = bad(addresses)
    assert (found.check, found.level) == ("tables", "warning")
    assert found.found == f"pending_uses has {doctor.LARGE} rows: reports of uses read all of them"
    assert "skilldb fold" in found.advice


@direct_only
@pytest.mark.skipif(bool(TEST_DSN), reason="takes most connections of the server, which others may need")
def test_a_server_that_runs_out_of_connections_is_named(addresses: Addresses) -> None:
    with ExitStack() as stack:
        while len(bad(addresses)) == 0:
            for _ in range(39):
                stack.enter_context(psycopg.connect(addresses.service))
        (found,) = bad(addresses)
        assert (found.check, found.level) == ("connections", "warning")


def test_the_queries_are_planned_and_not_run_and_leave_no_statement_behind(addresses: Addresses) -> None:
    before = contents(addresses.admin)
    with psycopg.connect(addresses.owner) as owner, psycopg.connect(addresses.service, autocommit=True) as service:
        service.execute("SET statement_timeout = '59s'")
        examined = doctor.Examined(
            schema="public",
            owner=owner,
            service=service,
            service_dsn=Secret(addresses.service),
            service_role="skilldb_service",
        )
        assert list(doctor._queries(examined)) == []
        assert service.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
        assert service.execute("SHOW plan_cache_mode").fetchall() == [("auto",)]
    assert contents(addresses.admin) == before


# Without a database to examine


def test_the_finding_for_an_empty_database_says_to_migrate(addresses: Addresses) -> None:
    list(migrate.rollback(addresses.owner, None))
    result = run()
    assert result.exit_code == 2
    lines = [line for line in result.output.splitlines() if not line.startswith("ok")]
    assert [line.split(":")[0].split(maxsplit=1) for line in lines] == [
        ["warning", "migrations"],
        ["failure", "tables"],
    ]
    assert all("skilldb migrate" in line for line in lines)


@pytest.mark.parametrize("name", ["SKILLDB_OWNER_DSN", "SKILLDB_DSN"])
def test_a_server_that_cannot_be_reached_is_one_line_with_what_to_do(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "host=/nowhere dbname=skilldb user=nobody password=secret")
    result = run()
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"failure connection: as the {'owner' if 'OWNER' in name else 'service'}: ")
    assert doctor.UNREACHABLE in line
    assert "secret" not in line
    (finding,) = json.loads(run("--json").output)
    assert finding["advice"] == doctor.UNREACHABLE


def test_a_missing_address_or_embedded_server_is_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKILLDB_DSN")
    assert (run().exit_code, "SKILLDB_DSN is not" in run().output) == (2, True)

    def start() -> embedded.Server:
        raise DatabaseUnavailableError("it does not start")

    monkeypatch.delenv("SKILLDB_OWNER_DSN")
    monkeypatch.setattr(embedded, "start", start)
    assert (run().exit_code, "it does not start" in run().output) == (2, True)


def test_two_addresses_of_two_databases_are_no_pair(addresses: Addresses) -> None:
    other = make_conninfo(addresses.service, dbname="postgres")
    found = list(doctor.examine(addresses.owner, other))
    assert [(finding.check, finding.level) for finding in found] == [("connection", "failure")]
    assert "; the service's postgres, number " in found[0].found


@pytest.mark.skipif(bool(TEST_DSN), reason="starts a server of its own, whose logins that one may not have")
def test_two_addresses_of_two_servers_are_no_pair_whatever_their_databases_are_called(
    addresses: Addresses, used: Path
) -> None:
    started = embedded.start(used)
    found = list(doctor.examine(started.owner_dsn, make_conninfo(addresses.service, dbname="skilldb")))
    assert [(finding.check, finding.level) for finding in found] == [("connection", "failure")]
