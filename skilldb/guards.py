"""The checks when a database is opened: the role, who else may create objects, the pooler."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NoReturn

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from skilldb import queries
from skilldb.errors import (
    PermissionDeniedError,
    SkilldbError,
    UnsafePoolerError,
    UnsafeRoleError,
    UnsafeSchemaError,
    UnsuitableSettingError,
)
from skilldb.query import Query
from skilldb.settings import NOTHING_TRUSTED, PINNED, quoted
from skilldb.statement import ROWS, Statement

_SQL = queries.load("guards")

Rows = Sequence[tuple[Any, ...]]


# The role and the schema.


# These checks run with NOTHING_TRUSTED as search_path: until they pass, nothing in the schema may be called.

ROLE_CHECK: Statement[Any] = Statement(ROWS, _SQL["list_unsafe_roles"]())
"""Runs on every connection of a service. refuse_role() reads the answer."""
SERVER: Statement[Any] = Statement(ROWS, _SQL["get_server_kind"]())
"""The first statement on every connection of a service: how its calls have to begin."""
SETTINGS_CHECK: Statement[Any] = Statement(ROWS, _SQL["list_unsuitable_settings"]())
"""Runs on every connection of a service. refuse_settings() reads the answer."""
DATE_STYLE: Statement[Any] = Statement(ROWS, Query("set_date_style", b"SET DateStyle = 'ISO'", {})())
"""Runs on every connection of a service. psycopg reads times by the session's DateStyle, not by the transaction's."""


def refuse_hardened_cluster() -> NoReturn:
    """Raise UnsuitableSettingError: the database was hardened, and then Citus was installed in it."""
    raise UnsuitableSettingError(
        "the database is hardened, and on a Citus cluster the setter's values do not reach the workers. As a superuser "
        "run: GRANT EXECUTE ON FUNCTION pg_catalog.set_config TO PUBLIC; DROP SCHEMA skilldb_hardening CASCADE"
    )


def refuse_settings(unsuitable: Rows) -> None:
    """Raise UnsuitableSettingError if SETTINGS_CHECK found a setting."""
    for name, value, needed in unsuitable:
        remedy = (
            "Create the database with ENCODING 'UTF8' TEMPLATE template0"
            if name == "server_encoding"
            else f"Run: ALTER ROLE ... RESET {name}, and the same for ALTER DATABASE and ALTER SYSTEM where it is set"
        )
        raise UnsuitableSettingError(f"{name} is {value!r}, but skilldb needs {needed!r}. {remedy}")


def checks(schema: str) -> tuple[Statement[Any], ...]:
    """The statements that run once, when a database is opened. refuse() reads their answers."""
    return (
        ROLE_CHECK,
        Statement(ROWS, _SQL["list_creators"](schema=schema)),
        session_check(schema),
    )


def refuse(found: Sequence[Rows], schema: str) -> int:
    """Raise if an answer to checks() forbids working here; else return the process id of the server's session.

    Raises UnsafeRoleError, UnsafeSchemaError, or SkilldbError: there is no such schema, or the role may not use it.
    """
    unsafe_roles, creators, sessions = found
    refuse_role(unsafe_roles)
    if creators:
        raise UnsafeSchemaError([(reason, remedy) for reason, remedy in creators])
    refuse_unusable(sessions, schema)
    return int(sessions[0][0])


def refuse_role(unsafe_roles: Rows) -> None:
    """Raise UnsafeRoleError if ROLE_CHECK found a reason."""
    if unsafe_roles:
        raise UnsafeRoleError(
            f"{unsafe_roles[0][0]}, so it could see other organisations' rows. "
            "Connect as a login that is only a member of skilldb_app"
        )


def refuse_on(conn: psycopg.Connection[Any], schema: str, *, owner: bool = False) -> None:
    """Run checks() on one of psycopg's own connections, and raise as refuse() does.

    `owner`: the connection is the owner's, who may bypass the policies. The schema must belong to the owner: another
    role that owned it could change everything in it.
    """
    with conn.transaction():
        pin(conn, NOTHING_TRUSTED, local=True)
        roles, creators, sessions = (
            conn.execute(step.query.sql, step.params).fetchall()
            for statement in checks(schema)
            for step in statement.steps
        )
        refuse_settings(conn.execute(_SQL["list_unsuitable_settings"].sql).fetchall())
        foreign = conn.execute(_SQL["get_schema_owner"].sql, {"schema": schema}).fetchall() if owner else []
    if foreign:
        name, to = quoted(schema), quoted(sessions[0][1])
        raise UnsafeSchemaError([(f"schema {name} belongs to {foreign[0][0]}", f"ALTER SCHEMA {name} OWNER TO {to}")])
    if owner and sessions[0][2] is False:
        refuse_unusable_owner(sessions, schema)
    refuse([[] if owner else roles, creators, sessions], schema)


def require_schema(conn: psycopg.Connection[Any], schema: str) -> None:
    """Raise SkilldbError if there is no such schema, or if the connection's role may not use it."""
    refuse_unusable(conn.execute(_SQL["get_session"].sql, {"schema": schema}).fetchall(), schema)


