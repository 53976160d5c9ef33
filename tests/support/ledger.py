"""Runs writers that keep a ledger of acknowledged writes, to compare it with the rows after a fault."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import skilldb
from skilldb.errors import DatabaseUnavailableError
from skilldb.models import NewSkillFeedback, NewSkillVersion, NewTokenMeasurement, NewUsageEvent
from skilldb.repositories import feedback, metrics, ratings, rollups, skills, tenants, tokens, usage, views
from skilldb.statement import Statement
from tests.support.api import new_skill, new_user, pool_of
from tests.support.database import rows, until
from tests.support.rollups import drifted
from tests.support.waits import ended, started

SKILLS = ["s0", "s1", "s2"]
WRITERS = 8
Execute = Callable[..., Any]
IDS = """
SELECT id::text FROM usage_events
UNION ALL SELECT id::text FROM skill_versions
UNION ALL SELECT id::text FROM skill_feedback
UNION ALL SELECT id::text FROM token_measurements
"""


@contextmanager
def opened(api: str, dsn: str, **settings: Any) -> Iterator[tuple[Execute, Any]]:
    """`execute` of the organisation acme, callable from any thread, and its pool. `api`: "blocking" or "async"."""
    if api == "blocking":
        with skilldb.connect(dsn, **settings) as database:
            yield database.tenant("acme").execute, pool_of(database)
        return
    loop = asyncio.new_event_loop()
    thread = started(loop.run_forever)

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=120)

    try:
        opened = skilldb.connect_async(dsn, **settings)
        run(opened.open())
        try:
            tenant = opened.tenant("acme")
            yield lambda *statements: run(tenant.execute(*statements)), pool_of(opened)
        finally:
            run(opened.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        ended(thread)
        loop.close()


def not_put_back(pool: Any) -> list[dict[str, int]]:
    """The pool's figures if it lost connections. Connections that are being replaced do not count as lost."""
    for _ in range(500):
        stats: dict[str, int] = pool.get_stats()
        if stats["pool_available"] == stats["pool_size"]:
            return []
        sleep(0.01)
    return [stats]


@dataclass
class Ledger:
    """The ledger of one writer, the only one that writes for this user."""

    user: str
    dice: random.Random
    tried: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    uses: int = 0
    views_acknowledged: Counter[str] = field(default_factory=Counter)
    views_tried: Counter[str] = field(default_factory=Counter)
    ratings: dict[str, set[int | None]] = field(default_factory=dict)
    answers: int = 0
    refusals: int = 0
    longest: float = 0.0

    def id(self) -> str:
        found = str(UUID(int=self.dice.getrandbits(128)))
        self.tried.add(found)
        return found

    def execute(self, execute: Execute, *statements: Statement[Any]) -> bool:
        """Whether an answer arrived."""
        begun = monotonic()
        try:
            execute(*statements)
        except DatabaseUnavailableError:
            self.refusals += 1
            return False
        finally:
            self.longest = max(self.longest, monotonic() - begun)
        self.answers += 1
        return True

    def write(self, execute: Execute) -> None:
        """Write a random row. Uses have ids, so they are retried until an answer arrives."""
        skill, user = self.dice.choice(SKILLS), self.user
        match self.dice.randrange(7):
            case 0 | 1 as many:
                events = [
                    NewUsageEvent(id=self.id(), tool_name="t", skill_id=s, user_id=user)
                    for s in ([skill, *SKILLS] if many else [skill])
                ]
                statement: Statement[Any] = (
                    usage.record_usage_events(events) if many else usage.record_usage_event(events[0])
                )
                until(lambda: self.execute(execute, statement), seconds=120, pause=0)
                self.acknowledged.update(str(event.id) for event in events)
                self.uses += len(events)
            case 2:
                rating = self.dice.randint(1, 5)
                self.ratings.setdefault(skill, {None}).add(rating)
                if self.execute(execute, ratings.rate_skill(user, skill, rating)):
                    self.ratings[skill] = {rating}
            case 3:
                self.views_tried[skill] += 1
                if self.execute(execute, views.record_skill_view(user, skill, 1)):
                    self.views_acknowledged[skill] += 1
            case 4:
                id = self.id()
                version = NewSkillVersion(id=id, content_url=id, content_hash=id.replace("-", "") * 2)
                self._once(execute, id, skills.publish_skill_version(skill, version))
            case 5:
                id = self.id()
                new = NewSkillFeedback(id=id, skill_id=skill, feedback_type="thumbs_up", user_id=user)
                self._once(execute, id, feedback.submit_feedback(new))
            case _:
                id = self.id()
                measured = NewTokenMeasurement(
                    id=id, skill_id=skill, model_name="m", input_tokens=5, output_tokens=3, estimated_cost_microcents=7
                )
                self._once(execute, id, tokens.record_token_measurement(measured))

    def _once(self, execute: Execute, id: str, statement: Statement[Any]) -> None:
        if self.execute(execute, statement):
            self.acknowledged.add(id)


