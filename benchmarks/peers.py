"""The clients to compare. Each runs the same work under the same row-level security, with its own connection pool."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Barrier, Thread
from time import perf_counter
from typing import Any

import asyncpg
import psycopg
from psycopg.rows import class_row, tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

import skilldb
from benchmarks.data import SKILLS, SMALL, SMALL_VIEWS_A_USER, USERS
from benchmarks.harness import Bench, address
from benchmarks.orm import Orm
from skilldb.dev import embedded
from skilldb.repositories import metrics, views
from skilldb.settings import SET_TENANT
from skilldb.statement import Instances, Statement

# As in skilldb: one plan for each query and connection. The ORM does not get it, because it runs its own queries.
PLANS = "-c plan_cache_mode=force_generic_plan"


@dataclass(frozen=True, slots=True)
class Work:
    """One operation: skilldb builds its statement with `build`, the other clients run the same SQL from `steps`."""

    operation: str
    user: str
    skill: str
    build: Callable[[], Statement[Any]]
    steps: Sequence[tuple[bytes, dict[str, Any]]]
    row_factory: Any


OPERATIONS: dict[str, Callable[[str, str], Statement[Any]]] = {
    "record_skill_view": lambda user, skill: views.record_skill_view(user, skill, 3),
    "get_whats_new_for_user": lambda user, skill: views.get_whats_new_for_user(user),
    "get_user_view": lambda user, skill: views.get_user_view(user, skill),
    "increment_skill_uses": lambda user, skill: metrics.increment_skill_uses(skill),
}


def work(build: Callable[[], Statement[Any]], operation: str = "", user: str = "", skill: str = "") -> Work:
    """The work of a statement."""
    statement = build()
    steps = [(step.query.sql, {**step.params, "tenant_id": SMALL}) for step in statement.steps]
    rows = statement.reader.rows
    return Work(
        operation, user, skill, build, steps, class_row(rows.model) if isinstance(rows, Instances) else tuple_row
    )


def some(bench: Bench, operation: str, count: int) -> list[Work]:
    """The operation for random users and skills, each pair with an existing view."""

    def one() -> Work:
        number = bench.random.randint(1, USERS)
        user = str(number)
        skill = str(1 + (number * 7 + bench.random.randint(1, SMALL_VIEWS_A_USER) * 10) % SKILLS)
        return work(lambda: OPERATIONS[operation](user, skill), operation, user, skill)

    return [one() for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Crowd:
    """The result of several clients at once: seconds of each call, errors, and seconds in total."""

    latencies: list[float]
    errors: list[Exception]
    seconds: float


class Peer(ABC):
    """A client with its pool."""

    @abstractmethod
    def one_by_one(self, works: Sequence[Work]) -> float:
        """The seconds that one client takes, with one transaction for each."""

    @abstractmethod
    def together(self, works: Sequence[Work]) -> float:
        """The seconds that one client takes, with one transaction for all."""

    @abstractmethod
    def at_once(self, shares: Sequence[Sequence[Work]]) -> Crowd:
        """Run one client per share; all start at the same time."""

    @abstractmethod
    def close(self) -> None:
        """Close the pool."""


class Blocking(Peer):
    """A client with a blocking API, with one thread per client."""

    @abstractmethod
    def call(self, *works: Work) -> object:
        """Run the work in one transaction and read the answers."""

    def one_by_one(self, works: Sequence[Work]) -> float:
        start = perf_counter()
        for each in works:
            self.call(each)
        return perf_counter() - start

    def together(self, works: Sequence[Work]) -> float:
        start = perf_counter()
        self.call(*works)
        return perf_counter() - start

    def at_once(self, shares: Sequence[Sequence[Work]]) -> Crowd:
        barrier = Barrier(len(shares) + 1)
        found: list[list[float]] = [[] for _ in shares]
        errors: list[Exception] = []

        def client(share: Sequence[Work], latencies: list[float]) -> None:
            barrier.wait()
            for each in share:
                start = perf_counter()
                try:
                    self.call(each)
                except Exception as error:
                    errors.append(error)
                latencies.append(perf_counter() - start)

        threads = [Thread(target=client, args=each) for each in zip(shares, found, strict=True)]
        for thread in threads:
            thread.start()
        barrier.wait()
        start = perf_counter()
        for thread in threads:
            thread.join()
        return Crowd(list(chain(*found)), errors, perf_counter() - start)


class Async(Peer):
    """A client with an async API and its own event loop, with one task per client."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    @abstractmethod
    async def call(self, *works: Work) -> object:
        """Run the work in one transaction and read the answers."""

    def one_by_one(self, works: Sequence[Work]) -> float:
        async def client() -> float:
            start = perf_counter()
            for each in works:
                await self.call(each)
            return perf_counter() - start

        return self.runner.run(client())

    def together(self, works: Sequence[Work]) -> float:
        async def client() -> float:
            start = perf_counter()
            await self.call(*works)
            return perf_counter() - start

        return self.runner.run(client())

    def at_once(self, shares: Sequence[Sequence[Work]]) -> Crowd:
        latencies: list[float] = []
        errors: list[Exception] = []

        async def client(share: Sequence[Work]) -> None:
            for each in share:
                start = perf_counter()
                try:
                    await self.call(each)
                except Exception as error:
                    errors.append(error)
                latencies.append(perf_counter() - start)

        async def clients() -> float:
            start = perf_counter()
            await asyncio.gather(*(client(share) for share in shares))
            return perf_counter() - start

        seconds = self.runner.run(clients())
        return Crowd(latencies, errors, seconds)


