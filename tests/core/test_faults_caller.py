"""Tests callers that are interrupted, cancelled or timed out: the pool and other callers are unaffected."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from itertools import count, product
from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from psycopg.waiting import wait_async

import skilldb
from skilldb import aio, settings
from skilldb.errors import DatabaseUnavailableError
from skilldb.models import NewUsageEvent
from skilldb.repositories import skills, tenants, usage, users
from skilldb.settings import SET_TENANT
from tests.support.api import new_skill, pool_of
from tests.support.database import rows, until
from tests.support.proxy import Fault, Proxy, through
from tests.support.reliability import FIGURES, record
from tests.support.server import Addresses, direct_only
from tests.support.waits import ended, started

IDLE = TransactionStatus.IDLE
pytestmark = pytest.mark.torture
READ = skills.get_skill("s1")
LONG = skills.update_skill("s1", {"description": "x" * 400_000})
SETTING = b"SELECT current_setting('app.current_tenant_id', true)"


def write(number: int) -> tuple[Any, ...]:
    """Two rows. Both must exist, or neither."""
    event = NewUsageEvent(id=f"{number:032x}", tool_name="t", skill_id="s1")
    return usage.record_usage_event(event), users.create_user(f"{number}@example.com", id=f"u{number}")


@pytest.fixture
def acme(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        for tenant in ("acme", "globex"):
            database.tenant(tenant).execute(tenants.create_tenant(tenant.title(), tenant))
        new_skill(database.tenant("acme"), "s1")


def half_done(addresses: Addresses) -> list[str]:
    """The writes that were written only in part, and the counters that differ from their rows."""
    events, people, total = (
        {id for (id,) in rows(addresses.admin, query)}
        for query in (
            "SELECT id::text FROM usage_events",
            "SELECT 'u' || right(id, -1) FROM users",
            "SELECT coalesce(total_uses, 0)::text FROM skills WHERE id = 's1'",
        )
    )
    numbered = {f"u{int(id.replace('-', ''), 16)}" for id in events}
    return [f"half: {half}" for half in numbered ^ people] + [f"{total} uses"] * (total != {str(len(events))})


def done(addresses: Addresses) -> set[int]:
    """The numbers of the writes that were written, whole or in part."""
    return {int(id.removeprefix("u")) for (id,) in rows(addresses.admin, "SELECT id FROM users WHERE id ~ '^u[0-9]+$'")}


# Tasks


class Paced:
    """Awaits a coroutine, and calls the test's function when it is suspended for the nth time."""

    def __init__(self, work: Coroutine[Any, Any, Any], nth: int, act: Callable[[], Any]) -> None:
        self.work, self.nth, self.act = work, nth, act
        self.suspended = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting = self.work.__await__()
        step = partial(next, waiting)
        while True:
            try:
                future = step()
            except StopIteration as done:
                return done.value
            self.suspended += 1
            if self.suspended == self.nth:
                self.act()
            try:
                step = partial(waiting.send, (yield future))
            except BaseException as error:
                step = partial(waiting.throw, error)


async def execute(tenant: skilldb.AsyncTenant, number: int) -> None:
    await tenant.execute(*write(number), READ)


async def execute_much(tenant: skilldb.AsyncTenant, number: int) -> None:
    first, second = write(number)
    await tenant.execute(first, LONG, LONG, second, skills.update_skill("s1", {"description": "short"}))


async def transact(tenant: skilldb.AsyncTenant, number: int) -> None:
    first, second = write(number)
    async with tenant.transaction() as tx:
        await tx.execute(first)
        await tx.execute(READ, second)


Work = Callable[[skilldb.AsyncTenant, int], Coroutine[Any, Any, None]]


