"""AsyncDatabase, AsyncTenant, AsyncTransaction: the same as database.py, with await."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

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


class Conn(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection of this package: on it no answer is waited for longer than its settings say."""

    session: Session

    async def wait(self, gen: PQGen[A], *args: Any, **kwargs: Any) -> A:
        """psycopg's one place to wait in."""
        return await super().wait(connection.bounded(self.pgconn, gen, self.session.settings.patience), *args, **kwargs)


class AsyncExecutor(ABC):
    """What an AsyncTenant and an AsyncTransaction have in common."""

    @overload
    async def execute(self, a: Statement[A], /) -> A: ...
    @overload
    async def execute(self, a: Statement[A], b: Statement[B], /) -> tuple[A, B]: ...
    @overload
    async def execute(self, a: Statement[A], b: Statement[B], c: Statement[C], /) -> tuple[A, B, C]: ...
    @overload
    async def execute(
        self, a: Statement[A], b: Statement[B], c: Statement[C], d: Statement[D], /
    ) -> tuple[A, B, C, D]: ...
    @overload
    async def execute(
        self, a: Statement[A], b: Statement[B], c: Statement[C], d: Statement[D], e: Statement[E], /
    ) -> tuple[A, B, C, D, E]: ...
    @overload
    async def execute(
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
    async def execute(self, *statements: Statement[Any]) -> tuple[Any, ...]: ...

    async def execute(self, *statements: Statement[Any]) -> Any:
        """Run the statements in order, in one transaction and one network round trip, all or nothing.

        Returns the result of one statement, or the tuple of the results of several. Raises the errors of
        `skilldb.errors`; then nothing was written, but where DatabaseUnavailableError tells of a connection that broke
        or fell silent: it may have been, wholly. An event with an id of its own can then just be recorded again.

        What travels together holds its row locks together. Where several skills are concerned, take them in the order
        of their ids, and put what changes a skill (rate, publish, update) before what only refers to it (view). A
        deadlock that is left, as of several users' ratings in one call with the deletion of one of them, ends in
        DatabaseUnavailableError for one of the two, who may try again.
        """
        return await self._execute(statements)

    @abstractmethod
    async def _execute(self, statements: Sequence[Statement[Any]]) -> Any: ...


class AsyncTenant(AsyncExecutor):
    """A light handle on one organisation's rows. It holds no connection and may be shared between tasks."""

    def __init__(self, pool: AsyncConnectionPool[Conn], tenant_id: str) -> None:
        self._pool = pool
        self.id = require_tenant(tenant_id)

    def __repr__(self) -> str:
        return f"AsyncTenant({self.id!r})"

    async def _execute(self, statements: Sequence[Statement[Any]]) -> Any:
        if not any(statement.steps for statement in statements):
            return answers(statements, [[]] * len(statements))
        async with _checked_out(self._pool) as conn:
            return await _run(conn, Exchange(conn, conn.session, self.id, statements))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncTransaction]:
        """One transaction over several `execute`, each a round trip, for steps that depend on earlier answers.

        Commits at the end of the block, rolls back on an exception. Once an `execute` has failed nothing more can be
        done in it: where the block ends without an exception all the same, that first error is raised again.
        """
        async with _checked_out(self._pool) as conn:
            transaction = AsyncTransaction(conn, self.id)
            try:
                yield transaction
                if transaction.error is not None:
                    raise transaction.error
                await conn.commit()
            finally:
                transaction.closed = True
                if conn.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    await conn.close()  # Interrupted in its commit, it takes no other command.
                if not conn.closed:
                    await conn.rollback()


class AsyncTransaction(AsyncExecutor):
    """A transaction of one organisation, as AsyncTenant.transaction() yields it; for one task."""

    def __init__(self, conn: Conn, tenant_id: str) -> None:
        self._conn = conn
        self._tenant_id = tenant_id
        self._begun = False
        self.error: SkilldbError | None = None
        self.closed = False

    async def _execute(self, statements: Sequence[Statement[Any]]) -> Any:
        if self.closed:
            raise SkilldbError("the transaction has ended")
        if self.error is not None:
            raise self.error
        if not any(statement.steps for statement in statements):
            return answers(statements, [[]] * len(statements))
        first, self._begun = not self._begun, True
        exchange = Exchange(self._conn, self._conn.session, self._tenant_id, statements, begin=first, set_tenant=first)
        try:
            return await _run(self._conn, exchange)
        except SkilldbError as error:
            self.error = error
            raise