class Skilldb(Blocking):
    """skilldb."""

    def __init__(self, dsn: str, size: int) -> None:
        self.db = skilldb.connect(dsn, min_size=size, max_size=size)
        self.tenant = self.db.tenant(SMALL)

    def call(self, *works: Work) -> object:
        """One execute."""
        return self.tenant.execute(*(each.build() for each in works))

    def close(self) -> None:
        self.db.close()


class SkilldbAsync(Async):
    """skilldb's async API."""

    def __init__(self, dsn: str, size: int) -> None:
        super().__init__()
        self.db = skilldb.connect_async(dsn, min_size=size, max_size=size)
        self.runner.run(self.db.open())
        self.tenant = self.db.tenant(SMALL)

    async def call(self, *works: Work) -> object:
        """One execute."""
        return await self.tenant.execute(*(each.build() for each in works))

    def close(self) -> None:
        self.runner.run(self.db.close())
        self.runner.close()


def _rows(cursor: psycopg.Cursor[Any]) -> object:
    return cursor.fetchall() if cursor.description else None


class FourTrips(Blocking):
    """Hand-written psycopg: it waits for BEGIN, the tenant, the query and COMMIT separately."""

    def __init__(self, dsn: str, size: int) -> None:
        self.pool = ConnectionPool(dsn, min_size=size, max_size=size, kwargs={"options": PLANS}, open=True)
        self.pool.wait()

    def call(self, *works: Work) -> object:
        """psycopg sends BEGIN before the first query and COMMIT at the end of the block."""
        with self.pool.connection() as conn:
            conn.execute(SET_TENANT, {"tenant_id": SMALL})
            found = []
            for each in works:
                for sql, params in each.steps:
                    cursor = conn.cursor(row_factory=each.row_factory).execute(sql, params)
                found.append(_rows(cursor))
            return found

    def close(self) -> None:
        self.pool.close()


class Pipelined(Blocking):
    """Hand-written psycopg: everything in one pipeline on an autocommit connection."""

    def __init__(self, dsn: str, size: int) -> None:
        kwargs = {"options": PLANS, "autocommit": True}
        self.pool = ConnectionPool(dsn, min_size=size, max_size=size, kwargs=kwargs, open=True)
        self.pool.wait()

    def call(self, *works: Work) -> object:
        """PostgreSQL runs the queries between two Sync messages as one transaction."""
        with self.pool.connection() as conn:
            cursors = []
            with conn.pipeline():
                conn.execute(SET_TENANT, {"tenant_id": SMALL})
                for each in works:
                    for sql, params in each.steps:
                        cursor = conn.cursor(row_factory=each.row_factory).execute(sql, params)
                    cursors.append(cursor)
            return [_rows(cursor) for cursor in cursors]

    def close(self) -> None:
        self.pool.close()


class PipelinedAsync(Async):
    """Like Pipelined, with the async API."""

    def __init__(self, dsn: str, size: int) -> None:
        super().__init__()
        self.pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            dsn, min_size=size, max_size=size, kwargs={"options": PLANS, "autocommit": True}, open=False
        )
        self.runner.run(self.pool.open(wait=True))

    async def call(self, *works: Work) -> object:
        """PostgreSQL runs the queries between two Sync messages as one transaction."""
        async with self.pool.connection() as conn:
            cursors = []
            async with conn.pipeline():
                await conn.execute(SET_TENANT, {"tenant_id": SMALL})
                for each in works:
                    for sql, params in each.steps:
                        cursor = conn.cursor(row_factory=each.row_factory)
                        await cursor.execute(sql, params)
                    cursors.append(cursor)
            return [await cursor.fetchall() if cursor.description else None for cursor in cursors]

    def close(self) -> None:
        self.runner.run(self.pool.close())
        self.runner.close()


