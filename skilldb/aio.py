"""AsyncDatabase, AsyncTenant, AsyncTransaction: run statements, async. The source of database.py."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import psycopg
from psycopg.abc import PQGen, PQGenConn
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from skilldb import aio_hooks as hooks
from skilldb import connection, guards, process, queries, settings
from skilldb.errors import (
    ConnectionLostError,
    DatabaseClosedError,
    DatabaseUnavailableError,
    PoolTimeoutError,
    ReadOnlyError,
    SchemaMismatchError,
    ServerUnavailableError,
    SkilldbError,
    shown,
    translate,
)
from skilldb.session import BEGIN, Exchange, Limit, Session
from skilldb.statement import NOTHING, VALUE, Statement, answers, require_tenant
from skilldb.values import adapter

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")
J = TypeVar("J")
K = TypeVar("K")

_FIND = queries.load("tenants")["find_tenant"]


class Conn(process.Inheritance, psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection of this package. It waits for an answer no longer than its settings allow."""

    session: Session

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        """Overrides the one method of psycopg that connects."""
        return (yield from process.watched(super()._connect_gen(conninfo)))

    async def wait(self, gen: PQGen[A], *args: Any, **kwargs: Any) -> A:
        """Overrides the one method of psycopg that waits for the server. The session's limit bounds the wait.

        If it is interrupted, the server is asked to stop, and has some seconds to answer that.
        """
        try:
            return await self._driven(gen, self.session.limit or connection.answer_limit(self.session))
        except hooks.INTERRUPTIONS:
            if not self.inherited and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(Exception):  # A failure must not hide the interruption. The caller closes the connection.
                    await self._try_cancel(timeout=connection.INTERRUPTED)
                    await self._driven(gen, connection.limit(connection.INTERRUPTED), 0)
            raise

    async def _driven(self, gen: PQGen[A], limit: Limit | None, ready: Any = None) -> A:
        """The result of a generator of psycopg or of Exchange, which yields whenever it has to wait for the socket.

        `ready` is the first value sent to the generator. None starts it.
        """
        while True:
            try:
                asked = gen.send(ready)
            except StopIteration as done:
                answer: A = done.value
                return answer
            connection.refuse_late(self, limit)
            ready = await hooks.ready(self.pgconn.socket, asked)
            if self.inherited:
                self.pgconn.finish()
                process.refuse_inherited()

    async def answers(self, seconds: float) -> bool:
        """Whether the server answers within so many seconds."""
        self.session.limit = connection.limit(seconds)
        exchange = Exchange(self, self.session, [], "", [])
        try:
            await self.wait(exchange.run())
        except psycopg.Error:
            return False
        finally:
            self.session.limit = None
        return exchange.is_complete

    async def _try_cancel(self, **bound: Any) -> None:
        """Overrides the one method of psycopg that cancels. In a forked child that would end the parent's query."""
        if not self.inherited:
            await super()._try_cancel(**bound)


class AsyncPool(AsyncConnectionPool[Conn]):
    """A pool that remembers why it could not connect."""

    _failure: Exception | None = None
    _is_open = False

    async def _connect(self, timeout: float | None = None) -> Conn:
        """Overrides the one method of psycopg_pool that connects."""
        try:
            conn = await super()._connect(timeout)
        except psycopg.Error as error:
            self._failure = connection.bare(error)
            raise
        except SkilldbError as error:  # The role is refused.
            self._failure = error
            raise
        if self._is_open:  # While the pool is being opened, one success does not explain that others are missing.
            self._failure = None
        return conn

    # psycopg_pool's methods take a tenth of a call's time. So the most frequent case is handled here.

    async def getconn(self, timeout: float | None = None) -> Conn:
        """Take a free connection. If there is none, call psycopg_pool's method."""
        async with self._lock:
            if self._pool and (timeout is None or timeout > 0):
                conn = self._pool.popleft()
                self._nconns_min = min(self._nconns_min, len(self._pool))
                self._stats[self._REQUESTS_NUM] += 1
                conn._pool = self
                return conn
        return await super().getconn(timeout)

    async def putconn(self, conn: Conn) -> None:
        """Return a usable connection to the pool if no caller waits for one. Otherwise call psycopg_pool's method."""
        if conn._pool is self and conn.pgconn.transaction_status == TransactionStatus.IDLE:
            async with self._lock:
                in_time = self._drained_at < conn._created_at and monotonic() < conn._expire_at
                if in_time and not self._waiting and not self._closed:
                    conn._pool = None
                    self._pool.append(conn)
                    return
        await super().putconn(conn)

    def why(self, error: psycopg.Error) -> SkilldbError:
        """The error for a caller who got no connection: that of connecting, if it fails."""
        if isinstance(self._failure, SkilldbError) and not isinstance(self._failure, DatabaseUnavailableError):
            return self._failure
        if self._failure is not None:
            return ServerUnavailableError(f"{error}: {self._failure}")
        return PoolTimeoutError(f"{error}: all {self.max_size} connections of the pool are in use")


