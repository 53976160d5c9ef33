"""Applies migrations/ with yoyo, and closes yoyo's gaps: edited files, missing rollbacks, a lock left behind."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import psycopg

try:
    import yoyo
    from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
    from yoyo.connections import DatabaseURI
    from yoyo.exceptions import LockTimeout
    from yoyo.migrations import default_migration_table, read_sql_migration
except ImportError:
    raise ImportError("skilldb.admin.migrate needs yoyo-migrations: pip install 'skilldb[cli]'") from None

from skilldb import connection, guards, process, queries
from skilldb.admin import locks
from skilldb.errors import SkilldbError, translate
from skilldb.settings import Secret, owner_search_path, parse, schema_name

_SQL = queries.load("admin/migrate")
_BEFORE_0_2 = "0002_create_raise_not_found"
"""A migration that only skilldb before 0.2 has. The first migration has the same name before and after."""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", flags=re.DOTALL)
_ROW_SECURITY = re.compile(r"\brow_security\b\W*(?:to\b\W*)?(\w*)")
"""Finds the values that the setting is given: `= on`, `TO off`, `', 'on'`."""
_TENANT, _OFF = "app.current_tenant_id", {"off"}
_TO_LINTER = re.compile(rb"^[ \t]*-- squawk-.*\n?", flags=re.MULTILINE)


class MigrationError(SkilldbError):
    """The migrations cannot be applied or rolled back."""


class OldDatabaseError(MigrationError):
    """The database was made by skilldb before 0.2. `found` and `advice`: the two halves of the message."""

    def __init__(self, database: str, schema: str, owner: str) -> None:
        self.found = "this database was made by skilldb before 0.2, whose migrations were rewritten"
        drop = f"as a superuser: DROP DATABASE {database}; CREATE DATABASE {database} OWNER {owner};"
        if schema != "public":  # The database may hold more than skilldb.
            drop = f"as {owner}: DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema};"
        self.advice = (
            "recreate it. On the embedded server run `make db-stop`, `rm -rf .skilldb` and `make migrate` (or "
            "`make demo`). On another server dump what you need, as docs/operations.md says, then run "
            f"{drop} and then `skilldb migrate`"
        )
        super().__init__(f"{self.found}: {self.advice}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """A migration.

    `edited`: its file has changed since it was applied. `missing`: it was applied and has no file. `unverified`: no
    checksum was recorded when it was applied, for example because the run was killed just then.
    """

    id: str
    state: Literal["applied", "pending", "edited", "missing", "unverified"]
    applied_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationDone:
    """A migration that was just applied or rolled back, and how many seconds that took."""

    id: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStatement:
    """A statement of a pending migration, and the locks that it takes at most."""

    sql: str
    locks: locks.Locks


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMigration:
    """A pending migration. `transactional`: its locks are held to its end; else each statement is a transaction."""

    id: str
    transactional: bool
    statements: list[PlannedStatement]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationLock:
    """The lock of a run. `process`: its process id on its machine. `sessions`: sessions of `skilldb migrate`."""

    process: int
    since: datetime
    sessions: list[str]

    def __str__(self) -> str:
        connected = " and ".join(self.sessions) or "no session of `skilldb migrate` is connected"
        return f"process {self.process} holds the migration lock since {_at(self.since)}; {connected}"


def status(dsn: str | Secret, *, schema: str | None = None) -> list[MigrationStatus]:
    """Every migration, in order. `dsn` is the owner's. `schema`: default SKILLDB_SCHEMA, else `public`.

    Writes nothing and takes no lock. OldDatabaseError: skilldb before 0.2 made the database.
    """
    dsn = Secret(dsn)
    with connection.owned(dsn, schema) as conn:
        return status_on(conn)


def status_on(conn: psycopg.Connection[Any]) -> list[MigrationStatus]:
    """The same on a connection of connection.owned()."""
    files, applied = read(), _applied(conn)
    return [_status(id, files.get(id), applied.get(id)) for id in sorted(files.keys() | applied.keys())]


def migrate(dsn: str | Secret, *, schema: str | None = None, wait: float = 10.0) -> Iterator[MigrationDone]:
    """Apply the pending migrations one by one, and yield each when it is done. `dsn` is the owner's.

    `schema`: default SKILLDB_SCHEMA, else `public`. `wait`: seconds to wait for another process that migrates.

    MigrationError: an applied migration was edited or has no file, another process migrates, the role cannot list the
    organisations, or a pending migration leaves row_security on.
    """
    dsn = Secret(dsn)
    files = read()
    with _locked(dsn, schema, wait) as backend:
        applied = _applied(backend.connection)
        _refuse_edited(files, applied)
        _refuse_row_security(id for id in files if id not in applied)
        for migration in backend.to_apply(yoyo.read_migrations(str(queries.folder("migrations")))):
            start = perf_counter()
            _one(backend, migration.id, lambda m=migration: backend.apply_one(m))
            backend.connection.execute(
                _SQL["note_checksum"].sql, {"migration_id": migration.id, "checksum": files[migration.id]}
            )
            yield MigrationDone(id=migration.id, seconds=perf_counter() - start)
            if backend.connection.inherited:
                process.refuse_inherited()


def plan(dsn: str | Secret, *, schema: str | None = None) -> list[PlannedMigration]:
    """The statements that migrate() would run, with their locks. Arguments as there. Writes nothing, takes no lock.

    MigrationError: an applied migration was edited or has no file, or a pending one leaves row_security on.
    """
    dsn = Secret(dsn)
    files = read()
    with connection.owned(dsn, schema) as conn:
        applied = _applied(conn)
        catalogue = locks.catalogue(conn)
    _refuse_edited(files, applied)
    _refuse_row_security(id for id in files if id not in applied)
    return [_planned(id, catalogue) for id in files if id not in applied]


def _planned(id: str, catalogue: locks.Catalogue) -> PlannedMigration:
    directives, statements = _read(id)
    return PlannedMigration(
        id=id,
        transactional=directives.get("transactional", "true").lower() == "true",
        statements=[PlannedStatement(sql=sql, locks=locks.of_statement(sql, catalogue)) for sql in statements],
    )


def _read(id: str) -> tuple[dict[str, str], list[str]]:
    """The directives and the statements of a file."""
    directives, _, statements = read_sql_migration(str(queries.folder("migrations") / f"{id}.sql"))
    return directives, statements


def rollback(
    dsn: str | Secret, count: int | None = 1, *, schema: str | None = None, wait: float = 10.0
) -> Iterator[MigrationDone]:
    """Roll back the last `count` migrations (None: all), and yield each when it is done. Arguments as migrate().

    Drops the tables that the migrations created, with their rows. MigrationError: another process migrates, a
    migration has no file, the role cannot list the organisations, or a rollback leaves row_security on.
    """
    dsn = Secret(dsn)
    files = read()
    with _locked(dsn, schema, wait) as backend:
        if gone := _applied(backend.connection).keys() - files.keys():
            raise MigrationError(
                f"Migration {', '.join(sorted(gone))} is applied to this database, but this version of skilldb has no "
                "such file. Install the version that applied it."
            )
        found = backend.to_rollback(yoyo.read_migrations(str(queries.folder("migrations"))))[:count]
        _refuse_row_security(f"{migration.id}.rollback" for migration in found)
        for migration in found:
            start = perf_counter()
            _one(backend, migration.id, lambda m=migration: backend.rollback_one(m))
            yield MigrationDone(id=migration.id, seconds=perf_counter() - start)
            if backend.connection.inherited:
                process.refuse_inherited()


def get_lock(dsn: str | Secret, *, schema: str | None = None) -> MigrationLock | None:
    """The lock of a run that is at work or has crashed, or None. Arguments as migrate()."""
    dsn = Secret(dsn)
    with connection.owned(dsn, schema) as conn:
        return _lock(conn)


def unlock(dsn: str | Secret, lock: MigrationLock, *, schema: str | None = None) -> bool:
    """Remove the lock of a crashed run. Returns False if it was removed meanwhile.

    MigrationError: a session of `skilldb migrate` is connected and may be at work.
    """
    dsn = Secret(dsn)
    with connection.owned(dsn, schema) as conn:
        present = _lock(conn)
        if present and present.sessions:
            raise MigrationError(
                f"{present.sessions[0]}: wait for it. If its client is gone, end it with pg_terminate_backend; "
                "two runs at once would damage the database"
            )
        found = conn.execute(_SQL["remove_lock"].sql, {"process": lock.process, "since": lock.since})
        return found.fetchone() is not None


def read() -> dict[str, str]:
    """The checksum of each migration's file, by id.

    MigrationError: two migrations have one number, a number is missing, or a migration has no rollback file.
    """
    folder = queries.folder("migrations")
    ids = sorted(path.stem for path in folder.glob("*.sql") if not path.name.endswith(".rollback.sql"))
    for number, id in enumerate(ids, start=1):
        if not id.startswith(f"{number:04}_"):
            raise MigrationError(f"migrations are numbered from 0001 without gaps: {id} should be {number:04}")
        if not (folder / f"{id}.rollback.sql").is_file():
            raise MigrationError(f"{id} has no rollback: write {id}.rollback.sql")
    return {id: _checksum(folder / f"{id}.sql") for id in ids}


def _checksum(path: Path) -> str:
    """The SHA-256 of the file without its comments for the linter, and with normalised line ends."""
    text = _TO_LINTER.sub(b"", path.read_bytes().replace(b"\r\n", b"\n"))
    return hashlib.sha256(text).hexdigest()


def _status(id: str, checksum: str | None, applied: tuple[datetime, str | None] | None) -> MigrationStatus:
    if applied is None:
        return MigrationStatus(id=id, state="pending", applied_at=None)
    at, noted = applied
    if checksum is None:
        return MigrationStatus(id=id, state="missing", applied_at=at)
    if noted is None:
        return MigrationStatus(id=id, state="unverified", applied_at=at)
    return MigrationStatus(id=id, state="applied" if noted == checksum else "edited", applied_at=at)


def _applied(conn: psycopg.Connection[Any]) -> dict[str, tuple[datetime, str | None]]:
    found = conn.execute(_SQL["get_journal"].sql).fetchone()
    if not (found and found[0]):
        return {}
    applied = {id: (at, checksum) for id, at, checksum in conn.execute(_SQL["list_applied"].sql)}
    if _BEFORE_0_2 in applied:
        raise OldDatabaseError(*conn.execute(_SQL["get_names"].sql).fetchall()[0])
    return applied


def _refuse_edited(files: dict[str, str], applied: dict[str, tuple[datetime, str | None]]) -> None:
    for id, row in applied.items():
        if _status(id, files.get(id), row).state in ("edited", "missing"):
            raise MigrationError(
                f"the file of {id} is not the one that was applied: restore the file, and write a new migration instead"
            )


def _refuse_row_security(ids: Iterable[str]) -> None:
    """Refuse a statement that sees no rows, without an error, for an owner without BYPASSRLS.

    With row_security on, a query without an organisation finds nothing. So what switches it on must set the
    organisation as well, and the same statement of the file must switch row_security off again.
    """
    for id in ids:
        for statement in _read(id)[1]:
            text = _COMMENT.sub("", statement).lower()
            values = _ROW_SECURITY.findall(text)
            switching = [part for part in text.split(";") if {*_ROW_SECURITY.findall(part)} - _OFF]
            if any(_TENANT not in part for part in switching) or values[-1:] not in ([], [*_OFF]):
                raise MigrationError(
                    f"{id} switches row_security on without setting the organisation, or does not switch it off again: "
                    "an owner without BYPASSRLS would miss rows. Write it like the DO block in CONTRIBUTING.md under "
                    '"Change rows in a migration"'
                )


def _lock(conn: psycopg.Connection[Any]) -> MigrationLock | None:
    if conn.execute(_SQL["has_lock_table"].sql).fetchone() != (True,):
        return None
    found = conn.execute(_SQL["get_lock"].sql).fetchone()
    if found is None:
        return None
    sessions = [
        f"a session of `skilldb migrate` is connected from {address} since {_at(since)} (server process {pid})"
        for pid, since, address in conn.execute(_SQL["list_sessions"].sql)
    ]
    return MigrationLock(process=found[0], since=found[1], sessions=sessions)


def _at(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S %Z}" if time else "a time that this role may not see"


# yoyo requires a URI. _Backend connects by the address instead.
_URI = DatabaseURI(
    scheme="postgresql+psycopg", username=None, password=None, hostname=None, port=None, database=None, args={}
)


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types.
    """yoyo's backend on connections of ours. yoyo copies it for a second connection, which runs the migrations."""

    def __init__(self, dsn: Secret, schema: str) -> None:
        self.dsn, self.chosen = dsn, schema
        super().__init__(_URI, default_migration_table)

    def connect(self, dburi: DatabaseURI) -> process.Connection:
        """yoyo calls this once."""
        return process.Connection.connect(
            self.dsn.reveal(), autocommit=True, application_name="skilldb migrate", client_encoding="utf8"
        )

    def init_connection(self, connection: process.Connection) -> None:
        """yoyo calls this after connecting, and after each rollback, which undoes settings.

        With row_security off, a role that is subject to policies gets an error from PostgreSQL, not an empty result.
        A migration switches it on for one organisation at a time: see CONTRIBUTING.md.
        """
        try:
            guards.pin_transactions(connection)
            guards.refuse_on(connection, self.chosen, owner=True)
            guards.pin(connection, owner_search_path(self.chosen))
            connection.execute("SET row_security = off")
        except BaseException:
            connection.close()
            raise

    def copy(self) -> _Backend:
        """yoyo calls this for its second connection."""
        return _Backend(self.dsn, self.chosen)


