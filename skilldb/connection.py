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
    """What psycopg waits for, but no longer than so many seconds: then the connection is given up, OperationalError.

    psycopg lets no more than a tenth of a second pass before it looks again whether something has come. Without this
    nothing ends the wait for a server that fell silent: its own timeouts do not reach us, and where something between
    still confirms what was sent, TCP finds nothing amiss. ForkedError: this process was forked during the wait.
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
            # Given up, or interrupted here. What waits would go on with a connection that still stands.
            conn.pgconn.finish()
            with suppress(psycopg.Error):
                waiting.close()
            raise


@contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """One autocommit connection, for maintenance, with the role's own search_path. Raises our errors for psycopg's."""
    dsn = Secret(dsn)
    parse(dsn)
    try:
        # Nothing is prepared unasked: after a rollback psycopg would drop all that is prepared, the doctor's too.
        with process.Connection.connect(dsn, autocommit=True, prepare_threshold=None) as conn:
            yield conn
    except psycopg.Error as error:
        raise translate(error, {}) from bare(error)


@contextmanager
def owned(dsn: str, schema: str | None = None) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """The same for the owner, with every name looked up in pg_catalog, then the schema, by default SKILLDB_SCHEMA's.

    UnsafeSchemaError: somebody who is not trusted could put objects in the way. SkilldbError: there is no such schema.
    """
    dsn, schema = Secret(dsn), schema_name(schema)
    with connected(dsn) as conn:
        guards.refuse_on(conn, schema, owner=True)
        guards.pin(conn, owner_search_path(schema))
        yield conn


def bare(error: psycopg.Error) -> psycopg.Error:
    """The error of a connection without its frames, psycopg's among them, whose variables hold the password."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