class AsyncExecutor(process.NotPicklable, ABC):
    """The common part of AsyncTenant and AsyncTransaction."""

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
        self, a: Statement[A], b: Statement[B], c: Statement[C], d: Statement[D], e: Statement[E], f: Statement[F], /
    ) -> tuple[A, B, C, D, E, F]: ...
    @overload
    async def execute(
        self,
        a: Statement[A],
        b: Statement[B],
        c: Statement[C],
        d: Statement[D],
        e: Statement[E],
        f: Statement[F],
        g: Statement[G],
        /,
    ) -> tuple[A, B, C, D, E, F, G]: ...
    @overload
    async def execute(
        self,
        a: Statement[A],
        b: Statement[B],
        c: Statement[C],
        d: Statement[D],
        e: Statement[E],
        f: Statement[F],
        g: Statement[G],
        h: Statement[H],
        /,
    ) -> tuple[A, B, C, D, E, F, G, H]: ...
    @overload
    async def execute(
        self,
        a: Statement[A],
        b: Statement[B],
        c: Statement[C],
        d: Statement[D],
        e: Statement[E],
        f: Statement[F],
        g: Statement[G],
        h: Statement[H],
        i: Statement[J],
        /,
    ) -> tuple[A, B, C, D, E, F, G, H, J]: ...
    @overload
    async def execute(
        self,
        a: Statement[A],
        b: Statement[B],
        c: Statement[C],
        d: Statement[D],
        e: Statement[E],
        f: Statement[F],
        g: Statement[G],
        h: Statement[H],
        i: Statement[J],
        j: Statement[K],
        /,
    ) -> tuple[A, B, C, D, E, F, G, H, J, K]: ...
    @overload
    async def execute(self, *statements: Statement[Any]) -> tuple[Any, ...]: ...

    async def execute(self, *statements: Statement[Any]) -> Any:
        """Run the statements in order, in one transaction and one network round trip, all or nothing.

        Returns the result of one statement, or the tuple of the results of several. Raises the errors of
        `skilldb.errors`. Nothing was written then, unless the error's `outcome` is "unknown": the connection broke or
        fell silent, and either all of the call was written or none of it. An event that has an id of its own can be
        recorded again safely.

        All statements of a call hold their row locks until the call ends. If a call changes several skills, order
        its statements by skill id. Put statements that change a skill (rate, publish, update) before those that only
        refer to it (view). Some deadlocks remain possible: for example, a call with ratings by several users
        meets the deletion of one of them. One of the two callers then gets DeadlockError and may try again.
        """
        for statement in statements:
            if not isinstance(statement, Statement):
                raise TypeError(
                    f"execute() takes statements, not {shown(statement)}. "
                    "Call the repository's function: execute(skills.list_skills())"
                )
        return await self._execute(statements)

    @abstractmethod
    async def _execute(self, statements: Sequence[Statement[Any]]) -> Any: ...


