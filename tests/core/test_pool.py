"""Tests the promises of the pool whose most frequent case skips psycopg_pool's bookkeeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from psycopg_pool import PoolTimeout

import skilldb
from skilldb import queries
from skilldb.errors import SkilldbError
from skilldb.repositories import tenants
from skilldb.statement import ROWS, Statement
from tests.support.api import APIS, ask
from tests.support.database import until
from tests.support.ledger import opened
from tests.support.server import Addresses, direct_only

PID = ask("SELECT pg_backend_pid()")
SLOW = ask("SELECT pg_backend_pid() FROM pg_sleep(0.3)")


@pytest.fixture(autouse=True)
def acme(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        database.tenant("acme").execute(tenants.create_tenant("Acme", "acme"))


@direct_only
@APIS
def test_a_connection_is_kept_until_its_lifetime_ends(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1) as (execute, pool):
        pid = execute(PID)
        before = pool.get_stats()["requests_num"]
        assert execute(PID) == pid
        assert pool.get_stats()["requests_num"] == before + 1
        (conn,) = pool._pool
        conn._expire_at = monotonic()
        assert execute(PID) == pid
        assert execute(PID) != pid


@APIS
def test_a_caller_who_waits_gets_the_connection_that_is_put_back(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1) as (execute, pool), ThreadPoolExecutor(4) as threads:
        pids = list(threads.map(lambda _: execute(SLOW), range(4)))
        assert len(pids) == 4
        assert pool.get_stats()["requests_waiting"] == 0
        assert pool.get_stats()["pool_available"] == 1


@APIS
def test_a_connection_that_nobody_needs_any_more_is_closed(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, min_size=1, max_size=2) as (execute, pool), ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: execute(SLOW), range(2)))
        until(lambda: pool.get_stats()["pool_available"] == 2)

        def shrink() -> None:
            """As psycopg_pool does every `max_idle` seconds."""
            _run(api, pool, pool._shrink_pool)

        shrink()
        list(threads.map(lambda _: execute(SLOW), range(2)))
        until(lambda: pool.get_stats()["pool_available"] == 2)
        shrink()
        assert pool.get_stats()["pool_size"] == 2
        for _ in range(3):  # One of the two connections would do.
            execute(PID)
        shrink()
        assert pool.get_stats()["pool_size"] == 1


@direct_only
@APIS
def test_a_connection_that_was_lent_during_a_drain_is_not_lent_again(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1) as (execute, pool), ThreadPoolExecutor(1) as threads:
        pid = execute(PID)
        slow = threads.submit(execute, SLOW)
        until(lambda: pool.get_stats()["pool_available"] == 0)
        _run(api, pool, pool.drain)
        assert slow.result(timeout=60) == pid
        assert execute(PID) != pid


@APIS
def test_a_connection_is_put_back_once_and_lent_to_nobody_without_time(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1) as (execute, pool):
        execute(PID)
        with pytest.raises(PoolTimeout):
            _run(api, pool, lambda: pool.getconn(0.0))
        conn = _run(api, pool, pool.getconn)
        _run(api, pool, lambda: pool.putconn(conn))
        with pytest.raises(ValueError, match="pool"):
            _run(api, pool, lambda: pool.putconn(conn))
        assert pool.get_stats()["pool_available"] == 1


@APIS
def test_copy_is_refused_and_costs_the_connection_alone(api: str, addresses: Addresses) -> None:
    copy = Statement(ROWS, queries.parse("-- name: copy()\nCOPY (SELECT 1) TO STDOUT;", "test")["copy"]())
    with opened(api, addresses.service, max_size=1) as (execute, _):
        with pytest.raises(SkilldbError, match="a call cannot run COPY"):
            execute(copy)
        assert execute(PID) > 0


def _run(api: str, pool: Any, work: Callable[[], Any]) -> Any:
    """The result of the pool's method, in its loop if it has one."""
    if api == "blocking":
        return work()
    return asyncio.run_coroutine_threadsafe(work(), pool._sched_runner.get_loop()).result(timeout=60)
