"""What both faces need to open a connection: its settings, its type adapters, and the checks when it is opened."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil, inf
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from skilldb.errors import (
    DatabaseUnavailableError,
    InvalidValueError,
    UnsafePoolerError,
    UnsafeRoleError,
    translate,
)
from skilldb.queries import Query
from skilldb.statement import SET_TENANT
from skilldb.values import ADAPT

T = TypeVar("T")

# Whoever is, or may become, a superuser or a role with BYPASSRLS is not held by any policy; nor is the owner of a table
# without FORCE (PostgreSQL documentation, "Row Security Policies"). CREATEROLE may become such a role, before version
# 16 by itself. It is session_user that counts, as SET ROLE can be undone.
ROLE_CHECK = b"""
SELECT format('role %I is a superuser', rolname) AS reason
FROM pg_roles WHERE rolsuper AND pg_has_role(session_user, oid, 'MEMBER')
UNION ALL
SELECT format('role %I has BYPASSRLS', rolname)
FROM pg_roles WHERE rolbypassrls AND NOT rolsuper AND pg_has_role(session_user, oid, 'MEMBER')
UNION ALL
SELECT format('role %I has CREATEROLE', rolname)
FROM pg_roles WHERE rolcreaterole AND NOT rolsuper AND pg_has_role(session_user, oid, 'MEMBER')
UNION ALL
SELECT format('role %I owns table %s, which does not force row-level security', r.rolname, c.oid::regclass)
FROM pg_class AS c
INNER JOIN pg_roles AS r ON r.oid = c.relowner
WHERE c.relkind IN ('r', 'p')
AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
AND pg_has_role(session_user, c.relowner, 'MEMBER')
AND (
    c.relrowsecurity
    OR EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
)
"""
# A pooler between answers a login with a process id of its own making, by which it is told to cancel.
BACKEND = b"SELECT pg_backend_pid()"


class Secret(str):
    """A connection string or password, which does not show where the variables of a traceback are shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'...'"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to connect: psycopg's connection string and arguments, and those of the pool."""

    conninfo: Secret
    connect: dict[str, Any]
    pool: dict[str, Any]
    begin: Query
    """Begins what travels in one transaction: sets the tenant and, for that transaction too, the limits."""
    prepare_threshold: int | None
    """How often a query is run on a connection before it is prepared there; None for never."""
    patience: float | None
    """Seconds that one answer of the server may take; None for any number."""


def settings(
    dsn: str | None,
    *,
    min_size: int,
    max_size: int,
    timeout: float,
    statement_timeout: float,
    lock_timeout: float,
    application_name: str | None,
    prepare_threshold: int | None,
) -> Settings:
    """The settings for the arguments of connect() and connect_async(), which say what they mean.

    Raises InvalidValueError for one that makes no sense, DatabaseUnavailableError where there is no address.
    """
    dsn = Secret(dsn or os.environ.get("SKILLDB_DSN") or "")
    if not dsn:
        raise DatabaseUnavailableError("no database address: pass a DSN or set SKILLDB_DSN")
    if not 0 <= min_size <= max_size or max_size < 1:
        raise InvalidValueError(f"a pool cannot have {min_size} to {max_size} connections")
    for name, seconds in (
        ("timeout", timeout),
        ("statement_timeout", statement_timeout),
        ("lock_timeout", lock_timeout),
    ):
        if not 0 <= seconds < 2_000_000:
            raise InvalidValueError(f"{name} must be between 0 and 2,000,000 seconds, not {seconds}")
    if prepare_threshold is not None and prepare_threshold < 1:
        raise InvalidValueError(f"prepare_threshold must be None or at least 1, not {prepare_threshold}")
    ADAPT["text"]("application_name", application_name or "")
    given = parse(dsn)
    application_name = application_name or str(given.get("application_name") or "skilldb")
    # Beside the tenant, and not among the connection's options: a pooler refuses or drops those.
    # A query is planned once on a connection, for everybody: planned for the values of whoever comes first it may be a
    # bad plan for all others, and planned anew each time, as PostgreSQL may choose, it takes longer than it runs.
    chosen = {
        "statement_timeout": ceil(statement_timeout * 1000),
        "lock_timeout": ceil(lock_timeout * 1000),
        "plan_cache_mode": "force_generic_plan",
    }
    local = "".join(f", set_config('{name}', '{value}', true)" for name, value in chosen.items())
    return Settings(
        conninfo=Secret(
            make_conninfo(
                dsn,
                application_name=application_name,
                client_encoding="utf8",
                # libpq takes whole seconds, and anything below 2 for 2 (documentation, "Parameter Key Words").
                connect_timeout=given.get("connect_timeout") or max(2, round(timeout)),
            )
        ),
        # Autocommit: a pipeline is then one transaction of its own.
        # What is prepared Session says; psycopg, left to itself, is to prepare nothing.
        connect={"autocommit": True, "prepare_threshold": None},
        pool={
            "min_size": min_size,
            "max_size": max_size,
            "timeout": timeout,
            "name": application_name,
            # The pool tries again after 1, 2, 4 ... seconds, and so would stay away as long again as the server was.
            # Once it has given up, the next caller makes it try at once.
            "reconnect_timeout": timeout,
        },
        begin=Query("set_tenant", SET_TENANT + local.encode(), {"tenant_id": "text"}),
        prepare_threshold=prepare_threshold,
        patience=statement_timeout + timeout if statement_timeout else None,
    )