class AsyncTenant(AsyncExecutor):
    """A handle on one organisation's rows. It is cheap, holds no connection, and may be shared between tasks."""

    def __init__(self, database: AsyncDatabase, tenant_id: str) -> None:
        self._database = database
        self._id = require_tenant(tenant_id)

    @property
    def id(self) -> str:
        """The tenant's id, for good: another organisation needs another handle."""
        return self._id

    def __repr__(self) -> str:
        return f"AsyncTenant({self.id!r})"

    async def _execute(self, statements: Sequence[Statement[Any]]) -> Any:
        if not any(statement.steps for statement in statements):
            return answers(statements, [[]] * len(statements))
        return await self._database._call(self._id, statements)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncTransaction]:
        """One transaction over several `execute`, each a round trip: for statements that depend on earlier answers.

        Commits at the end of the block, rolls back on an exception. After an `execute` has failed, the transaction
        accepts nothing more. If the block catches that error and ends normally, the error is raised again at its end.
        A process that is forked within the block gets ForkedError from its `execute` and at the end of the block.
        """
        async with _Loan(self._database) as conn:
            transaction = AsyncTransaction(conn, self.id)
            try:
                yield transaction
                if transaction.error is not None:
                    raise transaction.error
                if conn.inherited:
                    process.refuse_inherited()
                connection.refuse_ended(conn)
                if conn.closed:
                    raise ConnectionLostError("the connection was closed, and the transaction with it", "not applied")
                conn.session.failed_commit = None
                try:
                    await conn.commit()
                except psycopg.Error as error:
                    conn.session.refuse_failed_commit()
                    raise translate(error, {}, "unknown") from error
                conn.session.refuse_failed_commit()
            finally:
                transaction.closed = True
                if not conn.inherited:
                    if conn.pgconn.transaction_status == TransactionStatus.ACTIVE:
                        await conn.close()  # Its commit was interrupted: it accepts no other command.
                    if not conn.closed:
                        try:
                            await conn.rollback()
                        except psycopg.Error:  # The connection is lost, and the transaction with it.
                            await conn.close()


class AsyncTransaction(AsyncExecutor):
    """A transaction of one organisation, for one task. AsyncTenant.transaction() yields it."""

    def __init__(self, conn: Conn, tenant_id: str) -> None:
        self._conn = conn
        self._tenant_id = tenant_id
        self._begun = False
        self.error: SkilldbError | None = None
        self.closed = False

    async def _execute(self, statements: Sequence[Statement[Any]]) -> Any:
        if self._conn.inherited:
            process.refuse_inherited()
        if self.closed:
            raise SkilldbError("the transaction has ended")
        if self.error is not None:
            raise self.error
        if not any(statement.steps for statement in statements):
            return answers(statements, [[]] * len(statements))
        session = self._conn.session
        first = [] if self._begun else [BEGIN(), *session.first(self._conn.pgconn, self._tenant_id)]
        try:
            if self._begun:
                connection.refuse_ended(self._conn)
            exchange = Exchange(self._conn, session, first, self._tenant_id, statements)
            self._begun = True
            return await _run(self._conn, exchange)
        except psycopg.Error as error:
            self.error = translate(error, {})
            raise self.error from error
        except SkilldbError as error:
            self.error = error
            raise