def ledgers(dsn: str, seed: int) -> list[Ledger]:
    """The ledgers of eight writers, in a new organisation."""
    with skilldb.connect(dsn) as database:
        acme = database.tenant("acme")
        acme.execute(tenants.create_tenant("Acme", "acme"))
        for skill in SKILLS:
            new_skill(acme, skill)
        for number in range(WRITERS):
            new_user(acme, f"u{number}")
    return [Ledger(f"u{number}", random.Random(f"{seed} {number}")) for number in range(WRITERS)]


@contextmanager
def writing(execute: Execute, books: list[Ledger]) -> Iterator[Callable[[int], None]]:
    """Run eight writers, and one that folds, until the block ends.

    Yields a function that waits for so many more answers of the writers.
    """
    stop = threading.Event()

    def write(book: Ledger) -> None:
        while not stop.is_set():
            book.write(execute)

    def fold() -> None:
        while not stop.wait(0.01):
            with suppress(DatabaseUnavailableError):
                execute(rollups.fold_uses(50))

    def more(answers: int) -> None:
        wanted = sum(book.answers for book in books) + answers
        deadline = monotonic() + 120
        while sum(book.answers for book in books) < wanted and not any(job.done() for job in jobs):
            assert monotonic() < deadline, "the writers hang"
            threading.Event().wait(0.005)

    with ThreadPoolExecutor(len(books) + 1) as threads:
        jobs = [threads.submit(fold), *(threads.submit(write, book) for book in books)]
        try:
            yield more
        finally:
            stop.set()
        for job in jobs:
            job.result(timeout=120)


def losses(admin_dsn: str, execute: Execute, books: list[Ledger]) -> list[str]:
    """The differences between the rows and the answers to the writers."""
    wrong = [f"drift: {drift}" for drift in [*execute(metrics.find_metric_drift()), *drifted(execute)]]
    found = Counter(id for (id,) in rows(admin_dsn, IDS))
    acknowledged, tried = (
        set[str]().union(*(getattr(book, name) for book in books)) for name in ("acknowledged", "tried")
    )
    wrong += [f"lost: {id}" for id in acknowledged - found.keys()]
    wrong += [f"never tried: {id}" for id in found.keys() - tried]
    wrong += [f"twice: {id}" for id, times in found.items() if times > 1]
    uses = sum(book.uses for book in books)
    counted = rows(admin_dsn, "SELECT count(*), (SELECT sum(total_uses) FROM skills) FROM usage_events")
    wrong += [f"{uses} uses, but {counted}"] if counted != [(uses, uses)] else []
    versions = rows(admin_dsn, "SELECT skill_id FROM skill_versions GROUP BY 1 HAVING count(*) <> max(version)")
    wrong += [f"a gap in the versions of {skill}" for (skill,) in versions]
    of_user = {book.user: book for book in books}
    rated = {(user, skill): r for user, skill, r in rows(admin_dsn, "SELECT user_id, skill_id, rating FROM ratings")}
    viewed = {
        (user, skill): count
        for user, skill, count in rows(admin_dsn, "SELECT user_id, skill_id, view_count FROM user_skill_views")
    }
    for user, book in of_user.items():
        for skill in SKILLS:
            may_be = book.ratings.get(skill, {None})
            rating, count = rated.get((user, skill)), viewed.get((user, skill), 0)
            if rating not in may_be:
                wrong.append(f"{user} rated {skill} {rating}, not one of {may_be}")
            if not book.views_acknowledged[skill] <= count <= book.views_tried[skill]:
                wrong.append(f"{user} viewed {skill} {count} times, not {book.views_acknowledged[skill]}")
    return wrong
