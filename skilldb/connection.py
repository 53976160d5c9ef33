"""The bounded wait for the server, and the owner's connections."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq.abc import PGconn

from skilldb import guards, process
from skilldb.errors import translate
from skilldb.settings import Secret, owner_search_path, parse, schema_name

T = TypeVar("T")


class _Connection(Protocol):
    pgconn: PGconn

    @property
    def inherited(self) -> bool: ...


def bounded(conn: _Connection, waiting: PQGen[T], seconds: float | None) -> Generator[Any, Any, T]:
    """Run psycopg's generator `waiting` with a bound: after `seconds`, close the connection and raise OperationalError.

    psycopg resumes us at least every tenth of a second. Without the bound nothing ends the wait for a server that
    fell silent: its own timeouts do not reach us, and TCP reports no fault while a proxy still confirms our packets.
    Raises ForkedError if this process was forked during the wait.
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
                if conn.inherited:
                    process.refuse_inherited()
            if conn.inherited:
                process.refuse_inherited()
        except BaseException:
            # Close the connection first: psycopg's generator would go on with an open one.
            conn.pgconn.finish()
            with suppress(psycopg.Error):
                waiting.close()
            raise


@contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """One autocommit connection, for maintenance, with the role's own search_path. Translates psycopg's errors."""
    dsn = Secret(dsn)
    parse(dsn)
    try:
        # psycopg must prepare nothing: after a rollback it drops all prepared statements, those of the doctor included.
        with process.Connection.connect(dsn, autocommit=True, prepare_threshold=None) as conn:
            yield conn
    except psycopg.Error as error:
        raise translate(error, {}) from bare(error)


@contextmanager
def owned(dsn: str, schema: str | None = None) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """The same for the owner. Names are looked up in pg_catalog, then in the schema. Default: that of SKILLDB_SCHEMA.

    Raises UnsafeSchemaError if a role that is not trusted may create there, SkilldbError if there is no such schema.
    """
    dsn, schema = Secret(dsn), schema_name(schema)
    with connected(dsn) as conn:
        guards.refuse_on(conn, schema, owner=True)
        guards.pin(conn, owner_search_path(schema))
        yield conn


def bare(error: psycopg.Error) -> psycopg.Error:
    """The error without its traceback frames. Variables of psycopg's frames hold the password."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