class AsyncDatabase(process.NotPicklable):
    """A pool of connections. It is opened by open(), by `async with`, or by the first call.

    It belongs to the process that opened it. After a fork the child opens a pool of its own at its next call.
    """

    def __init__(self, chosen: settings.Settings) -> None:
        self._settings = chosen
        self._pool: AsyncPool | None = None
        self._closed = False
        self._opening = hooks.Lock()
        self._attempts = 0
        self._refusal: Exception | None = None
        self._process = os.getpid()
        process.watch(self)

    def abandon(self) -> None:
        """In a forked child: leave the pool to the parent."""
        if self._process == os.getpid():
            return
        if self._pool is not None:
            self._pool._closed = True  # Deleting the pool would otherwise wait for threads that this process lacks.
        self._pool = None
        self._opening = hooks.Lock()  # The former one may be held by a thread or task of the parent.
        self._process = os.getpid()

    async def open(self) -> None:
        """Check the role and open the pool, unless it is open. connect_async() lists the errors. May be tried again."""
        await self._opened()

    async def _opened(self) -> AsyncPool:
        """The open pool. Callers who arrive while it is being opened share that attempt, and its error."""
        process.notice_fork()
        before = self._attempts
        async with self._opening:
            if self._closed:
                raise DatabaseClosedError("the database was closed: open another one with connect_async()")
            if self._pool is None:
                if self._attempts != before and self._refusal is not None:
                    raise self._refusal
                opened_by = os.getpid()
                self._refusal = None
                try:
                    pool = await self._new_pool()
                except (SkilldbError, OSError) as error:
                    process.refuse_forked(opened_by)
                    self._refusal = error
                    raise
                finally:
                    self._attempts += 1
                if opened_by != os.getpid():  # This thread forked while the pool was being opened.
                    pool._closed = True
                    process.refuse_inherited()
                self._pool = pool
                if self._closed:  # By another caller, who did not wait for this one.
                    await self.close()
                    raise DatabaseClosedError("the database was closed while it was being opened")
            return self._pool

    async def _new_pool(self) -> AsyncPool:
        chosen = self._settings
        try:
            async with await Conn.connect(chosen.conninfo.reveal(), **chosen.connect) as conn:
                *found, unsuitable = await self._ask(conn, *guards.checks(chosen.schema), guards.SETTINGS_CHECK)
                pooled = guards.refuse(found, chosen.schema) != conn.info.backend_pid
                guards.refuse_settings(unsuitable)
            if pooled and chosen.prepare_threshold is not None:
                await self._refuse_shared_statements()
            pool = AsyncPool(
                chosen.conninfo.reveal,
                connection_class=Conn,
                kwargs=chosen.connect,
                configure=self._configure,
                open=False,
                **chosen.pool,
            )
            try:
                await pool.open(wait=True, timeout=pool.timeout)
            except psycopg.Error as error:
                await pool.close()
                raise pool.why(error) from connection.bare(error)
            except BaseException:
                await pool.close()
                raise
            pool._is_open, pool._failure = True, None
            return pool
        except psycopg.Error as error:
            raise translate(error, {}) from connection.bare(error)

    async def _ask(self, conn: Conn, *statements: Statement[Any]) -> Any:
        """The answers to the statements that check a new connection."""
        conn.session = Session(self._settings)
        conn.add_notice_handler(conn.session.note)
        (((has_setter, may_set, conn.session.is_cluster),), *answers) = await self._check(conn, *statements)
        if has_setter and not may_set:
            if conn.session.is_cluster:
                guards.refuse_hardened_cluster()
            conn.session.begin, conn.session.find = self._settings.begin_hardened, self._settings.find_hardened
        return answers

    async def _check(self, conn: Conn, *statements: Statement[Any]) -> Any:
        """The answer to guards.SERVER, and those to the statements, which run with a safe search_path."""
        limit = connection.limit(max(2.0, float(self._settings.pool["timeout"])))
        begin = Statement(NOTHING, *(query() for query in self._settings.begin_checks))
        exchange = Exchange(conn, conn.session, [], "", [guards.SERVER, begin, *statements])
        found, _, *answers = await _run(conn, exchange, limit)
        return found, *answers

    async def _refuse_shared_statements(self) -> None:
        """Raise UnsafePoolerError behind a pooler that mixes up prepared statements. Takes `timeout` at most."""
        chosen, name = self._settings, guards.new_probe()
        limit = connection.limit(chosen.pool["timeout"])
        async with (
            await Conn.connect(chosen.conninfo.reveal(), **chosen.connect) as first,
            await Conn.connect(chosen.conninfo.reveal(), **chosen.connect) as second,
        ):
            clients = [(b"first", first), (b"second", second)]
            try:
                for word, conn in clients:
                    conn.session = Session(chosen)
                    conn.session.limit = limit
                    await conn.wait(guards.prepare_probe(conn.pgconn, name, word))
                for word, conn in clients * 2:
                    await conn.wait(guards.refuse_shared_statements(conn.pgconn, name, word))
            except psycopg.OperationalError as error:
                raise ServerUnavailableError(
                    f"cannot check, with two connections, whether the pooler follows prepared statements: {error}. "
                    "Open with prepare_threshold=None, or give the pooler another server connection"
                ) from error

    async def _is_outdated(self, conn: Conn, exchange: Exchange) -> bool:
        """Whether the call was refused because the database was hardened, or softened, after the connection was made.

        Nothing of the call was done, so it can be sent again on a new connection.
        """
        if not exchange.refused_to_begin or conn.closed:
            return False
        hardened = conn.session.begin is self._settings.begin_hardened
        ((has_setter, may_set, _),), *_ = await self._check(conn)
        await conn.close()
        return hardened != (has_setter and not may_set)

    async def _refuse_unusable_schema(self, conn: Conn) -> None:
        """Raise PermissionDeniedError if the role may no longer use the schema. Its tables then seem to be missing."""
        schema = self._settings.schema
        _, sessions = await self._check(conn, guards.session_check(schema))
        guards.refuse_unusable(sessions, schema)

    async def _configure(self, conn: Conn) -> None:
        """Check the role on each new connection of the pool. After a refusal the pool goes on trying."""
        try:
            roles, unsuitable, _ = await self._ask(conn, guards.ROLE_CHECK, guards.SETTINGS_CHECK, guards.DATE_STYLE)
            guards.refuse_role(roles)
            guards.refuse_settings(unsuitable)
        except SkilldbError:
            await conn.close()
            raise

    async def _lend(self) -> tuple[AsyncPool, Conn]:
        """The pool, and a connection that was in use a moment ago, or that answers.

        All idle ones are replaced if one does not.
        """
        if self._process != os.getpid():
            process.notice_fork()
        pool = self._pool or await self._opened()
        limit = connection.limit(pool.timeout)
        while True:
            try:
                conn: Conn = await hooks.get_connection(pool, connection.remaining(limit))
            except psycopg.Error as error:
                if self._closed:
                    raise DatabaseClosedError("the database was closed during the call") from error
                if pool is not self._pool:
                    process.refuse_inherited()
                raise pool.why(error) from error
            alive = False
            try:
                alive = not connection.is_doubtful(conn) or await conn.answers(pool.timeout / 4)
            finally:
                if not alive and not conn.inherited:
                    await conn.close()
                    await hooks.put_connection(pool, conn)
            if alive:
                return pool, conn
            if conn.inherited:
                process.refuse_inherited()
            await pool.drain()  # The server or the network that lost one has lost the others.

    def tenant(self, tenant_id: str) -> AsyncTenant:
        """A handle on one organisation. Raises TenantRequiredError for an empty or missing id; sends nothing."""
        return AsyncTenant(self, tenant_id)

    async def find_tenant(self, slug: str) -> AsyncTenant | None:
        """A handle on the organisation of that slug, or None. One round trip; it needs no tenant.

        It also finds an organisation that is switched off: `tenants.get_tenant()` tells. A caller who may ask for any
        slug learns which slugs are taken, and nothing else. InvalidValueError: a slug that is no text, or is longer
        than 255 bytes.
        """
        adapter("slug", "text")("slug", slug)
        found = await self._call("", [Statement(VALUE, _FIND(slug=slug))], slug)
        return None if found is None else self.tenant(found)

    async def _call(self, tenant_id: str, statements: Sequence[Statement[Any]], slug: str | None = None) -> Any:
        """The results of one call, for the organisation of that id or, to find it, of that slug."""
        while True:
            async with _Loan(self) as conn:
                session = conn.session
                first = session.first(conn.pgconn, tenant_id, slug)
                exchange = Exchange(
                    conn, session, first, tenant_id, statements, commits=slug is None, explicit=session.is_cluster
                )
                try:
                    return await _run(conn, exchange)
                except SkilldbError as error:
                    if await self._is_outdated(conn, exchange):
                        continue
                    if isinstance(error, SchemaMismatchError) and not conn.closed:
                        await self._refuse_unusable_schema(conn)
                    raise

    async def close(self) -> None:
        """Close the pool and its connections. Every later call raises DatabaseClosedError."""
        process.notice_fork()
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


