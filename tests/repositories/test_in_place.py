"""Tests that every function updates counters and views in place (HOT), without writing to an index."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb.models import NewSkillFeedback, NewTokenMeasurement, NewUsageEvent
from skilldb.repositories import feedback, metrics, ratings, tokens, usage, views
from skilldb.statement import Statement
from tests.support.api import new_skill, new_user
from tests.support.database import rows
from tests.support.server import Addresses, direct_only

pytestmark = direct_only
TIMES = 12
EVENT = NewUsageEvent(tool_name="t", skill_id="s1", user_id="u1")
MEASURED = NewTokenMeasurement(
    skill_id="s1", model_name="m", input_tokens=1, output_tokens=1, estimated_cost_microcents=1
)

# The function to call, by the table whose rows it updates.
MOVES: dict[str, tuple[str, Callable[[int], Statement[Any]]]] = {
    "increment_skill_uses": ("skills", lambda n: metrics.increment_skill_uses("s1")),
    "record_usage_event": ("skills", lambda n: usage.record_usage_event(EVENT)),
    "record_usage_events": ("skills", lambda n: usage.record_usage_events([EVENT, EVENT])),
    "rate_skill": ("skills", lambda n: ratings.rate_skill("u1", "s1", n % 5 + 1)),
    "submit_feedback": (
        "skills",
        lambda n: feedback.submit_feedback(NewSkillFeedback(skill_id="s1", feedback_type="thumbs_up", user_id="u1")),
    ),
    "record_token_measurement": ("skills", lambda n: tokens.record_token_measurement(MEASURED)),
    "record_token_measurements": ("skills", lambda n: tokens.record_token_measurements([MEASURED])),
    "record_skill_view": ("user_skill_views", lambda n: views.record_skill_view("u1", "s1", n)),
    "open_skill": ("user_skill_views", lambda n: views.open_skill("u1", "s1")),
}


def updates(addresses: Addresses, table: str, move: Callable[[int], Statement[Any]]) -> tuple[int, int]:
    """The number of updates by twelve calls, and how many of them were in place."""
    query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = %s"
    ((before, before_in_place),) = rows(addresses.admin, query, table)
    with skilldb.connect(addresses.service, max_size=1) as db:
        for number in range(TIMES):
            db.tenant("acme").execute(move(number + 1))
    # A session reports its statistics when it ends. close() does not wait for that.
    for _ in range(200):
        ((after, in_place),) = rows(addresses.admin, query, table)
        if after - before >= TIMES - 1:
            break
        time.sleep(0.01)
    return after - before, in_place - before_in_place


@pytest.fixture(autouse=True)
def rows_to_update(acme: skilldb.Tenant) -> None:
    new_user(acme, "u1")
    new_skill(acme, "s1")


@pytest.mark.parametrize("function", MOVES)
def test_a_counter_or_view_is_updated_in_place(function: str, addresses: Addresses) -> None:
    table, move = MOVES[function]
    updated, in_place = updates(addresses, table, move)
    assert updated >= TIMES - 1  # The first view is an INSERT.
    assert in_place == updated, f"{table} has an index on a column that {function} changes"


@pytest.mark.parametrize(
    ("function", "index"),
    [("increment_skill_uses", "skills (total_uses)"), ("record_skill_view", "user_skill_views (last_viewed_at)")],
)
def test_an_index_on_a_column_that_changes_is_noticed(function: str, index: str, addresses: Addresses) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute(f"CREATE INDEX ON {index}".encode())
    updated, in_place = updates(addresses, *MOVES[function])
    assert in_place < updated
