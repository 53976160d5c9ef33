"""Proves isolation between tenants from the catalogue and by attempts. Mutants prove that the tests notice faults."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import skilldb
from skilldb.admin.isolation import (
    STRUCTURE,
    Check,
    Conn,
    creators,
    foreign_keys,
    functions,
    opening,
    policies,
    privileges,
    roles,
    row_security,
    triggers,
    unique_keys,
)
from skilldb.query import Query
from skilldb.repositories import metrics, skills, tenants
from skilldb.statement import EXISTS, Reader, Statement
from tests.support import isolation
from tests.support.api import pool_of
from tests.support.functions import (
    FUNCTIONS,
    IDENTITY,
    Function,
    arguments,
    everything,
    naming,
)
from tests.support.isolation import (
    BEHAVIOUR,
    NEW,
    NOWHERE,
    PEER,
    A,
    B,
    closed_to_others,
    closed_without_tenant,
    shown_by_slug,
    undetected,
)
from tests.support.server import Addresses, Admin, created


@contextmanager
def database(admin: Admin, entrance: Admin, template: Any, name: str) -> Iterator[Addresses]:
    """A database for many tests. Each test undoes what it did."""
    dbname = f"{template.dbname}_{name}"
    with created(admin.dsn("postgres"), dbname, template.template_dbname):
        with psycopg.connect(admin.dsn(dbname), autocommit=True) as conn:
            # A copy of a database has privileges of its own, whatever the original has.
            conn.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(dbname)))
        yield admin.addresses(dbname, entrance)


@pytest.fixture(scope="module")
def kept(admin: Admin, entrance: Admin, template: Any) -> Iterator[Addresses]:
    with database(admin, entrance, template, "kept") as addresses:
        yield addresses


@pytest.fixture
def seeded(kept: Addresses) -> Addresses:
    """A database with exactly the rows of isolation.seed(), whatever the previous test did."""
    with psycopg.connect(kept.admin) as conn:
        isolation.seed(conn)
    return kept


# The checks.


@pytest.mark.parametrize("check", STRUCTURE, ids=lambda check: check.__name__)
def test_the_structure_isolates(either: Addresses, check: Check) -> None:
    with psycopg.connect(either.service) as conn:
        assert check(conn) == []


@pytest.mark.parametrize("check", BEHAVIOUR, ids=lambda check: check.__name__)
def test_the_behaviour_isolates(either: Addresses, check: Check) -> None:
    with psycopg.connect(either.admin) as conn:
        isolation.seed(conn)
    with psycopg.connect(either.service) as conn:
        assert check(conn) == []


def test_an_owner_without_bypassrls_sees_and_changes_one_organisation_at_a_time(subject: Addresses) -> None:
    """It lists the organisations, and is otherwise held by the policies, as the service is."""
    with psycopg.connect(subject.admin) as conn:
        isolation.seed(conn)
    with psycopg.connect(subject.owner, autocommit=True) as conn:
        tables = {table.name: table for table in isolation.tables(conn)}
        listed = tables.pop("tenants")
        count = sql.SQL("SELECT count(*), count(*) FILTER (WHERE {} = %s) FROM {}")
        for tenant, seen in ((None, (0, 0)), ("", (0, 0)), (A, (1, 1)), (NOWHERE, (0, 0))):
            if tenant is not None:
                conn.execute("SELECT set_config('app.current_tenant_id', %s, false)", [tenant])
            for name, table in tables.items():
                query = count.format(sql.Identifier(table.tenant_column), table.identifier)
                assert (name, conn.execute(query, [A]).fetchone()) == (name, seen)
                others = sql.SQL("DELETE FROM {} WHERE {} <> %(a)s").format(
                    table.identifier, sql.Identifier(table.tenant_column)
                )
                assert isolation.attempt(conn, others, {"a": A}).rowcount == 0
                values = isolation.row(table, tenant=B, id=NEW, parent=B)
                assert isolation.attempt(conn, isolation.insertion(table, values), values).sqlstate == "42501", name
            assert conn.execute(sql.SQL("SELECT count(*) FROM {}").format(listed.identifier)).fetchone() == (3,)
        conn.execute("SET row_security = off")
        for table in tables.values():
            read = isolation.attempt(conn, sql.SQL("SELECT FROM {}").format(table.identifier))
            assert read.sqlstate == "42501", table.name
            assert "query would be affected by row-level security policy" in read.text
        # FORCE is what holds the owner.
        conn.execute("SET row_security = on")
        conn.execute("SELECT set_config('app.current_tenant_id', '', false)")
        conn.execute("ALTER TABLE ratings NO FORCE ROW LEVEL SECURITY")
        assert conn.execute("SELECT count(*) FROM ratings").fetchone() == (4,)


def test_deleting_all_of_a_tenant_leaves_the_rows_of_the_same_ids_of_another(seeded: Addresses) -> None:
    with psycopg.connect(seeded.admin) as admin, psycopg.connect(seeded.service) as conn:
        before = isolation.rows_of(admin, B)
        conn.execute("SELECT set_config('app.current_tenant_id', %s, false)", [A])
        # Delete a row only when no other row refers to it.
        tables = isolation.tables(conn)
        for table in tables * len(tables):
            isolation.delete_all(conn, table)
        conn.commit()
        admin.commit()
        assert not any(isolation.rows_of(admin, A).values())
        assert isolation.rows_of(admin, B) == before
        assert all(before.values())


# Errors of the repositories.


def ids_of(function: Function) -> list[str]:
    """The paths of the function's ids: `skill_id`, `event.skill_id`."""
    paths: list[str] = []

    def note(path: str) -> str:
        paths.append(path)
        return A

    arguments(function, naming(note))
    return paths


