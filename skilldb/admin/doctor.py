"""The checks of `skilldb doctor`: whether a database is as it should be, and what to do if it is not."""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row

from skilldb import connection, database, guards, queries, repositories
from skilldb.admin import drift, explain, isolation, migrate, top
from skilldb.admin.isolation import Conn
from skilldb.errors import SkilldbError, UnsafeSchemaError, translate
from skilldb.query import Query
from skilldb.settings import NOTHING_TRUSTED, Secret, owner_search_path, schema_name, search_path

Level = Literal["ok", "warning", "failure"]

UNREACHABLE = (
    "check that the server runs, and that SKILLDB_OWNER_DSN and SKILLDB_DSN have the right host, port, user and "
    "database. If neither is set, start the embedded server: `make db-start` or `skilldb db-start`"
)

LARGE = 50_000
"""The number of rows from which a table's statistics, dead rows and unused indexes matter."""
BUSY = 1_000
"""After so many scans of a large table, an index that no scan used is reported as unused."""
STALE, DEAD, CONNECTIONS = 30, 30, 80
"""Percent: rows changed since ANALYZE, dead rows, connections in use. Autovacuum starts at 10 and 20."""
LOCK_TIMEOUT = 2
"""Seconds to wait for a lock. While we wait for it, everyone else queues behind us."""

