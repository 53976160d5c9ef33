"""Runs bursts: writers start together at a barrier, and the result is checked after each burst."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import psycopg

import skilldb
from skilldb.statement import Statement

BURSTS = 300

# How a lost race shows: a wrong count, or an impossible one; a number taken twice; a key that was checked and is gone;
# a deadlock. A mistake in the SQL of a broken variant shows otherwise.
LOST = "drift|gap or clash|rating_(count|sum) .*is not allowed|version .*is already taken|still referenced|deadlock"

# The skills whose aggregates are not what their rows say.
DRIFT = b"""
SELECT s.id, s.rating_count, s.rating_sum, s.average_rating, s.total_uses, r.count, r.sum, r.average, e.uses
FROM skills AS s
CROSS JOIN LATERAL (
    SELECT count(*) AS count, coalesce(sum(rating), 0) AS sum, round(avg(rating) * 100) AS average
    FROM ratings WHERE tenant_id = s.tenant_id AND skill_id = s.id
) AS r
CROSS JOIN LATERAL (
    SELECT count(*) AS uses FROM usage_events WHERE tenant_id = s.tenant_id AND skill_id = s.id
) AS e
WHERE (s.rating_count, s.rating_sum, s.average_rating, s.total_uses)
    IS DISTINCT FROM (r.count, r.sum, r.average, e.uses)
"""


@dataclass(frozen=True, kw_only=True)
class Race:
    """An organisation for a race, and the superuser's connection that checks the result."""

    acme: skilldb.Tenant
    admin: psycopg.Connection[tuple[Any, ...]]
    threads: ThreadPoolExecutor

    def burst(self, *jobs: Callable[[], Any]) -> list[Any]:
        """What each job returned or raised. All of them start together."""
        barrier = threading.Barrier(len(jobs))

        def write(job: Callable[[], Any]) -> Any:
            barrier.wait(timeout=60)
            return job()

        futures: list[Future[Any]] = [self.threads.submit(write, job) for job in jobs]
        return [future.exception(timeout=120) or future.result(timeout=0) for future in futures]

    def execute(self, *statements: Statement[Any]) -> list[Any]:
        """A burst in which each writer executes one statement."""
        return self.burst(*(partial(self.acme.execute, statement) for statement in statements))

    def rows(self, query: bytes) -> list[tuple[Any, ...]]:
        return self.admin.execute(query).fetchall()

    def wrong(self, outcomes: list[Any], *promised: type[Exception]) -> list[str]:
        """Errors that nobody promised, and drift."""
        drift = [f"drift: {row}" for row in self.rows(DRIFT)]
        return unexpected(outcomes, *promised) + drift


def unexpected(outcomes: list[Any], *promised: type[Exception]) -> list[str]:
    """The unexpected errors among the outcomes."""
    return [f"{type(o).__name__}: {o}" for o in outcomes if isinstance(o, Exception) and not isinstance(o, promised)]


def first_wrong(bursts: Iterator[list[str]]) -> str:
    """What was wrong after the first burst that went wrong; "" if none did.

    `bursts` runs a burst for each list that is taken from it.
    """
    for number, wrong in enumerate(islice(bursts, BURSTS)):
        if wrong:
            return f"burst {number}: {'; '.join(wrong)}"
    return ""


def assert_found_out(bursts: Iterator[list[str]]) -> None:
    """At least one burst of a broken variant went wrong."""
    wrong = first_wrong(bursts)
    assert re.search(LOST, wrong), wrong or f"nothing was wrong after {BURSTS} bursts"