class Asyncpg(Async):
    """asyncpg: a transaction block with the tenant and the query. Its pool resets the session on release."""

    reset: Callable[[asyncpg.Connection], Any] | None = None

    def __init__(self, dsn: str, size: int) -> None:
        super().__init__()
        given = address(dsn)
        self.positional: dict[bytes, tuple[str, list[str]]] = {}

        async def opened() -> asyncpg.Pool:
            return await asyncpg.create_pool(
                host=given["host"],
                port=int(given["port"]),
                user=given["user"],
                database=given["dbname"],
                ssl=False,
                min_size=size,
                max_size=size,
                server_settings={"plan_cache_mode": "force_generic_plan"},
                reset=self.reset,
            )

        self.pool = self.runner.run(opened())

    async def call(self, *works: Work) -> object:
        """BEGIN, the tenant, the query, COMMIT."""
        async with self.pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT set_config('app.current_tenant_id', $1, true)", SMALL)
            found = []
            for each in works:
                for sql, params in each.steps:
                    text, names = self.positional.get(sql) or self._positional(sql)
                    rows = await conn.fetch(text, *(params[name] for name in names))
                found.append(rows)
            return found

    def _positional(self, sql: bytes) -> tuple[str, list[str]]:
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql.decode())))
        text = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", sql.decode())
        self.positional[sql] = text, names
        return self.positional[sql]

    def close(self) -> None:
        self.runner.run(self.pool.close())
        self.runner.close()


async def _no_reset(conn: asyncpg.Connection) -> None:
    pass


class AsyncpgNoReset(Asyncpg):
    """asyncpg with a pool that does not reset the session, which saves one round trip."""

    reset = staticmethod(_no_reset)


class Sqlalchemy(Blocking):
    """SQLAlchemy 2 ORM on psycopg, one session per request."""

    def __init__(self, dsn: str, size: int) -> None:
        self.orm = Orm(address(dsn), size)

    def call(self, *works: Work) -> object:
        """Run the same work with the ORM's SQL."""
        return self.orm.call([(each.operation, each.user, each.skill) for each in works])

    def close(self) -> None:
        self.orm.close()


PEERS: dict[str, Callable[[str, int], Peer]] = {
    "skilldb": Skilldb,
    "skilldb async": SkilldbAsync,
    "psycopg pipelined": Pipelined,
    "psycopg async pipelined": PipelinedAsync,
    "psycopg, 4 trips": FourTrips,
    "asyncpg": Asyncpg,
    "asyncpg, no reset": AsyncpgNoReset,
    "SQLAlchemy ORM": Sqlalchemy,
}
FOUR_TRIPS = ("psycopg, 4 trips", "asyncpg", "asyncpg, no reset", "SQLAlchemy ORM")
"""Clients that wait for BEGIN, tenant, query and COMMIT separately. asyncpg also waits for its pool's reset."""


class Pgbench:
    """pgbench -M prepared, pipelined or in four trips. It is written in C and reads no answers: it shows the limit."""

    def __init__(self, dsn: str, *, pipelined: bool) -> None:
        self.address = address(dsn)
        self.pipelined = pipelined

    def seconds(self, operation: str, count: int) -> float:
        """The average seconds of one operation on one connection."""
        (step,) = OPERATIONS[operation]("1", "1").steps
        query = re.sub(r"%\((\w+)\)s", r":\1", step.query.sql.decode())
        tenant = "SELECT set_config('app.current_tenant_id', :tenant_id, true);"
        around = ("\\startpipeline", "\\endpipeline") if self.pipelined else ("BEGIN;", "COMMIT;")
        # user_id and skill_id are random as in some(). The other parameters come from the statement.
        script = "\n".join(
            [
                f"\\set user_id random(1, {USERS})",
                f"\\set skill_id 1 + (:user_id * 7 + random(1, {SMALL_VIEWS_A_USER}) * 10) % {SKILLS}",
                around[0],
                tenant,
                f"{query};",
                around[1],
                "",
            ]
        )
        fixed = {"tenant_id": SMALL} | {
            name: value for name, value in step.params.items() if name not in ("user_id", "skill_id")
        }
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script)
            file.flush()
            done = subprocess.run(
                [
                    embedded.program("pgbench"),
                    *("--no-vacuum", "--protocol=prepared", "--client=1", f"--transactions={count}"),
                    *(f"--define={name}={value}" for name, value in fixed.items()),
                    *(f"--host={self.address['host']}", f"--port={self.address['port']}"),
                    *(f"--username={self.address['user']}", f"--file={Path(file.name)}", self.address["dbname"]),
                ],
                env=os.environ | {"PGOPTIONS": PLANS, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"},
                capture_output=True,
                text=True,
                check=True,
            )
        found = re.search(r"tps = ([0-9.]+)", done.stdout)
        assert found, done.stdout + done.stderr
        return 1 / float(found[1])
