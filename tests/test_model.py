"""Random operations on three organisations with the same ids: the model of each is right, and none feels the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import skilldb
from tests.conftest import Addresses
from tests.functions import FUNCTIONS
from tests.reliability import FIGURES, record, size
from tests.world import ACTORS, NAMES, PRELUDE, World, empty, opened, snapshot, tables

BURST = 5
BURSTS = 40


class Organisations(RuleBasedStateMachine):
    """Each rule is some operations of one organisation, after which the rows of the others are what they were."""

    def __init__(self, db: skilldb.Database, admin: psycopg.Connection[Any], world: World) -> None:
        super().__init__()
        self.admin, self.world = admin, world
        self.tables = tables(admin)
        empty(admin, self.tables)
        prepare(world)
        self.rows = snapshot(admin, self.tables)

    @rule(of=st.sampled_from(ACTORS), random=st.randoms(use_true_random=False))
    def act(self, of: str, random: Random) -> None:
        for _ in range(BURST):
            operation = self.world.operation(of, random.choice)
            note(f"{of}: {operation}")
            self.world.act(of, operation)
        before, self.rows = self.rows, snapshot(self.admin, self.tables)
        changed = [other for other in NAMES if other != of and self.rows.get(other) != before.get(other)]
        assert changed == [], f"an operation of {of} changed rows of {changed}"


def prepare(world: World) -> None:
    """Two of the organisations and their first rows."""
    for of in NAMES[:2]:
        for operation in [("tenants.create_tenant", {"name": of, "slug": of}), *PRELUDE]:
            answer = world.act(of, operation)
            assert not isinstance(answer, Exception), answer
    world.answered.clear()


def explore(addresses: Addresses, steps: int, *, shrink: bool = True) -> Counter[str]:
    """Run random operations, at least so many. Returns what was counted; AssertionError where something is wrong."""
    worlds: list[World] = []
    with opened(addresses) as (db, admin):

        def machine() -> Organisations:
            worlds.append(World(db, admin))
            return Organisations(db, admin, worlds[-1])

        found = settings(
            max_examples=-(-steps // (BURST * BURSTS)),
            stateful_step_count=BURSTS,
            derandomize=not FIGURES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            report_multiple_bugs=False,
        )
        run_state_machine_as_test(machine, settings=found)  # type: ignore[no-untyped-call]
    answered, refused = (sum((getattr(w, kind) for w in worlds), Counter[str]()) for kind in ("answered", "refused"))
    assert answered.keys() == FUNCTIONS.keys(), FUNCTIONS.keys() - answered.keys()
    return Counter({"steps": answered.total() + refused.total(), "answers": answered.total(), "errors": refused.total()})


@pytest.mark.torture
def test_every_answer_and_error_is_the_models_and_no_other_organisations_rows_change(addresses: Addresses) -> None:
    counted = explore(addresses, size(2_000, 200_000))
    assert counted["steps"] >= size(2_000, 200_000)
    print(counted)