def outcome(tenant: skilldb.Tenant, function: Function, own: str, other: str, others: Iterable[str], free: str) -> str:
    """The result or error of a call as text, with times and ids masked."""

    def choose(path: str) -> str:
        if path in others:
            return other
        return free if path.rpartition(".")[2] in IDENTITY else own

    try:
        text = repr(_timeless(tenant.execute(function(**arguments(function, naming(choose))))))
    except skilldb.SkilldbError as error:
        text = everything(error)
    text = text.replace(own, "<own>").replace(other, "<other>")
    return re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<new>", text)


def _timeless(value: Any) -> Any:
    if isinstance(value, datetime):
        return "<time>"
    if is_dataclass(value):
        return type(value).__name__, {field.name: _timeless(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_timeless(item) for item in value]
    return value


def test_the_functions_of_the_repositories_are_found() -> None:
    assert {"skills.get_skill", "usage.record_usage_events", "users.delete_user"} <= FUNCTIONS.keys()
    assert ids_of(FUNCTIONS["usage.record_usage_events"]) == ["events.skill_id", "events.user_id", "events.id"]


# The slug of an organisation is unique among all: docs/tenancy.md says so.
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "tenants.update_tenant"])
def test_an_id_of_another_tenant_gives_the_outcome_of_a_missing_one(seeded: Addresses, name: str) -> None:
    function = FUNCTIONS[name]
    paths = ids_of(function)
    with skilldb.connect(seeded.service) as db, psycopg.connect(seeded.admin, autocommit=True) as admin:
        a, peer, b = db.tenant(A), db.tenant(PEER), db.tenant(B)
        for tenant in (a, peer, b):
            tenant.execute(metrics.repair_metrics(tenant.id))
        before = isolation.rows_of(admin, B)
        # A and PEER have the same rows. Each call runs for both, so their rows stay equal.
        free = (f"00000000-0000-4000-8000-{n:012}" for n in itertools.count())
        for others in dict.fromkeys([*((path,) for path in paths), tuple(paths)]):
            new = next(free)
            of_another = outcome(a, function, A, B, others, new)
            missing = outcome(peer, function, PEER, NOWHERE, others, new)
            assert of_another == missing, others
        control = outcome(a, function, A, B, (), next(free))
        # The arguments are valid, so the comparison above is about the ids.
        # Each table has one row of A, and no skill can be merged into itself.
        assert "InvalidValueError" not in control or name == "skills.merge_skills"
        assert "<other>" not in control
        assert isolation.rows_of(admin, B) == before
        assert all(before.values())


# The setting lasts as long as its transaction.


def _asked(text: bytes) -> Statement[tuple[int, str]]:
    return Statement(Reader(EXISTS.rows, lambda rows: rows[0]), Query("test", text, {})())