_SQL = queries.load("admin/doctor")
_MIGRATE = queries.load("admin/migrate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report: the check, its level, what was found, and what to do (empty if nothing)."""

    check: str
    level: Level
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """The database: its schema, a connection as its owner, and one as the service, with the service's address."""

    schema: str
    owner: Conn
    service: Conn
    service_dsn: Secret
    service_role: str


Check = Callable[[Examined], Iterator[tuple[Level, str, str]]]
"""Yields the level, what was found, and what to do. It yields nothing if all is well."""


def examine(
    owner_dsn: str | Secret, service_dsn: str | Secret, *, schema: str | None = None, drift: bool = True
) -> Iterator[Finding]:
    """Every finding, check by check. A check that found nothing wrong yields one finding with the level ok.

    Changes nothing. `schema`: default SKILLDB_SCHEMA, else `public`. `drift`: also compare the counters with
    the rollups, ratings and feedback items, which reads every one of those rows.
    """
    schema = schema_name(schema)
    owner_dsn, service_dsn = Secret(owner_dsn), Secret(service_dsn)
    with ExitStack() as stack:
        who = "owner"
        try:
            owner = stack.enter_context(connection.connected(owner_dsn))
            who = "service"
            service = stack.enter_context(connection.connected(service_dsn))
        except SkilldbError as error:
            yield unreachable(error, f"as the {who}: ")
            return
        # No name may be looked up in the schema until it is known who may create objects there.
        with _serving(service, NOTHING_TRUSTED):
            ((_, _, service_role, database_of_service),) = service.execute(_SQL["get_server"].sql).fetchall()
        _set_session(owner, NOTHING_TRUSTED, local=False)
        ((name, version, role, database_of_owner),) = owner.execute(_SQL["get_server"].sql).fetchall()
        where = f"PostgreSQL {version}, database {name}, schema {schema}, owner {role}, service {service_role}"
        if database_of_owner != database_of_service:
            yield Finding(
                check="connection",
                level="failure",
                found=f"the owner's database is {database_of_owner}; the service's {database_of_service}",
                advice="set SKILLDB_OWNER_DSN and SKILLDB_DSN to the same database",
            )
            return
        yield Finding(check="connection", level="ok", found=where)
        examined = Examined(
            schema=schema, owner=owner, service=service, service_dsn=service_dsn, service_role=service_role
        )
        if_ok = "only trusted roles may create in the schema, or own objects in it"
        refused = [*_report("creation", _creation, if_ok, examined)]
        yield from refused
        if any(finding.level == "failure" for finding in refused):
            return
        _set_session(owner, owner_search_path(schema), local=False)
        try:
            yield from _report("migrations", _migrations, "all are applied, and no file was edited since", examined)
        except migrate.OldDatabaseError as error:
            # The only remedy is to recreate the database. Other findings would distract from it.
            yield Finding(check="migrations", level="failure", found=error.found, advice=error.advice)
            return
        try:
            isolation.tables(owner)
        except SkilldbError as error:
            yield Finding(check="tables", level="failure", found=str(error), advice="`skilldb migrate`")
            return
        for check, (if_ok, advice) in _ISOLATION.items():
            yield from _report(check.__name__.replace("_", " "), _isolated(check, advice), if_ok, examined)
        for check_name, run, if_ok in _CHECKS:
            yield from _report(check_name, run, if_ok, examined)
        if drift:
            yield from _report("drift", _drift, "every counter agrees with its rows", examined)


def _set_session(conn: Conn, search_path: str, *, local: bool) -> None:
    guards.pin(conn, search_path, local=local)
    # Planning waits for ALTER TABLE, and while it waits, everyone else queues behind it.
    conn.execute(f"SET {'LOCAL' if local else 'SESSION'} lock_timeout = '{LOCK_TIMEOUT}s'".encode())


@contextmanager
def _serving(service: Conn, search_path: str) -> Iterator[None]:
    """A transaction of the service with a pinned search_path. A setting that outlives it would leak behind a pooler."""
    with service.transaction():
        _set_session(service, search_path, local=True)
        yield


def unreachable(error: SkilldbError, who: str = "") -> Finding:
    """The finding that the server cannot be reached."""
    return Finding(check="connection", level="failure", found=f"{who}{error}", advice=UNREACHABLE)


def _report(name: str, check: Check, if_ok: str, examined: Examined) -> Iterator[Finding]:
    problems = 0
    try:
        for level, found, advice in check(examined):
            problems += 1
            yield Finding(check=name, level=level, found=found, advice=advice)
    except migrate.OldDatabaseError:
        raise
    except (SkilldbError, psycopg.Error) as error:
        problems += 1
        if isinstance(error.__cause__ or error, psycopg.errors.LockNotAvailable):
            reason = "; ".join(_locks(examined)) or "a table was locked, but no longer is"
            level, advice = "warning", "wait for that transaction or end it, then run `skilldb doctor` again"
        else:
            reason = str(translate(error, {}) if isinstance(error, psycopg.Error) else error)
            level, advice = "failure", "fix the reported error, then run `skilldb doctor` again"
        yield Finding(check=name, level=level, found=f"cannot be checked: {reason}", advice=advice)
    if not problems:
        yield Finding(check=name, level="ok", found=if_ok)


def _locks(examined: Examined) -> Iterator[str]:
    for table, granted, pid, since in examined.owner.execute(_SQL["list_locks"].sql).fetchall():
        locked = "is locked" if granted else "is about to be locked"
        yield f"{table} {locked} by process {pid}{f' since {since:%Y-%m-%d %H:%M:%S %Z}' if since else ''}"


# Who may create, roles, grants, isolation.


def _creation(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    """A role that may create in the schema can make the owner run its functions, so nothing else is examined then."""
    try:
        guards.refuse_on(examined.owner, examined.schema, owner=True)
    except UnsafeSchemaError as error:
        for reason, remedy in error.found:
            yield "failure", f"{reason}: it could replace what skilldb calls; nothing else was examined", remedy


_KEYS = "an owner without BYPASSRLS first takes FORCE ROW LEVEL SECURITY off both tables of the key, and puts it back"
"""PostgreSQL validates a key by a query. Under the policies it sees no rows, and accepts any key."""

# For each check: what holds if it finds nothing, and what to do if it finds something (as the owner unless it says so).
_ISOLATION: dict[isolation.Check, tuple[str, str]] = {
    isolation.opening: (
        "the service's role cannot bypass row-level security",
        "use a login for the service that is only a member of skilldb_app; skilldb refuses this one",
    ),
    isolation.roles: (
        "the service is a member of skilldb_app alone, has no attributes, and owns nothing",
        "as a superuser: ALTER ROLE ... to remove the attribute or setting, GRANT skilldb_app, REVOKE any other role, "
        "ALTER ... OWNER TO the owner",
    ),
    isolation.row_security: (
        "enabled on every table, and forced on all but tenants",
        "at once: ALTER TABLE ... ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    ),
    isolation.policies: (
        "each table has tenant_isolation and tenant_access with the tenant's predicate; tenants also shows, for SELECT "
        "alone, the row whose slug is named",
        "run: DROP POLICY for an unexpected policy, CREATE POLICY as in the table's migration for a missing one",
    ),
    isolation.foreign_keys: (
        "every foreign key stays within the organisation and is validated",
        "ALTER TABLE ... VALIDATE CONSTRAINT, or drop the key and add it with tenant_id first, as in migrations/; "
        f"{_KEYS}",
    ),
    isolation.unique_keys: (
        "every unique key is unique within an organisation",
        "DROP INDEX CONCURRENTLY, and create the key with tenant_id first",
    ),
    isolation.triggers: (
        "no triggers, no rules, and foreign keys are enforced",
        "DROP TRIGGER or DROP RULE; for a trigger that is off, as a superuser: ALTER TABLE ... ENABLE TRIGGER ALL",
    ),
    isolation.functions: (
        "no function that the service may call bypasses the policies",
        "ALTER FUNCTION ... SECURITY INVOKER NOT LEAKPROOF, or REVOKE EXECUTE",
    ),
    isolation.privileges: (
        "the service has no more privileges than its work needs",
        "REVOKE the privilege from the role that has it",
    ),
}


def _isolated(check: isolation.Check, advice: str) -> Check:
    def run(examined: Examined) -> Iterator[tuple[Level, str, str]]:
        with _serving(examined.service, owner_search_path(examined.schema)):
            problems = check(examined.service)
        for found in problems:
            yield "failure", found, advice

    return run


def _owner(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    """Which mode the owner works in, with BYPASSRLS or without, and whether all tables are its own."""
    role, bypasses, lists_tenants = examined.owner.execute(_MIGRATE["get_role"].sql).fetchall()[0]
    tables = [table.oid for table in isolation.tables(examined.owner)]
    foreign = examined.owner.execute(_SQL["list_foreign_owners"].sql, {"tables": tables}).fetchall()
    name = role if foreign else f"{role} owns every table and"
    if bypasses:
        yield "ok", f"{name} bypasses the policies: it sees all rows", ""
    elif lists_tenants:
        yield (
            "ok",
            f"{name} is subject to the policies (no BYPASSRLS): it sees one organisation's rows at a time. "
            "Back up as docs/operations.md says under Without BYPASSRLS",
            "",
        )
    else:
        yield (
            "failure",
            f"{role} cannot list the organisations: it has no BYPASSRLS and does not own the table tenants, or that "
            "table forces row-level security",
            "use the owner of the tables in SKILLDB_OWNER_DSN, or as that owner: "
            "ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY",
        )
    for table, owner in foreign:
        yield (
            "warning",
            f"{table} belongs to {owner}: {role} cannot migrate it",
            f"as a superuser: ALTER TABLE {table} OWNER TO {role}; or use {owner} in SKILLDB_OWNER_DSN",
        )


def _other_roles(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    """Roles other than the two connected ones that have access to the tables or bypass the policies."""
    tables = [table.oid for table in isolation.tables(examined.owner)]
    named = {"tables": tables, "service": examined.service_role}
    roles = examined.owner.execute(_SQL["list_other_roles"].sql, named).fetchall()
    for name, unsafe, powers, comment, trusted in roles:
        if unsafe:
            yield (
                "failure",
                f"{name} is a member of {isolation.APP} and has {', '.join(powers)}: it may bypass the policies",
                f"as a superuser: REVOKE {isolation.APP} FROM {name}, or remove what it has beside that "
                "(ALTER ROLE ... NOBYPASSRLS, REVOKE of the other role)",
            )
        elif comment:
            yield "ok", f"{name} has {', '.join(powers)}; its comment says why: {comment}", ""
        elif trusted:
            yield "ok", f"{name} has {', '.join(powers)}; the schema's comment trusts it", ""
        else:
            yield (
                "warning",
                f"{name} has {', '.join(powers)}",
                f"REVOKE it (a service needs only {isolation.APP}); if it is intended, say why: COMMENT ON ROLE {name}",
            )


def _queries(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    """Plan each of the service's queries without running it. Planning needs its tables, columns, functions and grants.

    Queries that fail for the same reason are one finding.
    """
    conn = examined.service
    files = [module.name for module in pkgutil.iter_modules(repositories.__path__)]
    failed: dict[tuple[str, str], list[str]] = {}
    locked = None
    with conn.transaction(force_rollback=True):
        conn.execute(_SQL["set_generic_plans"].sql)
        _set_session(conn, search_path(examined.schema), local=True)
        asked = {f"{file}.{name}": query for file in [*files, "locks"] for name, query in queries.load(file).items()}
        for name, query in asked.items():
            if not explain.has_plan(query):
                continue
            try:
                _plan(conn, query)
            except psycopg.errors.LockNotAvailable as error:
                locked = error
                break  # The other queries may wait for the same lock.
            except psycopg.Error as error:
                failed.setdefault(_cause(error), []).append(name)
    for (reason, advice), (first, *more) in failed.items():
        yield "failure", f"{first}{f' and {len(more)} more' if more else ''}: {reason}", advice
    if locked:
        raise locked


def _cause(error: psycopg.Error) -> tuple[str, str]:
    """Why a query cannot be planned, in the same words for every query with that cause, and what to do."""
    message = error.diag.message_primary or str(error)
    if not isinstance(error, psycopg.errors.InsufficientPrivilege):
        return str(translate(error, {})), "`skilldb migrate`"
    return message, "GRANT it to skilldb_app, as the table's migration does"


def _plan(conn: Conn, query: Query) -> None:
    nothing = f"({', '.join(['NULL'] * len(query.types))})" if query.types else ""
    with conn.transaction():
        conn.execute(b"PREPARE skilldb_doctor AS " + query.numbered)
    try:
        with conn.transaction():
            conn.execute(f"EXPLAIN EXECUTE skilldb_doctor {nothing}".encode())
    finally:
        conn.execute("DEALLOCATE skilldb_doctor")  # A rollback would keep the statement, and so would a pooler.


# Migrations.


def _migrations(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    states = migrate.status_on(examined.owner)
    if pending := [found.id for found in states if found.state == "pending"]:
        yield "warning", f"{len(pending)} pending, the first {pending[0]}", "`skilldb migrate`"
    for found in states:
        if found.state == "unverified":
            advice = "compare its file with the database; the definitions check does part of that"
            yield "warning", f"{found.id} is applied, but no checksum of its file was recorded then", advice
        elif found.state not in ("applied", "pending"):
            yield (
                "failure",
                f"{found.id} is {found.state}: its file is not the one that was applied",
                "restore the file, or install the version of skilldb that applied it; write changes as new migrations",
            )
    if any(found.state != "pending" for found in states):
        for pid, since, *_ in examined.owner.execute(_MIGRATE["get_lock"].sql).fetchall():
            yield (
                "warning",
                f"process {pid} holds the migration lock since {since:%Y-%m-%d %H:%M:%S %Z}",
                "wait for that run; if it has crashed, run `skilldb unlock`",
            )


# What the migrations make.


def definitions(conn: Conn) -> dict[str, str]:
    """The definition of each column, constraint, index, domain and SQL function, by its kind and name, in order."""
    return dict(conn.execute(_SQL["list_definitions"].sql).fetchall())


def expected_definitions() -> dict[str, str]:
    """The definitions of a database with every migration applied, from the file that `make schema` writes."""
    lines = (queries.folder("sql") / "admin/definitions.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def _definitions(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    """Compare with the expected definitions. Objects that an operator has added are no fault."""
    if any(found.state != "applied" for found in migrate.status_on(examined.owner)):
        yield "ok", "not compared: some migrations are pending or edited", ""
        return
    actual = definitions(examined.owner)
    for name, expected in expected_definitions().items():
        advice = _MAKE_AGAIN[name.split()[0]]
        if name not in actual:
            yield "failure", f"{name} is missing: expected {expected}", advice
        elif actual[name] != expected:
            yield "failure", f"{name} differs: expected {expected}, found {actual[name]}", advice


_MAKE_AGAIN = {
    "column": "ALTER TABLE ... ALTER ... TYPE, SET or DROP NOT NULL, SET or DROP DEFAULT, or ADD COLUMN, as expected",
    "constraint": "ALTER TABLE ... DROP the constraint that differs, then ADD CONSTRAINT as expected; add a key or "
    f"check NOT VALID and then VALIDATE CONSTRAINT, so that nobody waits; {_KEYS}",
    "index": "DROP INDEX CONCURRENTLY the index that differs, then create it as expected, CONCURRENTLY",
    "domain": "ALTER DOMAIN ... DROP CONSTRAINT the one that differs, then ADD CONSTRAINT as expected",
    "function": "CREATE OR REPLACE FUNCTION as in migrations/, then `skilldb check`",
}


# Indexes.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    table_name: str
    name: str
    usable: bool
    built_by: int | None
    enforces: bool
    scans: int
    table_scans: int
    table_rows: int
    comment: str | None
    counted_since: datetime | None


def _indexes(examined: Examined) -> list[_Index]:
    return examined.owner.cursor(row_factory=class_row(_Index)).execute(_SQL["list_indexes"].sql).fetchall()


def _invalid(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    for index in _indexes(examined):
        if index.built_by is not None:
            yield "warning", f"{index.name} is being built by process {index.built_by}", "wait for it"
        elif not index.usable:
            yield (
                "failure",
                f"{index.name} on {index.table_name} is invalid: it slows writes, and no query can use it",
                f"DROP INDEX CONCURRENTLY {index.name}, remove the cause of the failure (duplicates, for a unique "
                "index), and create it again",
            )


def _redundant(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    for name, other in examined.owner.execute(_SQL["list_redundant_indexes"].sql).fetchall():
        advice = f"DROP INDEX CONCURRENTLY {name}; if a migration created it, drop it in a new migration"
        yield "warning", f"{name} is redundant: {other} serves the same queries", advice


def _unused(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    for index in _indexes(examined):
        if index.scans or index.enforces or index.table_rows < LARGE or index.table_scans < BUSY:
            continue
        since = f"{index.counted_since:%Y-%m-%d}" if index.counted_since else "the statistics began"
        found = f"{index.name}: not one of {index.table_scans} scans of {index.table_name} used it since {since}"
        if index.comment:
            yield "ok", f"{found}; its comment says why it is there: {index.comment}", ""
        else:
            yield (
                "warning",
                found,
                "if that time covers all kinds of work, also on standby servers, drop it in a new migration; "
                "else say why it stays with COMMENT ON INDEX",
            )


# Work and settings.


def _drift(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    organisations = [id for id, _ in drift.tenants_on(examined.owner)]
    with database.connect(
        examined.service_dsn,
        schema=examined.schema,
        statement_timeout=0,
        lock_timeout=LOCK_TIMEOUT,
        application_name="skilldb doctor",
    ) as db:
        counted = Counter(id for id, _ in drift.check(map(db.tenant, organisations)))
    for id, count in counted.items():
        found = f"organisation {id}: {count} counters differ from their rows"
        yield "failure", found, "`skilldb check` lists them, `skilldb check --repair` repairs them"


def _tables(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    rows = examined.owner.execute(_SQL["list_large_tables"].sql, {"least": LARGE}).fetchall()
    for (table,) in examined.owner.execute(_SQL["list_unlogged_tables"].sql).fetchall():
        advice = f"ALTER TABLE {table} SET LOGGED (it rewrites the table, and blocks reads and writes meanwhile)"
        yield "failure", f"{table} is unlogged: a crash empties it, and no standby has its rows", advice
    for (name,) in examined.owner.execute(_SQL["list_switched_off"].sql).fetchall():
        advice = f"as a superuser: ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()"
        yield "warning", f"{name} is off: dead rows stay, and plans use old statistics", advice
    for table, live, dead, changed, vacuumed_at, analysed_at, never_analysed in rows:
        if table == "pending_uses" and live >= LARGE:
            found = f"pending_uses has {live} rows: reports of uses read all of them"
            yield "warning", found, "`skilldb fold`, and run it every minute"
        if never_analysed and not changed:  # Changed rows are reported below; a crash or a reset loses their number.
            yield "warning", f"{table} was never analysed: its plans are guesses", f"ANALYZE {table}"
        if dead * 100 > DEAD * (live + dead):
            found = f"{table}: {dead * 100 // (live + dead)} % of its rows are dead, vacuumed {_at(vacuumed_at)}"
            advice = f"VACUUM {table}; look for old transactions in pg_stat_activity, and run autovacuum more often"
            yield "warning", f"{found} (limit {DEAD} %)", advice
        if changed * 100 > STALE * live:
            found = f"{table}: {changed} of its {live} rows changed since it was analysed, {_at(analysed_at)}"
            yield "warning", f"{found} (limit {STALE} %)", f"ANALYZE {table}; check that autovacuum is on"


def _at(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M %Z}" if time else "never"


def _connections(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    in_use, available = examined.owner.execute(_SQL["get_connections"].sql).fetchall()[0]
    enough = in_use * 100 < CONNECTIONS * available
    yield (
        "ok" if enough else "warning",
        f"{in_use} of {available} in use (limit {CONNECTIONS} %)",
        "" if enough else "use smaller pools (max_size), put pgbouncer in front, or raise max_connections",
    )


def _settings(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    role = examined.service_role
    with _serving(examined.service, NOTHING_TRUSTED):
        timeouts = examined.service.execute(_SQL["list_timeouts"].sql).fetchall()
    for name, is_set, value in timeouts:
        what, suggested = _TIMEOUTS[name]
        if is_set:
            yield "ok", f"{name} of {role} is {value}", ""
        else:
            yield (
                "warning",
                f"{name} of {role} is 0: {what}",
                f"as a superuser, or as a role that may alter it: ALTER ROLE {role} SET {name} = '{suggested}'",
            )


_TIMEOUTS = {
    "statement_timeout": (
        "skilldb sets its own limit in each call; psql and other clients have none",
        "60s",
    ),
    "idle_in_transaction_session_timeout": (
        "a client that hangs in a transaction keeps its locks, and keeps dead rows from being vacuumed",
        "60s",
    ),
}


def _hardening(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    with _serving(examined.service, NOTHING_TRUSTED):
        ((has_setter, may_set, _),) = examined.service.execute(queries.load("guards")["get_server_kind"].sql).fetchall()
    if has_setter and may_set:
        yield (
            "warning",
            f"there is a setter, but {examined.service_role} may still call set_config(), which goes round it",
            "as a superuser: `skilldb harden --apply`",
        )
    elif not has_setter and not may_set:
        yield (
            "failure",
            f"{examined.service_role} may not call set_config(), and there is no setter: no call can set its tenant",
            "as a superuser: `skilldb harden --apply`",
        )
    elif not has_setter:
        yield "ok", "the tenant of a transaction is not write-once; `skilldb harden` makes it so (optional)", ""


def _statements(examined: Examined) -> Iterator[tuple[Level, str, str]]:
    if steps := top.missing(examined.owner):
        # A server without the extension's files was installed that way by choice: that is no fault of the database.
        level: Level = "ok" if steps[0] == top.INSTALL else "warning"
        yield level, "pg_stat_statements cannot be read: `skilldb top` has nothing to show", "; then ".join(steps)


# The checks after those of isolation, each with what holds if it finds nothing.
_CHECKS: tuple[tuple[str, Check, str], ...] = (
    ("owner", _owner, ""),
    (
        "other roles",
        _other_roles,
        "every other role that has access to the tables is a member of skilldb_app and subject to the policies",
    ),
    ("queries", _queries, "the service may run every query of this version of skilldb"),
    (
        "definitions",
        _definitions,
        "every column, constraint, index, domain and SQL function is as the migrations create it",
    ),
    ("invalid indexes", _invalid, "every index is valid"),
    ("duplicate indexes", _redundant, "no index repeats another, or the first columns of one"),
    (
        "unused indexes",
        _unused,
        f"on tables of {LARGE:,} rows or more, scanned {BUSY:,} times or more, every index was used",
    ),
    (
        "tables",
        _tables,
        f"of {LARGE:,} rows or more: dead rows below {DEAD} %, changed since ANALYZE below {STALE} %",
    ),
    ("connections", _connections, ""),
    ("settings", _settings, ""),
    ("hardening", _hardening, "the tenant of a transaction is write-once"),
    ("statements", _statements, "pg_stat_statements can be read: see `skilldb top`"),
)
