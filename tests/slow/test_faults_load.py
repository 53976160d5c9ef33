"""Tests too many callers: each gets an answer or an error within the timeout, in the order of arrival."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any

import pytest

import skilldb
from skilldb.errors import DatabaseUnavailableError
from skilldb.models import NewUsageEvent
from skilldb.repositories import metrics, skills, tenants, usage
from tests.support.api import APIS, new_skill
from tests.support.database import locked, rows, until
from tests.support.ledger import Execute, not_put_back, opened
from tests.support.reliability import record, size
from tests.support.server import Addresses

pytestmark = [pytest.mark.torture, APIS]
CALLERS, CONNECTIONS = 200, 4
READ = skills.get_skill("s1")


@pytest.fixture
def acme(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        acme = database.tenant("acme")
        acme.execute(tenants.create_tenant("Acme", "acme"))
        new_skill(acme, "s1")


def crowd(
    execute: Execute, pool: Any, addresses: Addresses, *, until_served: bool
) -> tuple[list[int], list[str], float]:
    """Start callers one after another while the first ones wait for a lock.

    Returns the order in which they were served, the errors, and the seconds of the longest call.
    """
    errors: list[str] = []
    longest = 0.0

    def call(caller: int) -> None:
        nonlocal longest
        begun = monotonic()
        try:
            execute(
                metrics.increment_skill_uses("s1"),
                usage.record_usage_event(NewUsageEvent(id=f"{caller:032x}", tool_name="t")),
            )
        except DatabaseUnavailableError as error:
            errors.append(str(error))
        longest = max(longest, monotonic() - begun)

    with ThreadPoolExecutor(CALLERS) as threads:
        with locked(addresses):
            calls = []
            for caller in range(CALLERS):
                before = pool.get_stats().get("requests_num", 0)
                calls.append(threads.submit(call, caller))
                in_queue = partial(lambda number: pool.get_stats().get("requests_num", 0) != number, before)
                until(in_queue, pause=0.001)
            if not until_served:
                for done in calls:
                    done.result(timeout=120)
        for done in calls:
            done.result(timeout=120)
    # created_at is when the transaction began.
    query = "SELECT id::text FROM usage_events ORDER BY created_at"
    served = [int(id.replace("-", ""), 16) for (id,) in rows(addresses.admin, query)]
    return served, errors, longest


def most_overtaken(served: list[int]) -> int:
    """The highest number of later callers who were served before an earlier one."""
    return max(sum(later > caller for later in served[:place]) for place, caller in enumerate(served))


def test_each_caller_is_served_in_turn(api: str, acme: None, addresses: Addresses) -> None:
    rounds = size(1, 10)
    lost = leaks = overtaken = 0
    for _ in range(rounds):
        rows(addresses.admin, "DELETE FROM usage_events RETURNING 1")
        (before,) = rows(addresses.admin, "SELECT total_uses FROM skills")[0]
        with opened(api, addresses.service, max_size=CONNECTIONS, timeout=60, lock_timeout=60) as (execute, pool):
            served, errors, _ = crowd(execute, pool, addresses, until_served=True)
            leaks += len(not_put_back(pool))
        lost += len(errors) + (sorted(served) != [*range(CALLERS)])
        lost += rows(addresses.admin, "SELECT total_uses FROM skills") != [(before + CALLERS,)]
        overtaken = max(overtaken, most_overtaken(served))
    assert overtaken < CALLERS / 2
    record(
        f"With more callers than connections, each caller is served in turn ({api})",
        tested="200 callers, started one after another, on a pool of 4 connections that wait for a lock",
        ablation="the pool serves the last caller first",
        figures={"calls": CALLERS * rounds, "callers who overtook the most-overtaken one": overtaken},
        losses=lost,
        leaks=leaks,
    )


def test_a_pool_that_serves_the_last_one_first_is_found_out(api: str, acme: None, addresses: Addresses) -> None:
    class Stack(deque[Any]):
        popleft = deque.pop

    with opened(api, addresses.service, max_size=CONNECTIONS, timeout=60, lock_timeout=60) as (execute, pool):
        pool._waiting = Stack()
        served, _, _ = crowd(execute, pool, addresses, until_served=True)
    assert most_overtaken(served) >= CALLERS / 2


def test_callers_without_a_connection_get_an_error(api: str, acme: None, addresses: Addresses) -> None:
    rounds = size(1, 10)
    leaks = wrong = 0
    longest = 0.0
    for _ in range(rounds):
        with opened(api, addresses.service, max_size=CONNECTIONS, timeout=1, lock_timeout=0.5) as (execute, pool):
            execute(READ)
            served, errors, slowest = crowd(execute, pool, addresses, until_served=False)
            longest = max(longest, slowest)
            wrong += (served, len(errors)) != ([], CALLERS)
            wrong += sum("lock_timeout" not in said and "connection after 1.00 sec" not in said for said in errors)
            leaks += sum(execute(READ).id != "s1" for _ in range(2 * CONNECTIONS))
            leaks += len(not_put_back(pool)) + pool.get_stats()["requests_waiting"]
    record(
        f"A caller that gets no connection gets an error within the timeout ({api})",
        tested="200 callers on a pool of 4 connections that wait for a lock that is not released",
        ablation="connections do not return to the pool after a failure",
        figures={"calls": CALLERS * rounds, "longest call": f"{longest:.1f} s, of timeouts of 1 s and 0.5 s"},
        losses=wrong,
        leaks=leaks,
    )
