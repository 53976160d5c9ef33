"""Database, Tenant, Transaction: run statements, blocking."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from traceback import walk_tb
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout
from psycopg_pool.pool import WaitingClient

from skilldb import connection
from skilldb.errors import DatabaseUnavailableError, SkilldbError, translate
from skilldb.session import Exchange, Session
from skilldb.statement import Statement, answers, require_tenant

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")


class Conn(psycopg.Connection[tuple[Any, ...]]):
    """A connection of this package: on it no answer is waited for longer than its settings say."""

    session: Session

    def wait(self, gen: PQGen[A], *args: Any, **kwargs: Any) -> A:
        """psycopg's one place to wait in."""
        return super().wait(connection.bounded(self.pgconn, gen, self.session.settings.patience), *args, **kwargs)


class Executor(ABC):
    """What a Tenant and a Transaction have in common."""

    @overload
    def execute(self, a: Statement[A], /) -> A: ...
    @overload
    def execute(self, a: Statement[A], b: Statement[B], /) -> tuple[A, B]: ...
    @overload
    def execute(self, a: Statement[A], b: Statement[B], c: Statement[C], /) -> tuple[A, B, C]: ...
    @overload
    def execute(self, a: Statement[A], b: Statement[B], c: Statement[C], d: Statement[D], /) -> tuple[A, B, C, D]: ...
    @overload
    def execute(
        self, a: Statement[A], b: Statement[B], c: Statement[C], d: Statement[D], e: Statement[E], /
    ) -> tuple[A, B, C, D, E]: ...
    @overload
    def execute(
        self,
        a: Statement[A],
        b: Statement[B],
        c: Statement[C],
        d: Statement[D],
        e: Statement[E],
        f: Statement[F],
        /,
    ) -> tuple[A, B, C, D, E, F]: ...
    @overload
    def execute(self, *statements: Statement[Any]) -> tuple[Any, ...]: ...

    def execute(self, *statements: Statement[Any]) -> Any:
        """Run the statements in order, in one transaction and one network round trip, all or nothing.

        Returns the result of one statement, or the tuple of the results of several. Raises the errors of
        `skilldb.errors`; then nothing was written, but where DatabaseUnavailableError tells of a connection that broke
        or fell silent: it may have been, wholly. An event with an id of its own can then just be recorded again.

        What travels together holds its row locks together. Where several skills are concerned, take them in the order
        of their ids, and put what changes a skill (rate, publish, update) before what only refers to it (view). A
        deadlock that is left, as of several users' ratings in one call with the deletion of one of them, ends in
        DatabaseUnavailableError for one of the two, who may try again.
        """
        return self._execute(statements)

    @abstractmethod
    def _execute(self, statements: Sequence[Statement[Any]]) -> Any: ...