class AsyncDatabase:
    """A pool of connections. `async with` opens and closes it; so do open() and close()."""

    def __init__(self, settings: connection.Settings) -> None:
        async def configure(conn: Conn) -> None:
            conn.session = Session(settings)

        self._settings = settings
        self._pool: AsyncConnectionPool[Conn] = AsyncConnectionPool(
            settings.conninfo,
            connection_class=Conn,
            kwargs=settings.connect,
            configure=configure,
            open=False,
            **settings.pool,
        )

    async def open(self) -> None:
        """Check the role and open the pool. Raises as connect_async() says."""
        settings = self._settings
        try:
            async with await Conn.connect(settings.conninfo, **settings.connect) as conn:
                conn.session = Session(settings)
                async with conn.pipeline():
                    reasons = await conn.execute(connection.ROLE_CHECK)
                    backend = await conn.execute(connection.BACKEND)
                connection.refuse_unsafe(await reasons.fetchall())
                pooled = await backend.fetchone() != (conn.info.backend_pid,)
            if pooled and settings.prepare_threshold is not None:
                await asyncio.to_thread(connection.refuse_shared_statements, settings)
            try:
                await self._pool.open(wait=True, timeout=self._pool.timeout)
            except BaseException:
                await self._pool.close()
                raise
        except psycopg.Error as error:
            raise translate(error, {}) from connection.bare(error)

    def tenant(self, tenant_id: str) -> AsyncTenant:
        """A handle on one organisation. Raises TenantRequiredError for an empty or missing id; sends nothing."""
        return AsyncTenant(self._pool, tenant_id)

    async def close(self) -> None:
        """Close the pool and its connections."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


def connect_async(
    dsn: str | None = None,
    *,
    min_size: int = 1,
    max_size: int = 10,
    timeout: float = 10.0,
    statement_timeout: float = 30.0,
    lock_timeout: float = 10.0,
    application_name: str | None = None,
    prepare_threshold: int | None = 5,
) -> AsyncDatabase:
    """A pool of `min_size` to `max_size` connections to a migrated database, to be opened with `async with`.

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

    Opening it raises UnsafeRoleError where the role could bypass the isolation between tenants, UnsafePoolerError where
    such a pooler is between and statements would be prepared, and DatabaseUnavailableError where the server cannot be
    reached. Raises InvalidValueError for an argument that makes no sense.
    """
    dsn = connection.Secret(dsn or "")
    return AsyncDatabase(
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


@asynccontextmanager
async def _checked_out(pool: AsyncConnectionPool[Conn]) -> AsyncIterator[Conn]:
    """A connection of the pool, returned to it afterwards. psycopg's errors become ours."""
    try:
        conn = await pool.getconn()
    except psycopg.Error as error:
        raise DatabaseUnavailableError(str(error)) from error
    try:
        yield conn
    except psycopg.Error as error:
        raise translate(error, {}) from error
    finally:
        try:
            await pool.putconn(conn)
        except asyncio.CancelledError:
            # Cancelled on its way back, where it is rolled back or waits for the pool's lock: it would be lost to the
            # pool. It goes there by itself; done for each call that would cost a fifth of its time.
            conn._pool = pool
            await asyncio.shield(pool.putconn(conn))
            raise


async def _run(conn: Conn, exchange: Exchange) -> Any:
    """The results of the exchange. Interrupted or broken off, it may have been committed: the connection is closed."""
    async with conn.lock:
        try:
            if exchange.is_large:
                await conn.wait(exchange.push())
            await conn.wait(exchange.run())
        except psycopg.Error as error:
            await conn.close()
            raise translate(error, {}) from error
        except BaseException:
            await conn.close()
            raise
        return exchange.results()