async def cancelled_everywhere(work: Work, by: str, dsn: str, addresses: Addresses) -> tuple[int, list[str]]:
    """The number of points at which it was cancelled, and the faults afterwards."""
    wrong: list[str] = []
    async with skilldb.connect_async(dsn, max_size=1, timeout=2) as database:
        acme, globex = database.tenant("acme"), database.tenant("globex")
        pool = pool_of(database)
        for nth in count(1):
            for lock in (pool._lock, *(conn.lock for conn in pool._pool)):
                wait_for_the(lock)
            suspended, ended = await cancelled_at(nth, work(acme, nth), by)
            complete = suspended < nth
            if complete and nth not in done(addresses):
                wrong.append(f"at {nth}: acknowledged uses or users are missing")
            wrong += [f"at {nth}: it goes on as if nothing were"] * (ended and not complete and by == "cancel")
            wrong += [f"at {nth}, {what}" for what in half_done(addresses)]
            try:
                if await globex.execute(READ) is not None:
                    wrong.append(f"at {nth}: the next caller sees another organisation's rows")
            except DatabaseUnavailableError:
                return nth, [*wrong, f"at {nth}: a connection is lost"]
            async with pool.connection() as conn:
                left = await (await conn.execute(SETTING)).fetchone()
                wrong += [f"at {nth}: left behind {left}"] * (left not in ((None,), ("",)))
                wrong += [f"at {nth}: a transaction is open"] * (conn.info.transaction_status != IDLE)
            wrong += [f"at {nth}: {pool.get_stats()}"] * (pool.get_stats()["pool_size"] != 1)
            if complete:
                break
    return nth - 1, wrong


def wait_for_the(lock: Any) -> None:
    """Hold the lock, so that a task waits for it and can be cancelled there too."""

    async def acquire() -> Any:
        await asyncio.sleep(0)
        return await asyncio.Lock.acquire(lock)

    lock.acquire = acquire


async def cancelled_at(nth: int, work: Coroutine[Any, Any, None], by: str) -> tuple[int, bool]:
    """Cancel it when it is suspended for the nth time. Returns how often it was suspended, and whether it finished."""
    if by == "cancel":
        paced = Paced(work, nth, lambda: task.cancel())
        task = asyncio.create_task(awaited(paced))
    else:
        paced = Paced(work, nth, lambda: limit.reschedule(0))
        limit = asyncio.timeout(None)

        async def limited() -> None:
            async with limit:
                await paced

        task = asyncio.create_task(limited())
    try:
        await task
    except (asyncio.CancelledError, TimeoutError):
        return paced.suspended, False
    return paced.suspended, True


async def awaited(work: Awaitable[None]) -> None:
    await work


WAYS = [(work, by) for work in (execute, execute_much, transact) for by in ("cancel", "timeout")]


@pytest.mark.parametrize(("work", "by"), WAYS if FIGURES else [WAYS[1], WAYS[2], WAYS[5]])
def test_a_task_cancelled_wherever_it_waits_leaves_all_or_nothing_and_the_pool_whole(
    work: Work, by: str, acme: None, addresses: Addresses
) -> None:
    points, wrong = asyncio.run(cancelled_everywhere(work, by, addresses.service, addresses))
    print(points, *wrong, sep="\n")
    assert points > 3
    record(
        "A cancelled call is written whole or not at all, and the next caller gets a clean connection "
        f"({work.__name__}, {by})",
        tested="a task is cancelled at each of its await points, including those at locks",
        ablation="the connection returns to the pool with unread answers; the tenant is set for the session, not the "
        "transaction",
        figures={"await points": points},
        losses=sum(what.startswith("half") or "uses" in what for what in wrong),
        leaks=sum(not (what.startswith("half") or "uses" in what) for what in wrong),
    )


async def close_nothing(conn: Any) -> None:
    pass


async def wait_only(conn: aio.Conn, gen: Any, interval: float = 0.1) -> Any:
    """Like psycopg's wait, but it does not read the remaining answers after a cancel."""
    return await wait_async(gen, conn.pgconn.socket, interval)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the process of the lost connection