# A finished transaction leaves the setting as the empty string; before the first it is NULL.
BACKEND = b"SELECT pg_backend_pid(), coalesce(current_setting('app.current_tenant_id', true), '')"


class OneConnection(Protocol):
    """A Database with a single connection, blocking or async."""

    def execute(self, *statements: Statement[Any]) -> Any: ...
    def transaction(self, *statements: Statement[Any], error: Exception | None = None) -> Any: ...
    def idle(self) -> tuple[int, str]:
        """The server process of the connection in the pool, and its tenant setting."""


class Blocking:
    def __init__(self, db: skilldb.Database) -> None:
        self._db = db
        self._tenant = db.tenant("acme")

    def execute(self, *statements: Statement[Any]) -> Any:
        return self._tenant.execute(*statements)

    def transaction(self, *statements: Statement[Any], error: Exception | None = None) -> Any:
        with self._tenant.transaction() as tx:
            answers = [tx.execute(statement) for statement in statements]
            if error is not None:
                raise error
        return answers

    def idle(self) -> tuple[int, str]:
        with pool_of(self._db).connection() as conn:
            pid, setting = conn.execute(BACKEND).fetchall()[0]
            return pid, setting


class Async:
    def __init__(self, db: skilldb.AsyncDatabase, run: Callable[..., Any]) -> None:
        self._db = db
        self._run = run
        self._tenant = db.tenant("acme")

    def execute(self, *statements: Statement[Any]) -> Any:
        return self._run(self._tenant.execute(*statements))

    def transaction(self, *statements: Statement[Any], error: Exception | None = None) -> Any:
        async def run() -> Any:
            async with self._tenant.transaction() as tx:
                answers = [await tx.execute(statement) for statement in statements]
                if error is not None:
                    raise error
            return answers

        return self._run(run())

    def idle(self) -> tuple[int, str]:
        async def run() -> tuple[int, str]:
            async with pool_of(self._db).connection() as conn:
                pid, setting = (await (await conn.execute(BACKEND)).fetchall())[0]
                return pid, setting

        found: tuple[int, str] = self._run(run())
        return found


@pytest.fixture(params=["blocking", "async"])
def one_connection(request: pytest.FixtureRequest, addresses: Addresses) -> Iterator[OneConnection]:
    if request.param == "blocking":
        with skilldb.connect(addresses.service, max_size=1) as db:
            yield Blocking(db)
    else:
        with asyncio.Runner() as runner:
            opened = skilldb.connect_async(addresses.service, max_size=1)
            runner.run(opened.open())
            yield Async(opened, runner.run)
            runner.run(opened.close())


def test_the_setting_is_gone_after_an_execute(one_connection: OneConnection) -> None:
    process, _ = one_connection.idle()
    assert one_connection.execute(_asked(BACKEND)) == (process, "acme")
    assert one_connection.idle() == (process, "")


def test_the_setting_is_gone_after_an_execute_that_failed(one_connection: OneConnection) -> None:
    process, _ = one_connection.idle()
    with pytest.raises(skilldb.NotFoundError):
        one_connection.execute(tenants.create_tenant("Acme", "acme"), metrics.increment_skill_uses("missing"))
    assert one_connection.idle() == (process, "")
    assert one_connection.execute(tenants.get_tenant()) is None


def test_the_setting_is_gone_after_a_transaction_was_committed(one_connection: OneConnection) -> None:
    process, _ = one_connection.idle()
    found = one_connection.transaction(_asked(BACKEND), skills.get_skill("missing"), _asked(BACKEND))
    assert found == [(process, "acme"), None, (process, "acme")]
    assert one_connection.idle() == (process, "")


def test_the_setting_is_gone_after_a_transaction_was_rolled_back(one_connection: OneConnection) -> None:
    process, _ = one_connection.idle()
    with pytest.raises(ZeroDivisionError):
        one_connection.transaction(_asked(BACKEND), error=ZeroDivisionError())
    assert one_connection.idle() == (process, "")


def test_the_setting_is_gone_after_a_transaction_that_failed(one_connection: OneConnection) -> None:
    process, _ = one_connection.idle()
    with pytest.raises(skilldb.NotFoundError):
        one_connection.transaction(_asked(BACKEND), metrics.increment_skill_uses("missing"))
    assert one_connection.idle() == (process, "")