class Tenant(Executor):
    """A light handle on one organisation's rows. It holds no connection and may be shared between threads."""

    def __init__(self, pool: ConnectionPool[Conn], tenant_id: str) -> None:
        self._pool = pool
        self.id = require_tenant(tenant_id)

    def __repr__(self) -> str:
        return f"Tenant({self.id!r})"

    def _execute(self, statements: Sequence[Statement[Any]]) -> Any:
        if not any(statement.steps for statement in statements):
            return answers(statements, [[]] * len(statements))
        with _checked_out(self._pool) as conn:
            return _run(conn, Exchange(conn, conn.session, self.id, statements))

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction over several `execute`, each a round trip, for steps that depend on earlier answers.

        Commits at the end of the block, rolls back on an exception. Once an `execute` has failed nothing more can be
        done in it: where the block ends without an exception all the same, that first error is raised again.
        """
        with _checked_out(self._pool) as conn:
            transaction = Transaction(conn, self.id)
            try:
                yield transaction
                if transaction.error is not None:
                    raise transaction.error
                conn.commit()
            finally:
                transaction.closed = True
                if conn.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    conn.close()  # Interrupted in its commit, it takes no other command.
                if not conn.closed:
                    conn.rollback()


class Transaction(Executor):
    """A transaction of one organisation, as Tenant.transaction() yields it; for one thread."""

    def __init__(self, conn: Conn, tenant_id: str) -> None:
        self._conn = conn
        self._tenant_id = tenant_id
        self._begun = False
        self.error: SkilldbError | None = None
        self.closed = False

    def _execute(self, statements: Sequence[Statement[Any]]) -> Any:
        if self.closed:
            raise SkilldbError("the transaction has ended")
        if self.error is not None:
            raise self.error
        if not any(statement.steps for statement in statements):
            return answers(statements, [[]] * len(statements))
        first, self._begun = not self._begun, True
        exchange = Exchange(self._conn, self._conn.session, self._tenant_id, statements, begin=first, set_tenant=first)
        try:
            return _run(self._conn, exchange)
        except SkilldbError as error:
            self.error = error
            raise


class Database:
    """A pool of connections, open from the start. `with` closes it; so does close()."""

    def __init__(self, settings: connection.Settings) -> None:
        try:
            with Conn.connect(settings.conninfo, **settings.connect) as conn:
                conn.session = Session(settings)
                with conn.pipeline():
                    reasons = conn.execute(connection.ROLE_CHECK)
                    backend = conn.execute(connection.BACKEND)
                connection.refuse_unsafe(reasons.fetchall())
                pooled = backend.fetchone() != (conn.info.backend_pid,)
            if pooled and settings.prepare_threshold is not None:
                connection.refuse_shared_statements(settings)
            self._pool: ConnectionPool[Conn] = ConnectionPool(
                settings.conninfo,
                connection_class=Conn,
                kwargs=settings.connect,
                configure=lambda conn: setattr(conn, "session", Session(settings)),
                open=False,
                **settings.pool,
            )
            try:
                self._pool.open(wait=True, timeout=self._pool.timeout)
            except BaseException:
                self._pool.close()
                raise
        except psycopg.Error as error:
            raise translate(error, {}) from connection.bare(error)

    def tenant(self, tenant_id: str) -> Tenant:
        """A handle on one organisation. Raises TenantRequiredError for an empty or missing id; sends nothing."""
        return Tenant(self._pool, tenant_id)

    def close(self) -> None:
        """Close the pool and its connections."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def connect(
    dsn: str | None = None,
    *,
    min_size: int = 1,
    max_size: int = 10,
    timeout: float = 10.0,
    statement_timeout: float = 30.0,
    lock_timeout: float = 10.0,
    application_name: str | None = None,
    prepare_threshold: int | None = 5,
) -> Database:
    """Open a pool of `min_size` to `max_size` connections to a migrated database.

    `dsn`: a PostgreSQL connection string; by default that of the environment variable SKILLDB_DSN.
    `timeout`: seconds to wait for the server (at least 2) and, later, for a free connection. `statement_timeout`,
    `lock_timeout`: seconds after which the server ends a statement or its wait for a lock, 0 for never. The answer to
    one `execute`, or to a commit, is waited for no longer than `timeout` and `statement_timeout` together, whatever has
    become of server and network; where the latter is 0, without end. DatabaseUnavailableError then leaves open whether
    it was done, as it does where a connection breaks. An interrupted or cancelled call asks the server to stop, and
    waits up to 10 seconds for that. `application_name`: how the connections name themselves, by default as the DSN
    says, or skilldb. `prepare_threshold`: a query is prepared on a connection once it was run there so often (at
    least 1), None for never, as it must be behind a pooler that shares connections and does not follow prepared
    statements: pgbouncer in transaction mode before 1.21, or with max_prepared_statements=0.

    Raises UnsafeRoleError where the role could bypass the isolation between tenants, UnsafePoolerError where such a
    pooler is between and statements would be prepared, DatabaseUnavailableError where the server cannot be reached,
    InvalidValueError for an argument that makes no sense.
    """
    dsn = connection.Secret(dsn or "")
    return Database(
        connection.settings(
            dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=timeout,
            statement_timeout=statement_timeout,
            lock_timeout=lock_timeout,
            application_name=application_name,
            prepare_threshold=prepare_threshold,
        )
    )


@contextmanager
def _checked_out(pool: ConnectionPool[Conn]) -> Iterator[Conn]:
    """A connection of the pool, returned to it afterwards. psycopg's errors become ours."""
    try:
        conn = pool.getconn()
    except psycopg.Error as error:
        raise DatabaseUnavailableError(str(error)) from error
    except BaseException as error:
        _leave_queue(pool, error)
        raise
    try:
        yield conn
    except psycopg.Error as error:
        raise translate(error, {}) from error
    finally:
        pool.putconn(conn)


def _leave_queue(pool: ConnectionPool[Conn], error: BaseException) -> None:
    """Give up the place of a caller who was interrupted in it.

    psycopg_pool (3.3) leaves it in the queue, and the next connection that is free would go there and be lost.
    """
    for frame, _ in walk_tb(error.__traceback__):
        place = frame.f_locals.get("pos")
        if isinstance(place, WaitingClient) and not place.fail(PoolTimeout()) and place.conn is not None:
            place.conn._pool = pool
            pool.putconn(place.conn)


def _run(conn: Conn, exchange: Exchange) -> Any:
    """The results of the exchange. Interrupted or broken off, it may have been committed: the connection is closed."""
    with conn.lock:
        try:
            if exchange.is_large:
                conn.wait(exchange.push())
            conn.wait(exchange.run())
        except psycopg.Error as error:
            conn.close()
            raise translate(error, {}) from error
        except BaseException:
            conn.close()
            raise
        return exchange.results()