@pytest.mark.parametrize("broken", ["the connection put back as it is", "a session's setting"])
def test_a_broken_way_of_ending_is_found_out(
    broken: str, acme: None, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken == "a session's setting":
        monkeypatch.setattr(settings, "SET_TENANT", SET_TENANT.replace(b"true", b"false"))
    else:
        monkeypatch.setattr(aio.Conn, "close", close_nothing)
        monkeypatch.setattr(aio.Conn, "wait", wait_only)
    try:
        _, wrong = asyncio.run(cancelled_everywhere(execute_much, "cancel", addresses.service, addresses))
    except Exception as error:  # the process of the next caller
        wrong = [repr(error)]
    assert wrong != []


# Threads


def interrupt_main() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class Interrupt(BaseException):
    """The exception that the test raises in another thread."""


def interrupted_by_signal(work: Callable[[], Any], when: Callable[[Callable[[], None]], Any]) -> None:
    when(interrupt_main)
    with pytest.raises(KeyboardInterrupt):
        work()


def interrupted_by_thread(work: Callable[[], Any], when: Callable[[Callable[[], None]], Any]) -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)

    def interrupt() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupt))

    when(interrupt)
    thread.start()
    ended(thread)
    assert [type(error) for error in raised] == [Interrupt]


INTERRUPTIONS = pytest.mark.parametrize("interrupted", [interrupted_by_signal, interrupted_by_thread])
Interrupted = Callable[[Callable[[], Any], Callable[[Callable[[], None]], Any]], None]


@direct_only
@INTERRUPTIONS
def test_a_thread_interrupted_wherever_it_waits_leaves_all_or_nothing_and_the_pool_whole(
    interrupted: Interrupted, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    dsn = through(wire, addresses.service)
    wrong: list[str] = []
    number = 0

    def when(interrupt: Callable[[], None]) -> None:
        wire.when_stalled = interrupt

    with skilldb.connect(dsn, max_size=1, timeout=0.5, statement_timeout=0.5) as opened:
        acme_, globex = opened.tenant("acme"), opened.tenant("globex")

        def transact() -> None:
            first, second = write(number)
            with acme_.transaction() as tx:
                tx.execute(first)
                tx.execute(READ, second)

        def execute() -> None:
            acme_.execute(*write(number), READ)

        for work, trips in ((execute, 1), (transact, 3)):
            for trip in range(trips):
                for of, share in product(("request", "answer"), (0, 0.5) if FIGURES else (0.5,)):
                    number += 1
                    wire.faults = [*[None] * trip, Fault(of, share, "stall")]  # type: ignore[arg-type]
                    interrupted(work, when)
                    wrong += [f"at {trip}, {of}: {what}" for what in half_done(addresses)]
                    if globex.execute(READ) is not None:
                        wrong.append("the next caller sees another organisation's rows")
                    with pool_of(opened).connection() as conn:
                        left = conn.execute(SETTING).fetchone()
                        wrong += [f"left behind {left}"] * (left not in ((None,), ("",)))
                    wrong += ["a connection is lost"] * (pool_of(opened).get_stats()["pool_size"] != 1)
            number += 1
            work()
            if number not in done(addresses):
                wrong.append("acknowledged uses or users are missing")
    record(
        "An interrupted call is written whole or not at all, and the next caller gets a clean connection "
        f"({interrupted.__name__})",
        tested="a proxy holds back all or half of a request or answer, and the exception is raised in the thread",
        ablation="the connection returns to the pool unchanged",
        figures={"interruptions": number},
        losses=sum("half" in what or "uses" in what for what in wrong),
        leaks=sum(not ("half" in what or "uses" in what) for what in wrong),
    )


@INTERRUPTIONS
def test_a_thread_interrupted_while_it_waits_for_a_connection_takes_none_with_it(
    interrupted: Interrupted, acme: None, addresses: Addresses
) -> None:
    with skilldb.connect(addresses.service, max_size=1, timeout=3) as opened:
        tenant = opened.tenant("acme")

        def when(interrupt: Callable[[], None]) -> None:
            def interrupt_the_waiting() -> None:
                until(lambda: bool(pool_of(opened).get_stats()["requests_waiting"]), pause=0)
                interrupt()

            started(interrupt_the_waiting)

        with tenant.transaction() as tx:
            tx.execute(READ)
            interrupted(lambda: tenant.execute(READ), when)
        assert tenant.execute(*write(1))[0] is True
