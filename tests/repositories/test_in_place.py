"""Tests that every function updates counters and views in place (HOT), without writing to an index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb import queries
from skilldb.models import NewSkillFeedback, NewTokenMeasurement, NewUsageEvent
from skilldb.query import Query
from skilldb.repositories import feedback, metrics, ratings, tokens, usage, users, views
from skilldb.statement import Statement
from tests.support.api import ask, new_skill, new_user
from tests.support.server import Addresses, direct_only

pytestmark = direct_only
TIMES = 12
EVENT = NewUsageEvent(tool_name="t", skill_id="s1", user_id="u1")
MEASURED = NewTokenMeasurement(
    skill_id="s1", model_name="m", input_tokens=1, output_tokens=1, estimated_cost_microcents=1
)


def voted(number: int) -> NewSkillFeedback:
    """Feedback that counts as thumbs up or, for an even number, as thumbs down."""
    return NewSkillFeedback(skill_id="s1", feedback_type="thumbs_up" if number % 2 else "thumbs_down", user_id="u1")


# The twelve calls of each function. There are twelve users, u1 to u12, and the skill s1.
MOVES: dict[str, Callable[[int], Statement[Any]]] = {
    "increment_skill_uses": lambda n: metrics.increment_skill_uses("s1"),
    "record_usage_event": lambda n: usage.record_usage_event(EVENT),
    "record_usage_events": lambda n: usage.record_usage_events([EVENT, EVENT]),
    "rate_skill": lambda n: ratings.rate_skill("u1", "s1", n % 5 + 1),
    "delete_rating": lambda n: ratings.delete_rating(f"u{n}", "s1"),
    "delete_user": lambda n: users.delete_user(f"u{n}"),
    "submit_feedback": lambda n: feedback.submit_feedback(voted(n)),
    "record_token_measurement": lambda n: tokens.record_token_measurement(MEASURED),
    "record_token_measurements": lambda n: tokens.record_token_measurements([MEASURED]),
    "update_skill_rating": lambda n: metrics.update_skill_rating("s1"),
    "update_skill_feedback": lambda n: metrics.update_skill_feedback("s1"),
    "update_skill_token_cost": lambda n: metrics.update_skill_token_cost("s1"),
    "repair_metrics": lambda n: metrics.repair_metrics("s1"),
    "record_skill_view": lambda n: views.record_skill_view("u1", "s1", n),
    "open_skill": lambda n: views.open_skill("u1", "s1"),
}
# What must be there before a call of the function can update anything.
BEFORE: dict[str, Callable[[int], Statement[Any]]] = {
    "delete_rating": lambda n: ratings.rate_skill(f"u{n}", "s1", n % 5 + 1),
    "delete_user": lambda n: ratings.rate_skill(f"u{n}", "s1", n % 5 + 1),
    "record_skill_view": lambda n: views.record_skill_view("u1", "s1", 1),
    "open_skill": lambda n: views.open_skill("u1", "s1"),
}
# A merge moves rows from skill to skill, which indexes hold.
NOT_IN_PLACE = {"move_views", "add_counters", "archive_merged_skill"}
# These change no counter but updated_at, which skills_updated_idx holds, or the author, which skills_author_idx holds.
NOT_IN_PLACE |= {
    "update_skill",
    "publish_skill_version",
    "publish_existing_version",
    "pass_on_skills",
    "transfer_skills",
    "update_imported_skills",
    "publish_imported_versions",
}


def updated_table(query: Query) -> str | None:
    """Which of skills and user_skill_views the query updates."""
    body = re.sub(r"--[^\n]*|/\*.*?\*/", "", query.sql.decode())
    found = re.search(r"\bUPDATE\s+(skills|user_skill_views)\b", body) or re.search(
        r"\bINTO\s+(skills|user_skill_views)\b.*\bDO UPDATE\b", body, flags=re.DOTALL
    )
    return found[1] if found else None


def not_tested(named: Iterable[Query], moves: Mapping[str, Callable[[int], Statement[Any]]]) -> list[str]:
    """A sentence for each query that updates skills or user_skill_views, and that no call of the moves runs."""
    run = {step.query.name for move in moves.values() for step in move(1).steps}
    return [
        f"{query.name} updates {table}: add the function that runs it to MOVES in tests/repositories/test_in_place.py"
        for query in named
        if (table := updated_table(query)) and query.name not in run | NOT_IN_PLACE
    ]


def updates(db: skilldb.Database, table: str, move: Callable[[int], Statement[Any]]) -> Iterator[tuple[int, int]]:
    """How many rows of the table each of twelve calls updated, and how many of them in place."""
    counted = "SELECT ARRAY[n_tup_upd, n_tup_hot_upd] FROM pg_stat_xact_user_tables WHERE relname = %(relation)s"
    # A session counts until it reports: it must report after each call, for the next one to begin with 0.
    reported = ask("SELECT pg_stat_force_next_flush()::text")
    tenant = db.tenant("acme")
    tenant.execute(reported)
    for number in range(1, TIMES + 1):
        _, (updated, in_place), _ = tenant.execute(move(number), ask(counted, relation=table), reported)
        yield updated, in_place


@pytest.fixture
def database(addresses: Addresses) -> Iterator[skilldb.Database]:
    """With a single session, which counts what it updates."""
    with skilldb.connect(addresses.service, max_size=1) as opened:
        yield opened


@pytest.fixture(autouse=True)
def rows_to_update(acme: skilldb.Tenant) -> None:
    for number in range(1, TIMES + 1):
        new_user(acme, f"u{number}")
    new_skill(acme, "s1")


def prepare(acme: skilldb.Tenant, function: str) -> str:
    """Write what the function updates. Returns the table that it updates."""
    if function in BEFORE:
        acme.execute(*(BEFORE[function](number) for number in range(1, TIMES + 1)))
    (table,) = {table for step in MOVES[function](1).steps if (table := updated_table(step.query))}
    return table


@pytest.mark.parametrize("function", MOVES)
def test_a_counter_or_view_is_updated_in_place(function: str, database: skilldb.Database, acme: skilldb.Tenant) -> None:
    table = prepare(acme, function)
    for updated, in_place in updates(database, table, MOVES[function]):
        assert updated > 0
        assert in_place == updated, f"{table} has an index on a column that {function} changes"


def test_every_query_that_updates_a_counter_or_view_is_tested() -> None:
    found = list(queries.load_all().values())
    assert not_tested(found, MOVES) == []
    for left_out, query in [
        ("delete_user", "withdraw_ratings_of_user updates skills"),
        ("delete_rating", "delete_rating updates skills"),
        ("repair_metrics", "repair_metrics updates skills"),
        ("open_skill", "open_skill updates user_skill_views"),
    ]:
        sentences = not_tested(found, {name: move for name, move in MOVES.items() if name != left_out})
        assert any(sentence.startswith(query) for sentence in sentences), sentences


@pytest.mark.parametrize(
    ("function", "index"),
    [
        ("increment_skill_uses", "skills (total_uses)"),
        ("delete_user", "skills (rating_count)"),
        ("repair_metrics", "skills (metrics_updated_at)"),
        ("record_skill_view", "user_skill_views (last_viewed_at)"),
    ],
)
def test_an_index_on_a_column_that_changes_is_noticed(
    function: str, index: str, addresses: Addresses, database: skilldb.Database, acme: skilldb.Tenant
) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute(f"CREATE INDEX ON {index}".encode())
    table = prepare(acme, function)
    # Two calls within a millisecond may write the same time.
    assert any(in_place < updated for updated, in_place in updates(database, table, MOVES[function]))
