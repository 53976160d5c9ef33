"""The limit of a wait for the server, cancelling, and the owner's connections."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from socket import SHUT_RDWR, socket, socketpair
from threading import Thread
from time import monotonic
from typing import Any, Protocol

import psycopg
from psycopg import generators, waiting
from psycopg.pq import ConnStatus
from psycopg.pq.abc import PGcancelConn, PGconn

from skilldb import guards, process
from skilldb.errors import translate
from skilldb.session import Limit, Session
from skilldb.settings import Secret, owner_search_path, parse, schema_name

IDLE = 30.0
"""Seconds after which an idle connection is checked before it is used. Firewalls drop silent ones after minutes."""
INTERRUPTED = 5.0
"""Seconds that the server has to accept the cancel request of an interrupted call, and as many to answer the call."""
_CANCEL_TIMEOUT = 10.0
"""Seconds after which cancelling a call that was given up is itself given up."""


class _Connection(Protocol):
    pgconn: PGconn
    session: Session

    @property
    def inherited(self) -> bool: ...


def refuse_late(conn: _Connection, limit: Limit | None) -> None:
    """Give the connection up and raise OperationalError if the limit has passed.

    Called before each wait. The server's own timeouts do not reach us, and TCP reports no fault while a proxy still
    confirms our packets. So nothing else ends the wait for a server that fell silent or answers byte by byte.
    """
    if limit is not None and monotonic() > limit.at:
        cancel_soon(conn.pgconn)
        conn.pgconn.finish()
        raise psycopg.OperationalError(f"the server did not answer within {limit.seconds:g} seconds")


def limit(seconds: float) -> Limit:
    """The limit of a wait that begins now."""
    return Limit(monotonic() + seconds, seconds)


def remaining(limit: Limit) -> float:
    """The seconds that are left, at least 0."""
    return max(0.0, limit.at - monotonic())


def answer_limit(session: Session) -> Limit | None:
    """The limit of a call that begins now; None if it has none."""
    seconds = session.settings.answer_timeout
    return None if seconds is None else limit(seconds)


def is_doubtful(conn: _Connection) -> bool:
    """Whether the server may have closed the connection, or a network dropped it, since it was last used.

    Asks nobody: either something has come, which is the end of the connection or a notice, or it was idle for long.
    """
    if conn.pgconn.status != ConnStatus.OK:
        return True
    return _is_readable(conn) or monotonic() - conn.session.used_at > IDLE


def refuse_ended(conn: _Connection) -> None:
    """Raise psycopg's error for the reason that the server gave for ending an idle connection, if it did."""
    if conn.pgconn.status == ConnStatus.OK and _is_readable(conn):
        with suppress(psycopg.Error):  # The end of the connection may follow the message at once.
            conn.pgconn.consume_input()
        conn.pgconn.is_busy()  # Parses what was read.
    if (farewell := conn.session.farewell) is not None:
        conn.pgconn.finish()
        raise farewell


def _is_readable(conn: _Connection) -> bool:
    readable = select.poll()
    readable.register(conn.pgconn.socket, select.POLLIN)
    return bool(readable.poll(0))


def mark_used(conn: _Connection) -> None:
    """Note that the connection is used until now."""
    conn.session.used_at = monotonic()


def cancel_soon(pgconn: PGconn) -> None:
    """Ask the server to end what the connection waits for, from a thread of its own: a silent server delays nobody.

    Otherwise a call that was given up would go on, and hold a server session beside those of the pool.
    """
    cancel: Callable[[], object]
    with suppress(psycopg.Error, OSError, RuntimeError):  # RuntimeError: no thread can be started.
        try:
            cancelling = pgconn.cancel_conn()
        except psycopg.NotSupportedError:  # libpq before 17
            cancel = pgconn.get_cancel().cancel
        else:
            cancel = partial(_cancel, cancelling)
        # A pooler cancels nothing for a client that has gone: a second socket keeps the connection until then. finish()
        # sends Terminate, which could arrive before the cancel request. So it gets another socket.
        unconnected, other = socketpair()
        with unconnected, other:
            kept = socket(fileno=os.dup(pgconn.socket))
            try:
                os.dup2(unconnected.fileno(), pgconn.socket, inheritable=False)
                Thread(target=_quietly, args=[cancel, kept], daemon=True).start()
            except BaseException:
                kept.close()
                raise


def _quietly(cancel: Callable[[], object], kept: socket) -> None:
    with kept:
        try:
            with suppress(psycopg.Error):
                cancel()
        finally:
            with suppress(OSError):
                kept.shutdown(SHUT_RDWR)  # Also for the copy that a child has, which was forked meanwhile.


def _cancel(cancelling: PGcancelConn) -> None:
    cancelling.start()
    waiting.wait_conn(generators.cancel(cancelling), interval=0.1, timeout=_CANCEL_TIMEOUT)


@contextmanager
def connected(dsn: str | Secret) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """One autocommit connection, for maintenance, with the role's own search_path. Translates psycopg's errors."""
    dsn = Secret(dsn)
    parse(dsn)
    try:
        # psycopg must prepare nothing: after a rollback it drops all prepared statements, those of the doctor included.
        with process.Connection.connect(
            dsn.reveal(), autocommit=True, prepare_threshold=None, client_encoding="utf8"
        ) as conn:
            yield conn
    except psycopg.Error as error:
        raise translate(error, {}) from bare(error)


@contextmanager
def owned(dsn: str | Secret, schema: str | None = None) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """The same for the owner. Names are looked up in pg_catalog, then in the schema. Default: that of SKILLDB_SCHEMA.

    Raises UnsafeSchemaError if a role that is not trusted may create there, SkilldbError if there is no such schema.
    """
    dsn, schema = Secret(dsn), schema_name(schema)
    with connected(dsn) as conn:
        guards.pin_transactions(conn)
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
