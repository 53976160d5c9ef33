"""Tests random operations on three organisations with the same ids: each agrees with its model."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from time import sleep
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb import queries
from tests.support.functions import FUNCTIONS, everything
from tests.support.queries import altered
from tests.support.reliability import record, size
from tests.support.server import Addresses
from tests.support.world import ACTORS, DRAWN, IDS, NAMES, PRELUDE, Operation, World, empty, opened, snapshot, tables

BURST = 5
BURSTS = 40
# Ties of other orders are sorted by ids, which are made up and differ between two runs.
IN_ORDER_OF_TIME = tuple(name for name in DRAWN if not name.startswith("search."))

# An organisation and one seed per operation, so that leaving out a burst does not change the others.
Burst = tuple[str, tuple[int, ...]]


def bursts(seed: int) -> list[Burst]:
    random = Random(seed)
    return [(random.choice(ACTORS), tuple(random.getrandbits(32) for _ in range(BURST))) for _ in range(BURSTS)]


class Run:
    """Runs random operations on one database, each time from the same start."""

    def __init__(self, db: skilldb.Database, admin: psycopg.Connection[Any]) -> None:
        self.db, self.admin = db, admin
        self.tables = tables(admin)
        self.answered: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def begin(self, act: Callable[[str, Operation], Any]) -> None:
        """Reset to two of the organisations and their first rows."""
        empty(self.admin, self.tables)
        for of in NAMES[:2]:
            act(of, ("tenants.create_tenant", {"name": of, "slug": of}))
            for operation in PRELUDE:
                act(of, operation)

    def wrong(self, given: Sequence[Burst]) -> str:
        """The first fault; empty if the models agree and no organisation changed another's rows."""
        world = World(self.db, self.admin)
        try:
            self.begin(world.act)
            world.answered.clear()
            before = snapshot(self.admin, self.tables)
            for of, seeds in given:
                for seed in seeds:
                    world.act(of, world.operation(of, Random(seed).choice))
                after = snapshot(self.admin, self.tables)
                changed = [other for other in NAMES if other != of and after.get(other) != before.get(other)]
                assert not changed, f"what {of} did changed rows of {changed}"
                before = after
        except AssertionError as error:
            return f"{error}, after\n" + "\n".join(f"{of}: {operation}" for of, operation in world.done)
        self.answered += world.answered
        self.refused += world.refused
        return ""

    def transcript(self, given: Sequence[Burst], others: Sequence[str]) -> list[str]:
        """Results and errors of the first organisation while others run, with times and generated ids masked."""
        mine = World(self.db, self.admin)

        def answer(of: str, operation: Operation) -> Any:
            """A millisecond after the former one: within one, rows are ordered by ids, which are made up."""
            sleep(0.001)
            return mine.answer(of, operation)

        self.begin(answer)
        mine.answered.clear()
        theirs = {other: World(self.db, self.admin) for other in others}
        masked = Masked()
        lines = []
        for _, seeds in given:
            for seed in seeds:
                for n, (other, world) in enumerate(theirs.items(), start=1):
                    world.recent_id = mine.recent_id
                    world.answer(other, world.operation(other, Random(seed + n).choice))
                operation = mine.operation(NAMES[0], Random(seed).choice, IN_ORDER_OF_TIME)
                operation[1].pop("sort", None)
                found = answer(NAMES[0], operation)
                text = everything(found) if isinstance(found, Exception) else repr(found)
                lines.append(masked.of(f"{operation}: {text}"))
        self.answered += mine.answered
        self.refused += mine.refused
        return lines


class Masked:
    """The texts without the parts that differ between any two runs.

    Each time becomes <time>, also in a cursor, and the nth generated id becomes <id n>.
    """

    TIME = re.compile(r"datetime\.datetime\((?:[^()]|\([^()]*\))*\)|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]*(\+\d\d)?")
    ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b")
    CURSOR = re.compile(r"(?<=after=|ter': )'([\w=-]{20,})'")

    def __init__(self) -> None:
        self.ids = {id: id for id in IDS}

    def of(self, text: str) -> str:
        text = self.ID.sub(
            lambda id: self.ids.setdefault(id[0], f"<id {len(self.ids)}>"), self.TIME.sub("<time>", text)
        )
        return self.CURSOR.sub(
            lambda cursor: f"<cursor of {self.of(json.loads(urlsafe_b64decode(cursor[1]))[2])}>", text
        )


def fewest(items: Sequence[Any], fails: Callable[[Sequence[Any]], bool]) -> Sequence[Any]:
    """The items that are needed to fail. Leaves out each half, quarter and so on in turn."""
    step = len(items) // 2
    while step:
        start = 0
        while start < len(items):
            fewer = [*items[:start], *items[start + step :]]
            if fails(fewer):
                items = fewer
            else:
                start += step
        step //= 2
    return items


def first_wrong(run: Run, seeds: int) -> str:
    """The first fault in so many runs, with the fewest operations that show it; empty if there is none."""
    for seed in range(seeds):
        given = bursts(seed)
        if run.wrong(given):
            single = [(of, (operation,)) for of, operations in given for operation in operations]
            return f"seed {seed}: {run.wrong(fewest(single, lambda fewer: bool(run.wrong(fewer))))}"
    return ""