def connect_async(
    dsn: str | settings.Secret | None = None,
    *,
    schema: str | None = None,
    min_size: int = 1,
    max_size: int = 10,
    timeout: float = 10.0,
    statement_timeout: float = 30.0,
    lock_timeout: float = 10.0,
    application_name: str | None = None,
    prepare_threshold: int | None = 5,
) -> AsyncDatabase:
    """A pool of `min_size` to `max_size` connections to a migrated database. Checks the arguments, and sends nothing.

    The pool is opened by `async with`, by open(), or by the first call.

    - `dsn`: a PostgreSQL connection string. Default: the environment variable SKILLDB_DSN.
    - `schema`: the schema of skilldb's tables. Default: SKILLDB_SCHEMA, else `public`. A search_path has no effect.
    - `timeout`: seconds to wait for the server when connecting (at least 2), and for a free connection of the pool.
    - `statement_timeout`, `lock_timeout`: seconds after which the server ends a statement, or its wait for a lock. 0
      means never.
    - `application_name`: the name of the connections on the server. Default: that of the DSN, else `skilldb`.
    - `prepare_threshold`: a connection prepares a query after running it so often (at least 1). None means never.
      Choose None behind a pooler that shares connections and does not follow prepared statements: pgbouncer in
      transaction mode before 1.21, or with max_prepared_statements=0.

    One `execute`, or a commit, waits for its answer at most `timeout` plus `statement_timeout` seconds, even if the
    server or the network falls silent; without a bound if `statement_timeout` is 0. Then, and if the connection breaks,
    ConnectionLostError says whether the call may have been committed. An interrupted or cancelled call
    asks the server to stop, and waits up to 10 seconds for that.

    Raises InvalidValueError for an argument that makes no sense. Opening raises:

    - UnsafeRoleError: the role could bypass row-level security.
    - UnsafeSchemaError: a role that is not trusted may create in the schema or the database.
    - UnsuitableSettingError: a setting that skilldb cannot set makes right answers impossible.
    - UnsafePoolerError: statements would be prepared behind a pooler that mixes them up.
    - DatabaseUnavailableError: the server cannot be reached.
    """
    dsn = settings.Secret(dsn or "")  # A traceback that shows variables must not show the password.
    return AsyncDatabase(
        settings.settings(
            dsn,
            schema=schema,
            min_size=min_size,
            max_size=max_size,
            timeout=timeout,
            statement_timeout=statement_timeout,
            lock_timeout=lock_timeout,
            application_name=application_name,
            prepare_threshold=prepare_threshold,
        )
    )


class _Loan:
    """A connection of the pool for one block. The pool gets it back afterwards. Translates psycopg's errors."""

    _pool: AsyncPool
    _conn: Conn

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def __aenter__(self) -> Conn:
        self._pool, self._conn = await self._database._lend()
        return self._conn

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._conn.inherited:
            connection.mark_used(self._conn)
            await hooks.put_connection(self._pool, self._conn)
        if isinstance(exc, psycopg.Error):
            raise translate(exc, {}) from exc


async def _run(conn: Conn, exchange: Exchange, limit: Limit | None = None) -> Any:
    """The results of the exchange. If it is interrupted or the connection breaks, it may have been committed.

    The connection is closed then.
    """
    async with conn.lock:
        conn.session.limit = limit or connection.answer_limit(conn.session)
        try:
            if exchange.is_large:
                await conn.wait(exchange.push())
            await conn.wait(exchange.run())
        except psycopg.Error as error:
            await conn.close()
            raise translate(error, {}, exchange.outcome) from error
        except BaseException:
            await conn.close()
            raise
        finally:
            conn.session.limit = None
        try:
            return exchange.results()
        except ReadOnlyError:
            await conn.close()  # The next connection may lead to the new primary.
            raise