def parse(dsn: str) -> dict[str, Any]:
    """The parameters of a connection string. InvalidValueError, without the text: it may hold a password."""
    try:
        if "\0" in dsn:  # libpq would read it up to there only.
            raise psycopg.ProgrammingError
        return dict(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError:
        raise InvalidValueError("the DSN is not a PostgreSQL connection string") from None


@contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """One autocommit connection, for maintenance. Raises our errors for psycopg's."""
    dsn = Secret(dsn)
    parse(dsn)
    try:
        # Nothing is prepared unasked: after a rollback psycopg would drop all that is prepared, the doctor's too.
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as conn:
            yield conn
    except psycopg.Error as error:
        raise translate(error, {}) from bare(error)


def bare(error: psycopg.Error) -> psycopg.Error:
    """The error of a connection without its frames, psycopg's among them, whose variables hold the password."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def bounded(pgconn: PGconn, waiting: PQGen[T], seconds: float | None) -> Generator[Any, Any, T]:
    """What psycopg waits for, but no longer than so many seconds: then the connection is given up, OperationalError.

    psycopg lets no more than a tenth of a second pass before it looks again whether something has come. Without this
    nothing ends the wait for a server that fell silent: its own timeouts do not reach us, and where something between
    still confirms what was sent, TCP finds nothing amiss.
    """
    deadline = inf if seconds is None else monotonic() + seconds
    ready = None
    while True:
        try:
            asked = waiting.send(ready)  # type: ignore[arg-type]
        except StopIteration as done:
            answer: T = done.value
            return answer
        try:
            while not (ready := (yield asked)):
                if monotonic() > deadline:
                    raise psycopg.OperationalError(f"the server did not answer within {seconds:g} seconds")
        except BaseException:
            # Given up, or interrupted here. What waits would go on with a connection that still stands.
            pgconn.finish()
            with suppress(psycopg.Error):
                waiting.close()
            raise


def refuse_shared_statements(settings: Settings) -> None:
    """Raise UnsafePoolerError where one connection's prepared statement is another's, or is gone.

    To be asked where a pooler was found between: in transaction mode it hands a client now this server process, now
    that. Unless it follows prepared statements, as pgbouncer can from 1.21 on, a client finds there, by the name of
    its own, what another one has prepared, and runs it. Here two clients do just that. That neither notices although
    the server processes are shared takes a pooler under load that gives both the same ones again and again.
    """
    # Behind a pooler that shares, what is prepared stays there: its name must not be anyone else's.
    name = f"skilldb_{secrets.token_hex(8)}".encode()
    with (
        psycopg.connect(settings.conninfo, **settings.connect) as first,
        psycopg.connect(settings.conninfo, **settings.connect) as second,
    ):
        clients = {b"first": first.pgconn, b"second": second.pgconn}
        for word, client in clients.items():
            client.prepare(name, b"SELECT '" + word + b"'")
        for word, client in [*clients.items()] * 2:
            answer = client.exec_prepared(name, [])
            if answer.status != ExecStatus.TUPLES_OK or answer.get_value(0, 0) != word:
                raise UnsafePoolerError(
                    "a pooler between shares connections and does not follow prepared statements: one client would run "
                    "another's. Open with prepare_threshold=None, or use session pooling or pgbouncer 1.21 or newer "
                    "with max_prepared_statements"
                )


def refuse_unsafe(reasons: Sequence[tuple[Any, ...]]) -> None:
    """Raise UnsafeRoleError where ROLE_CHECK returned rows."""
    if reasons:
        raise UnsafeRoleError(
            f"{reasons[0][0]}: isolation between tenants would not hold. "
            "Connect as a login that is only a member of skilldb_app"
        )