def pin(conn: psycopg.Connection[Any], search_path: str, *, local: bool = False) -> None:
    """Set the search_path, and what answers depend on, for the session or, `local`, for the transaction."""
    # SET and not set_config(), which a hardened database refuses to the service.
    for name, value in (PINNED | {"search_path": search_path}).items():
        conn.execute(f"SET {'LOCAL' if local else 'SESSION'} {name} = {value}".encode())


def set_tenant(conn: psycopg.Connection[Any], tenant_id: str) -> None:
    """Set the tenant for the transaction, on one of psycopg's own connections."""
    conn.execute(sql.SQL("SET LOCAL app.current_tenant_id = {}").format(sql.Literal(tenant_id)))


def pin_transactions(conn: psycopg.Connection[Any]) -> None:
    """Set how the owner's transactions begin, whatever the role, the database or the environment says."""
    for name, value in (("default_transaction_isolation", "read committed"), ("default_transaction_read_only", "off")):
        conn.execute(f"SET {name} = '{value}'".encode())


def session_check(schema: str) -> Statement[Any]:
    """The statement whose answer refuse_unusable() reads."""
    return Statement(ROWS, _SQL["get_session"](schema=schema))


def refuse_unusable_owner(sessions: Rows, schema: str) -> None:
    """Raise PermissionDeniedError if the owner may not use the schema, or not create in it."""
    if False in sessions[0][2:]:
        raise PermissionDeniedError(
            f"permission denied for schema {schema}: role {sessions[0][1]} may not use it, or not create in it. "
            f"Run: GRANT USAGE, CREATE ON SCHEMA {quoted(schema)} TO {quoted(sessions[0][1])}"
        )


def require_creation(conn: psycopg.Connection[Any], schema: str) -> None:
    """Raise PermissionDeniedError if the owner may not create in the schema."""
    refuse_unusable_owner(conn.execute(_SQL["get_session"].sql, {"schema": schema}).fetchall(), schema)


def refuse_unusable(sessions: Rows, schema: str) -> None:
    """Raise SkilldbError if there is no such schema, PermissionDeniedError if the role may not use it."""
    ((_, role, usable, _),) = sessions
    if usable is None:
        raise SkilldbError(
            f"there is no schema {schema!r} in this database. "
            f"Set SKILLDB_SCHEMA to the right one, or create it: CREATE SCHEMA {quoted(schema)}"
        )
    if not usable:
        raise PermissionDeniedError(
            f"permission denied for schema {schema}: role {role} may not use it. "
            f"Run: GRANT USAGE ON SCHEMA {quoted(schema)} TO skilldb_app, and GRANT skilldb_app TO {quoted(role)}"
        )


# The pooler.


def new_probe() -> bytes:
    """A unique name for prepare_probe(): a pooler keeps the statement."""
    return f"skilldb_{secrets.token_hex(8)}".encode()


def prepare_probe(pgconn: PGconn, name: bytes, word: bytes) -> PQGen[None]:
    """Prepare a statement that returns the word. Runs in psycopg's wait()."""
    pgconn.send_prepare(name, b"SELECT '" + word + b"'")
    yield from execute(pgconn)


def refuse_shared_statements(pgconn: PGconn, name: bytes, word: bytes) -> PQGen[None]:
    """Raise UnsafePoolerError if the prepared statement returns another word, or is lost. Runs in psycopg's wait().

    Needed behind a pooler. In transaction mode a pooler gives a client another server process for each transaction.
    If it does not follow prepared statements (pgbouncer does from 1.21 on), a client may find another client's
    statement there under the same name, and run it. So two clients prepare two statements under one name, and run
    them in turn. The check can miss the fault only if the pooler gives each client the same server process every time.
    """
    pgconn.send_query_prepared(name, [])
    (answer,) = yield from execute(pgconn)
    if answer.status != ExecStatus.TUPLES_OK or answer.get_value(0, 0) != word:
        raise UnsafePoolerError(
            "a pooler between shares connections and does not follow prepared statements: one client would run "
            "another's. Open with prepare_threshold=None, or use session pooling or pgbouncer 1.21 or newer "
            "with max_prepared_statements"
        )