@contextmanager
def _opened(dsn: str | Secret, schema: str | None) -> Iterator[Any]:
    dsn = Secret(dsn)
    parse(dsn)
    opened_by = os.getpid()
    try:
        with _Backend(dsn, schema_name(schema)) as backend:
            backend.init_database()
            yield backend
    except psycopg.Error as error:
        process.refuse_forked(opened_by)
        raise translate(error, {}) from connection.bare(error)


@contextmanager
def _locked(dsn: str | Secret, schema: str | None, wait: float) -> Iterator[Any]:
    with _opened(dsn, schema) as backend:
        role, _, lists_tenants = backend.connection.execute(_SQL["get_role"].sql).fetchone()
        if not lists_tenants:
            raise MigrationError(
                f"{role} cannot list the organisations: it has no BYPASSRLS and does not own the table tenants, or "
                "that table forces row-level security. Migrate as the owner of the tables, or as that owner run: "
                "ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY"
            )
        guards.require_creation(backend.connection, backend.chosen)
        try:
            with backend.lock(timeout=wait):
                yield backend
        except LockTimeout:
            raise MigrationError(
                f"{_lock(backend.connection) or 'the migration lock is held'}: wait for it. If that run has crashed, "
                "run `skilldb unlock`"
            ) from None


def _one(backend: Any, id: str, run: Any) -> None:
    try:
        run()
    except psycopg.Error as error:
        raise MigrationError(f"{id} failed and was undone: {error}") from error