# The checks notice faults.


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One protection that the superuser removes or weakens. Each of `checks` must report it and name `on`."""

    sql: str
    on: str
    caught_by: tuple[Check, ...]
    since: int = 15


BY_SLUG = "slug = current_setting('app.current_tenant_slug', true)"
PREDICATE = "tenant_id = current_setting('app.current_tenant_id', true)"


def mutant(on: str, sql: str, *caught_by: Check, since: int = 15) -> Any:
    """`on`: the table, role or other object that is changed. It replaces {on} in the SQL."""
    sql = sql.replace("{on}", on).replace("{tenant}", PREDICATE).replace("{slug}", BY_SLUG)
    return pytest.param(Mutant(sql=sql, on=on, caught_by=caught_by, since=since), id=sql[:90])


def both(change: str) -> str:
    """The change to both policies."""
    return f"ALTER POLICY tenant_isolation ON {{on}} {change}; ALTER POLICY tenant_access ON {{on}} {change}"


def again(policy: str) -> str:
    """Replace the policy by one with the same predicate."""
    name = policy.split()[0]
    return (
        f"DROP POLICY {name} ON {{on}};"
        f" CREATE POLICY {policy.replace(name, f'{name} ON {{on}}', 1)} USING ({{tenant}}) WITH CHECK ({{tenant}})"
    )


MUTANTS = [
    # Row-level security.
    mutant(
        "skills", "ALTER TABLE {on} DISABLE ROW LEVEL SECURITY", row_security, closed_without_tenant, closed_to_others
    ),
    mutant(
        "tenants", "ALTER TABLE {on} DISABLE ROW LEVEL SECURITY", row_security, closed_without_tenant, closed_to_others
    ),
    mutant("ratings", "ALTER TABLE {on} NO FORCE ROW LEVEL SECURITY", row_security),
    mutant("benchmark_results", "ALTER TABLE {on} NO FORCE ROW LEVEL SECURITY", row_security),
    # Policies.
    mutant("users", "DROP POLICY tenant_isolation ON {on}", policies),
    mutant("usage_events", "DROP POLICY tenant_access ON {on}", policies, closed_to_others),
    mutant("tenants", "DROP POLICY tenant_isolation ON {on}", policies),
    mutant("skill_feedback", "ALTER POLICY tenant_isolation ON {on} USING (true)", policies),
    mutant("token_measurements", "ALTER POLICY tenant_isolation ON {on} WITH CHECK (true)", policies),
    mutant("benchmark_runs", "ALTER POLICY tenant_access ON {on} USING (true)", policies),
    mutant("benchmark_results", "ALTER POLICY tenant_access ON {on} WITH CHECK (true)", policies),
    mutant("user_skill_views", both("USING (true)"), policies, closed_without_tenant, closed_to_others),
    mutant("ratings", both("WITH CHECK (true)"), policies, closed_without_tenant, closed_to_others),
    mutant("tenants", both("USING (is_active)"), policies, closed_without_tenant, closed_to_others),
    mutant("skills", again("tenant_isolation AS PERMISSIVE"), policies),
    mutant("users", again("tenant_access AS RESTRICTIVE"), policies, closed_to_others),
    mutant("skill_versions", again("tenant_isolation AS RESTRICTIVE TO skilldb_owner"), policies),
    mutant(
        "usage_events",
        "DROP POLICY tenant_isolation ON {on};"
        " CREATE POLICY tenant_isolation ON {on} AS RESTRICTIVE FOR SELECT USING ({tenant})",
        policies,
    ),
    mutant("skill_feedback", "CREATE POLICY all_rows ON {on} USING (true)", policies),
    mutant("token_measurements", "CREATE POLICY own_rows ON {on} FOR DELETE USING ({tenant})", policies),
    mutant("benchmark_runs", "ALTER POLICY tenant_isolation ON {on} USING ({tenant} OR tenant_id IS NULL)", policies),
    mutant(
        "benchmark_results",
        both("USING ({tenant} OR current_setting('app.current_tenant_id', true) = '')"),
        policies,
        closed_without_tenant,
    ),
    mutant(
        "user_skill_views",
        both("USING ({tenant} OR current_setting('app.current_tenant_id', true) IS NULL)"),
        policies,
        closed_without_tenant,
    ),
    mutant("ratings", both("USING (tenant_id = current_setting('app.tenant', true))"), policies, closed_to_others),
    mutant("users", both("USING (tenant_id ^@ current_setting('app.current_tenant_id', true))"), policies),
    mutant("skills", "ALTER POLICY tenant_access ON {on} RENAME TO tenant_access_2", policies),
    # The policies that show the row of a slug.
    mutant("tenants", "DROP POLICY tenant_by_slug ON {on}", policies, shown_by_slug),
    mutant("tenants", "ALTER POLICY tenant_by_slug ON {on} USING (true)", policies),
    mutant(
        "tenants",
        "ALTER POLICY tenant_by_slug ON {on} USING (true); ALTER POLICY tenant_isolation ON {on} USING (true)",
        policies,
        closed_without_tenant,
        shown_by_slug,
    ),
    mutant(
        "tenants",
        "DROP POLICY tenant_by_slug ON {on}; CREATE POLICY tenant_by_slug ON {on} USING ({slug})",
        policies,
    ),
    mutant(
        "tenants",
        "DROP POLICY tenant_by_slug ON {on}; CREATE POLICY tenant_by_slug ON {on} USING ({slug});"
        " DROP POLICY tenant_isolation_delete ON {on}",
        policies,
        shown_by_slug,
    ),
    mutant(
        "tenants",
        "DROP POLICY tenant_by_slug ON {on}; CREATE POLICY tenant_by_slug ON {on} USING ({slug});"
        " DROP POLICY tenant_isolation_update ON {on}",
        policies,
        shown_by_slug,
    ),
    mutant(
        "tenants",
        "DROP POLICY tenant_by_slug ON {on}; CREATE POLICY tenant_by_slug ON {on} USING ({slug});"
        " DROP POLICY tenant_isolation_insert ON {on}",
        policies,
        shown_by_slug,
    ),
    mutant(
        "tenants",
        "ALTER POLICY tenant_by_slug ON {on} USING (slug ^@ current_setting('app.current_tenant_slug', true));"
        " ALTER POLICY tenant_isolation ON {on} USING (true)",
        policies,
        shown_by_slug,
    ),
    mutant(
        "skills",
        "CREATE POLICY by_slug ON {on} FOR SELECT USING ({slug}); "
        "ALTER POLICY tenant_isolation ON {on} USING ({tenant} OR {slug})",
        policies,
        shown_by_slug,
    ),
    # Foreign keys.
    mutant(
        "ratings",
        "CREATE UNIQUE INDEX users_alone ON users (id); ALTER TABLE {on} DROP CONSTRAINT ratings_user_fk,"
        " ADD CONSTRAINT ratings_user_fk FOREIGN KEY (user_id) REFERENCES users (id)",
        foreign_keys,
        undetected,
    ),
    mutant(
        "skill_feedback",
        "CREATE UNIQUE INDEX versions_alone ON skill_versions (id);"
        " ALTER TABLE {on} DROP CONSTRAINT skill_feedback_skill_version_fk,"
        " ADD CONSTRAINT skill_feedback_skill_version_fk FOREIGN KEY (skill_version_id) REFERENCES skill_versions (id)",
        foreign_keys,
        undetected,
    ),
    mutant(
        "skills",
        "ALTER TABLE {on} DROP CONSTRAINT skills_author_fk,"
        " ADD CONSTRAINT skills_author_fk FOREIGN KEY (author_id, tenant_id) REFERENCES users (tenant_id, id)",
        foreign_keys,
    ),
    mutant(
        "benchmark_results",
        "ALTER TABLE {on} DROP CONSTRAINT benchmark_results_run_fk, ADD CONSTRAINT benchmark_results_run_fk"
        " FOREIGN KEY (tenant_id, benchmark_run_id) REFERENCES benchmark_runs (tenant_id, id) NOT VALID",
        foreign_keys,
    ),
    mutant("users", "ALTER TABLE {on} DROP CONSTRAINT users_tenant_fk", foreign_keys),
    mutant(
        "probe",
        "CREATE UNIQUE INDEX skills_alone ON skills (id); CREATE TABLE {on} (skill_id TEXT REFERENCES skills (id))",
        foreign_keys,
    ),
    mutant("user_skill_views", "ALTER TABLE {on} DISABLE TRIGGER ALL", triggers, undetected),
    # Unique keys.
    mutant("users", "CREATE UNIQUE INDEX ON {on} (email)", unique_keys, undetected),
    mutant("usage_events", "ALTER TABLE {on} ADD CONSTRAINT usage_events_id_key UNIQUE (id)", unique_keys, undetected),
    mutant("skills", "CREATE UNIQUE INDEX ON {on} (slug) INCLUDE (tenant_id)", unique_keys, undetected),
    mutant("benchmark_runs", "CREATE UNIQUE INDEX ON {on} (lower(id))", unique_keys, undetected),
    mutant("ratings", "ALTER TABLE {on} ADD EXCLUDE USING btree (user_id WITH =)", unique_keys, undetected),
    mutant("token_measurements", "ALTER TABLE {on} DROP CONSTRAINT token_measurements_pkey", unique_keys),
    # Triggers and rules.
    mutant(
        "skills",
        "CREATE TRIGGER noted BEFORE UPDATE ON {on} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        triggers,
    ),
    mutant("ratings", "CREATE RULE copied AS ON DELETE TO {on} DO ALSO SELECT id FROM skills", triggers),
    # Grants.
    mutant("skills", "GRANT TRUNCATE ON {on} TO skilldb_app", privileges),
    mutant("user_skill_views", "GRANT TRUNCATE ON {on} TO skilldb_app", privileges, closed_to_others),
    mutant("users", "GRANT REFERENCES ON {on} TO skilldb_app", privileges),
    mutant("usage_events", "GRANT REFERENCES (id) ON {on} TO skilldb_app", privileges),
    mutant("ratings", "GRANT TRIGGER ON {on} TO skilldb_app", privileges),
    mutant("skill_feedback", "GRANT MAINTAIN ON {on} TO skilldb_app", privileges, since=17),
    mutant("usage_events", "GRANT UPDATE (tenant_id) ON {on} TO skilldb_app", privileges),
    mutant("benchmark_runs", "GRANT UPDATE (id) ON {on} TO skilldb_app", privileges, closed_to_others),
    mutant("skills", "GRANT UPDATE (created_at) ON {on} TO skilldb_app", privileges),
    mutant("token_measurements", "GRANT UPDATE ON {on} TO skilldb_app", privileges),
    mutant("skill_versions", "GRANT UPDATE (content_hash) ON {on} TO skilldb_app", privileges),
    mutant("skill_versions", "GRANT UPDATE ON {on} TO skilldb_app", privileges),
    mutant("skill_versions", "GRANT DELETE ON {on} TO skilldb_app", privileges),
    mutant("skills", "GRANT INSERT ON {on} TO skilldb_app", privileges),
    mutant("skills", "GRANT INSERT (average_rating) ON {on} TO skilldb_app", privileges),
    mutant("benchmark_results", "GRANT SELECT ON {on} TO PUBLIC", privileges),
    mutant("users", "GRANT SELECT (email) ON {on} TO PUBLIC", privileges),
    mutant("ratings", "GRANT DELETE ON {on} TO skilldb_app WITH GRANT OPTION", privileges),
    mutant("tenants", "GRANT UPDATE (name) ON {on} TO skilldb_service", privileges),
    mutant("_yoyo_log", "GRANT SELECT ON {on} TO skilldb_app", privileges),
    mutant("public", "GRANT CREATE ON SCHEMA {on} TO skilldb_app", privileges, creators),
    mutant("public", "GRANT CREATE ON SCHEMA {on} TO pg_monitor", creators),
    mutant(
        "CREATE",
        "DO $$ BEGIN EXECUTE format('GRANT {on} ON DATABASE %I TO pg_monitor', current_database()); END $$",
        creators,
    ),
    mutant(
        "backup",
        "CREATE SCHEMA {on}; CREATE TABLE {on}.skills AS TABLE skills; GRANT USAGE ON SCHEMA {on} TO skilldb_app;"
        "GRANT SELECT ON {on}.skills TO skilldb_app",
        privileges,
    ),
    mutant(
        "shown",
        "CREATE SCHEMA {on}; CREATE TABLE {on}.skills AS TABLE skills; GRANT USAGE ON SCHEMA {on} TO skilldb_app;"
        "ALTER TABLE {on}.skills ENABLE ROW LEVEL SECURITY; CREATE POLICY every ON {on}.skills USING (true);"
        "GRANT SELECT ON {on}.skills TO skilldb_app",
        privileges,
    ),
    mutant(
        "TEMPORARY",
        "DO $$ BEGIN EXECUTE format('GRANT {on} ON DATABASE %I TO PUBLIC', current_database()); END $$",
        privileges,
    ),
    mutant("raise_not_found", "GRANT EXECUTE ON FUNCTION {on} TO PUBLIC", privileges),
    mutant("default", "ALTER {on} PRIVILEGES GRANT SELECT ON TABLES TO skilldb_app", privileges),
    mutant("session_replication_role", "GRANT SET ON PARAMETER {on} TO skilldb_app", privileges),
    # New objects.
    mutant(
        "notes",
        "CREATE TABLE {on} (tenant_id TEXT, id TEXT, PRIMARY KEY (tenant_id, id))",
        row_security,
        policies,
        foreign_keys,
    ),
    mutant(
        "notes",
        "CREATE TABLE {on} (LIKE ratings INCLUDING ALL); GRANT SELECT, INSERT ON {on} TO skilldb_app;"
        " ALTER TABLE {on} ENABLE ROW LEVEL SECURITY; ALTER TABLE {on} FORCE ROW LEVEL SECURITY;"
        " CREATE POLICY tenant_access ON {on} USING ({tenant})",
        policies,
        foreign_keys,
        closed_to_others,
    ),
    mutant(
        "skills_archive",
        "CREATE TABLE {on} () INHERITS (skills); GRANT SELECT, INSERT ON {on} TO skilldb_app",
        row_security,
        policies,
        unique_keys,
        closed_without_tenant,
    ),
    mutant("prices", "CREATE TABLE {on} (model TEXT); GRANT SELECT ON {on} TO skilldb_app", privileges),
    mutant("all_skills", "CREATE VIEW {on} AS SELECT id FROM skills; GRANT SELECT ON {on} TO skilldb_app", privileges),
    mutant(
        "uses", "CREATE MATERIALIZED VIEW {on} AS SELECT id FROM skills; GRANT SELECT ON {on} TO PUBLIC", privileges
    ),
    mutant(
        "peek",
        "CREATE FUNCTION {on}() RETURNS BIGINT SECURITY DEFINER LANGUAGE SQL AS 'SELECT count(*) FROM users';"
        " REVOKE ALL ON FUNCTION {on} FROM PUBLIC; GRANT EXECUTE ON FUNCTION {on} TO skilldb_app",
        functions,
    ),
    mutant("raise_not_found", "ALTER FUNCTION {on} LEAKPROOF", functions),
    mutant("raise_not_found", "ALTER FUNCTION {on} SECURITY DEFINER", functions),
    mutant("tenants", "ALTER TABLE {on} DROP CONSTRAINT tenants_id_check", closed_without_tenant),
    # Roles.
    mutant("skilldb_owner", "GRANT {on} TO skilldb_app", roles, opening),
    mutant("skilldb_service", "ALTER ROLE {on} BYPASSRLS", roles, opening),
    mutant("skilldb_app", "ALTER ROLE {on} BYPASSRLS", roles, opening),
    mutant("skilldb_app", "ALTER ROLE {on} SUPERUSER", roles, opening),
    mutant("skilldb_app", "ALTER ROLE {on} LOGIN", roles),
    mutant("skilldb_service", "ALTER ROLE {on} CREATEROLE", roles),
    mutant("skilldb_app", "REVOKE {on} FROM skilldb_service", roles),
    mutant("pg_write_all_data", "GRANT {on} TO skilldb_service", roles),
    mutant("skilldb_service", "GRANT skilldb_app TO {on} WITH ADMIN OPTION", roles),
    mutant("skilldb_service", "ALTER ROLE {on} SET app.current_tenant_id = 'acme'", roles),
    mutant("skilldb_service", "ALTER ROLE {on} SET app.current_tenant_slug = 'acme'", roles),
    mutant("ratings", "ALTER TABLE {on} OWNER TO skilldb_app", roles, privileges),
    mutant(
        "tenants", "GRANT CREATE ON SCHEMA public TO skilldb_app; ALTER TABLE {on} OWNER TO skilldb_app", roles, opening
    ),
]


@pytest.fixture(scope="module")
def seeded_once(admin: Admin, entrance: Admin, template: Any) -> Iterator[str]:
    """The superuser's DSN of a database for all mutants. Each mutant is rolled back."""
    with database(admin, entrance, template, "mutants") as addresses:
        with psycopg.connect(addresses.admin) as conn:
            isolation.seed(conn, shared=False)
        yield addresses.admin