@pytest.mark.torture
def test_every_answer_and_error_is_the_models_and_no_other_organisations_rows_change(addresses: Addresses) -> None:
    steps = size(2_000, 200_000)
    with opened(addresses) as (db, admin):
        run = Run(db, admin)
        wrong = first_wrong(run, steps // (BURST * BURSTS))
    assert not wrong, wrong
    assert run.answered.total() + run.refused.total() == steps
    record(
        "Every function returns the specified result or error, and changes no row of another organisation",
        tested="random operations of three organisations with the same ids; each result is compared with a model in "
        "memory",
        ablation="a query lacks its tenant condition and its table a policy; a key lacks the tenant; a sum is not "
        "updated; "
        "versions are compared in the wrong direction",
        figures={"steps": steps, "results": run.answered.total(), "refusals": run.refused.total()},
    )
    # A short run is too small to meet all of them.
    assert steps < 20_000 or run.answered.keys() == FUNCTIONS.keys(), FUNCTIONS.keys() - run.answered.keys()


def interference(run: Run, runs: int) -> str:
    """The first difference between an organisation's results with and without others; empty if there is none."""
    for seed in range(runs):
        given = bursts(seed)
        alone, in_company = (run.transcript(given, others) for others in (NAMES[:0], NAMES[1:]))
        for line, other in zip(alone, in_company, strict=True):
            if line != other:
                return f"seed {seed}: alone {line}\nwith others {other}"
    return ""


@pytest.mark.torture
def test_the_results_of_an_organisation_do_not_depend_on_the_others(addresses: Addresses) -> None:
    operations = size(600, 15_000)
    with opened(addresses) as (db, admin):
        run = Run(db, admin)
        differs = interference(run, operations // (BURST * BURSTS))
    assert not differs, differs
    assert run.answered.total() + run.refused.total() == 2 * operations
    record(
        "An organisation's results and errors do not depend on rows or calls of other organisations",
        tested="the same random operations run alone, and while two organisations use the same ids; all results and "
        "errors "
        "are equal, with the server's messages, times and generated ids masked",
        ablation="a query lacks its tenant condition and its table a policy; keys lack the tenant; versions are "
        "numbered across organisations",
        figures={"operations": operations, "differences": 0},
    )


# The tests notice faults.


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """A broken build: one text of a query replaced, and SQL run as the superuser."""

    query: str = ""
    was: str = ""
    becomes: str = ""
    sql: str = "SELECT"


def unprotected(table: str) -> str:
    return f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"


LEAKS = {
    "a trend of all organisations": Sabotage(
        query="tokens.get_cost_trend",
        was="tenant_id = %(tenant_id)s",
        becomes="true",
        sql=unprotected("skill_daily_costs"),
    ),
    "uses counted for all organisations": Sabotage(
        query="metrics.increment_skill_uses",
        was="tenant_id = %(tenant_id)s",
        becomes="true",
        sql=unprotected("skills"),
    ),
    "versions numbered for all together": Sabotage(
        query="skills.add_version",
        was="WHERE v.tenant_id = %(tenant_id)s AND v.skill_id",
        becomes="WHERE v.skill_id",
        sql=unprotected("skill_versions"),
    ),
    "an event id unique among all": Sabotage(sql="CREATE UNIQUE INDEX ON usage_events (id)"),
}
ERRORS = {
    "a slug unique among all": Sabotage(sql="CREATE UNIQUE INDEX ON skills (slug) WHERE slug NOT IN ('sql', 'go')"),
    "a rating replaced and counted twice": Sabotage(
        query="ratings.count_rating",
        was="- coalesce(sum(r.rating), 0)",
        becomes="",
    ),
    "the seen version counts as new": Sabotage(
        query="views.detect_changes",
        was="s.published_version > coalesce",
        becomes="s.published_version >= coalesce",
    ),
    "a repeated event counted again": Sabotage(
        query="usage.record_usage_event", was="ON CONFLICT (tenant_id, id) DO NOTHING", becomes=""
    ),
    "a deletion that leaves the ratings counted": Sabotage(
        query="users.withdraw_ratings_of_user",
        was="s.id = w.skill_id",
        becomes="false AND s.id = w.skill_id",
    ),
}


def sabotage(how: Sabotage, addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    if how.query:
        file, _, name = how.query.partition(".")
        query = queries.load(file)[name]
        monkeypatch.setitem(queries.load(file), name, altered(query, (how.was, how.becomes)))
    with psycopg.connect(addresses.admin) as conn:
        conn.execute(how.sql.encode())


@pytest.mark.parametrize("how", (LEAKS | ERRORS).values(), ids=(LEAKS | ERRORS).keys())
def test_the_model_finds_a_broken_build(how: Sabotage, addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(how, addresses, monkeypatch)
    with opened(addresses) as (db, admin):
        run = Run(db, admin)
        assert any(run.wrong(bursts(seed)) for seed in range(200))


@pytest.mark.parametrize("how", LEAKS.values(), ids=LEAKS.keys())
def test_interference_in_a_broken_build_is_found(
    how: Sabotage, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(how, addresses, monkeypatch)
    with opened(addresses) as (db, admin):
        assert interference(Run(db, admin), 25)


def test_what_is_not_needed_to_fail_is_left_out() -> None:
    assert fewest(range(100), lambda items: {7, 50, 51} <= set(items)) == [7, 50, 51]
