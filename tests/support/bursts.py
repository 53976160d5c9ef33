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

# The errors of a lost race: a domain refuses a wrong count, two writers take one number, a referenced row was deleted,
# or a deadlock. A mistake in the SQL of a broken variant raises other errors.
LOST = (
    "drift|gap or clash|(rating_(count|sum)|average_rating) .*is not allowed|version .*is already taken|"
    "still referenced|deadlock"
)

# Skills whose counters differ from their rows.
DRIFT = b"""
SELECT s.id, s.rating_count, s.rating_sum, s.average_rating, s.total_uses, r.count, r.sum, r.average, e.uses, d.uses
FROM skills AS s
CROSS JOIN LATERAL (
    SELECT count(*) AS count, coalesce(sum(rating), 0) AS sum, round(avg(rating) * 100) AS average
    FROM ratings WHERE tenant_id = s.tenant_id AND skill_id = s.id
) AS r
CROSS JOIN LATERAL (
    SELECT count(*) AS uses FROM usage_events WHERE tenant_id = s.tenant_id AND skill_id = s.id
) AS e
CROSS JOIN LATERAL (
    SELECT coalesce(sum(m.uses_to_day[31]), 0) AS uses
    FROM skill_monthly_uses AS m
    WHERE m.tenant_id = s.tenant_id AND m.skill_id = s.id
) AS d
WHERE (s.rating_count, s.rating_sum, s.average_rating, s.total_uses, s.total_uses)
    IS DISTINCT FROM (r.count, r.sum, r.average, e.uses, d.uses)
"""


@dataclass(frozen=True, kw_only=True)
class Race:
    """An organisation for a race, and a superuser's connection that checks the result."""

    acme: skilldb.Tenant
    admin: psycopg.Connection[tuple[Any, ...]]
    threads: ThreadPoolExecutor

    def burst(self, *jobs: Callable[[], Any]) -> list[Any]:
        """The result or error of each job. All jobs start together."""
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
        """Unexpected errors, and drift."""
        drift = [f"drift: {row}" for row in self.rows(DRIFT)]
        return unexpected(outcomes, *promised) + drift


def unexpected(outcomes: list[Any], *promised: type[Exception]) -> list[str]:
    """The unexpected errors among the outcomes."""
    return [f"{type(o).__name__}: {o}" for o in outcomes if isinstance(o, Exception) and not isinstance(o, promised)]


def first_wrong(bursts: Iterator[list[str]], most: int = BURSTS) -> str:
    """The faults after the first wrong burst; empty if there is none.

    Each item of `bursts` is the faults of one burst; taking it runs the burst.
    """
    for number, wrong in enumerate(islice(bursts, most)):
        if wrong:
            return f"burst {number}: {'; '.join(wrong)}"
    return ""


def assert_found_out(bursts: Iterator[list[str]]) -> None:
    """Assert that at least one burst of a broken variant was wrong. On a busy machine the writers seldom meet."""
    most = 10 * BURSTS
    wrong = first_wrong(bursts, most)
    assert re.search(LOST, wrong), wrong or f"nothing was wrong after {most} bursts"