@contextmanager
def mutated(dsn: str, change: str) -> Iterator[Conn]:
    """Make the change, then yield the connection as the service role. Afterwards undo the change."""
    with psycopg.connect(dsn) as conn, conn.transaction(force_rollback=True):
        conn.execute(change.encode())
        conn.execute("SET LOCAL SESSION AUTHORIZATION skilldb_service")
        yield conn


@pytest.mark.parametrize("check", STRUCTURE + BEHAVIOUR, ids=lambda check: check.__name__)
def test_the_unchanged_database_is_found_sound(seeded_once: str, check: Check) -> None:
    with mutated(seeded_once, "SELECT") as conn:
        assert check(conn) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_weakened_isolation_is_caught(seeded_once: str, mutant: Mutant) -> None:
    with psycopg.connect(seeded_once) as conn:
        if conn.info.server_version < mutant.since * 10_000:
            pytest.skip(f"a privilege of PostgreSQL {mutant.since}")
    for check in mutant.caught_by:
        with mutated(seeded_once, mutant.sql) as conn:
            found = check(conn)
        assert any(re.search(rf"\b{mutant.on}\b", violation) for violation in found), (check.__name__, found)


# Unsafe roles.


@pytest.fixture(params=["blocking", "async"])
def opened(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Open a database and close it."""

    async def run(dsn: str) -> None:
        async with skilldb.connect_async(dsn) as db:
            await db.tenant("acme").execute(tenants.get_tenant())

    def open(dsn: str) -> None:
        if request.param == "async":
            asyncio.run(run(dsn))
        else:
            with skilldb.connect(dsn) as db:
                db.tenant("acme").execute(tenants.get_tenant())

    return open


@pytest.fixture
def unsafe_login(request: pytest.FixtureRequest, addresses: Addresses) -> Iterator[str]:
    """The DSN of a login created by the SQL of the parameter, in which {login} and {superuser} are names."""
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        login = f"{conn.info.dbname}_unsafe"
        conn.execute(request.param.format(login=login, superuser=conn.info.user).encode())
        yield make_conninfo(addresses.admin, user=login)
        conn.execute(f"DROP OWNED BY {login} CASCADE; DROP ROLE {login}".encode())


@pytest.mark.parametrize(
    "unsafe_login",
    [
        pytest.param("CREATE ROLE {login} LOGIN SUPERUSER", id="superuser"),
        pytest.param("CREATE ROLE {login} LOGIN BYPASSRLS IN ROLE skilldb_app", id="bypassrls"),
        pytest.param("CREATE ROLE {login} LOGIN NOINHERIT IN ROLE skilldb_owner", id="may set role to the owner"),
        pytest.param("CREATE ROLE {login} LOGIN NOINHERIT IN ROLE {superuser}", id="may set role to a superuser"),
        pytest.param(
            "CREATE ROLE {login} LOGIN IN ROLE skilldb_app; ALTER TABLE tenants OWNER TO {login}",
            id="owner of a table without FORCE",
        ),
        pytest.param(
            "CREATE ROLE {login} LOGIN; CREATE TABLE notes (tenant_id TEXT); ALTER TABLE notes OWNER TO {login}",
            id="owner of a table without row-level security",
        ),
    ],
    indirect=True,
)
def test_a_role_that_could_bypass_isolation_is_refused(unsafe_login: str, opened: Callable[[str], None]) -> None:
    with pytest.raises(skilldb.UnsafeRoleError):
        opened(unsafe_login)


def test_the_owner_is_refused(addresses: Addresses, opened: Callable[[str], None]) -> None:
    with pytest.raises(skilldb.UnsafeRoleError, match="skilldb_owner"):
        opened(addresses.owner)


def test_the_service_is_not_refused(addresses: Addresses, opened: Callable[[str], None]) -> None:
    opened(addresses.service)
