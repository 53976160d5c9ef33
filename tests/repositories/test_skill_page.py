"""Tests a skill page: six statements of five repositories in one `execute` take one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, assert_type

import pytest

import skilldb
from skilldb.models import (
    BenchmarkRun,
    BenchmarkRunWithResults,
    FeedbackWithUsers,
    NewBenchmarkResult,
    NewBenchmarkRun,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    Page,
    Skill,
    SkillChanges,
    SkillCostStats,
    UserSkillView,
)
from skilldb.repositories import benchmarks, feedback, skills, tokens, views
from skilldb.statement import Statement
from tests.support.api import new_skill, new_user
from tests.support.database import contents, rows
from tests.support.proxy import Proxy, through
from tests.support.server import Addresses

PageStatements = tuple[
    Statement[Skill | None],
    Statement[UserSkillView | None],
    Statement[SkillChanges | None],
    Statement[SkillCostStats],
    Statement[BenchmarkRunWithResults | None],
    Statement[Page[FeedbackWithUsers]],
]
PageResults = tuple[
    Skill | None,
    UserSkillView | None,
    SkillChanges | None,
    SkillCostStats,
    BenchmarkRunWithResults | None,
    Page[FeedbackWithUsers],
]


def page(user_id: str, skill_id: str) -> PageStatements:
    return (
        skills.get_skill(skill_id),
        views.get_user_view(user_id, skill_id),
        views.detect_changes(user_id, skill_id),
        tokens.get_skill_cost_stats(skill_id),
        benchmarks.get_latest_benchmark_run(skill_id),
        feedback.list_feedback(skill_id, limit=2),
    )


def open_blocking(dsn: str, wire: Proxy, user_id: str, skill_id: str) -> tuple[PageResults, int]:
    """The page, and its number of round trips."""
    with skilldb.connect(dsn) as db:
        before = wire.round_trips
        found = db.tenant("acme").execute(*page(user_id, skill_id))
        return assert_type(found, PageResults), wire.round_trips - before


def open_async(dsn: str, wire: Proxy, user_id: str, skill_id: str) -> tuple[PageResults, int]:
    async def open_page() -> tuple[PageResults, int]:
        async with skilldb.connect_async(dsn) as db:
            before = wire.round_trips
            found = await db.tenant("acme").execute(*page(user_id, skill_id))
            return assert_type(found, PageResults), wire.round_trips - before

    return asyncio.run(open_page())


@pytest.fixture(params=[open_blocking, open_async], ids=["blocking", "async"])
def open_page(request: pytest.FixtureRequest) -> Callable[..., tuple[Any, int]]:
    """One of the two APIs; each test runs on both."""
    chosen: Callable[..., tuple[Any, int]] = request.param
    return chosen


@pytest.fixture
def finished(addresses: Addresses, acme: skilldb.Tenant) -> BenchmarkRun:
    """The skill s1. u1 viewed it; then it got a new version, feedback, a measurement and a benchmark run."""
    for user in ("u1", "u2"):
        new_user(acme, user)
    for skill in ("s1", "s2"):
        new_skill(acme, skill)
    for digit in "12":
        acme.execute(
            skills.publish_skill_version("s1", NewSkillVersion(content_url="u", content_hash=digit * 64)),
            *([views.open_skill("u1", "s1")] if digit == "1" else []),
        )
    for number, (user_id, kind) in enumerate((("u1", "thumbs_up"), (None, "thumbs_up"), ("u2", "thumbs_down")), 1):
        acme.execute(
            feedback.submit_feedback(
                NewSkillFeedback(skill_id="s1", feedback_type=kind, user_id=user_id, id=f"f{number}")
            )
        )
    # Make it later than the view, even if all of this takes less than a millisecond.
    later = "UPDATE skill_feedback SET created_at = created_at + interval '1 minute' RETURNING 1"
    assert rows(addresses.admin, later) == [(1,)] * 3
    acme.execute(
        *(
            tokens.record_token_measurement(
                NewTokenMeasurement(skill_id="s1", model_name=model, estimated_cost_microcents=cost)
            )
            for model, cost in (("a", 10), ("b", 21), ("b", None))
        ),
        benchmarks.create_benchmark_run(NewBenchmarkRun(skill_id="s1", triggered_by="u2", models=["a"], id="old")),
    )
    return acme.execute(
        benchmarks.create_benchmark_run(NewBenchmarkRun(skill_id="s1", triggered_by="u2", models=["a"], id="r1")),
        benchmarks.start_benchmark_run("r1"),
        benchmarks.record_benchmark_results("r1", [NewBenchmarkResult(model_name="a", test_case_index=0)]),
        benchmarks.complete_benchmark_run("r1"),
    )[3]


def test_a_skill_page_is_one_round_trip_and_all_of_it_is_right(
    addresses: Addresses, wire: Proxy, finished: BenchmarkRun, open_page: Callable[..., tuple[Any, int]]
) -> None:
    before = contents(addresses.admin)

    results, trips = open_page(through(wire, addresses.service), wire, "u1", "s1")

    assert trips == 1
    skill, seen, changes, costs, latest, comments = results
    assert isinstance(skill, Skill)
    assert (skill.id, skill.published_version, skill.total_feedback) == ("s1", 2, 3)
    assert (skill.positive_feedback_pct, skill.avg_token_cost_microcents) == (67, 16)
    assert isinstance(seen, UserSkillView)
    assert (seen.user_id, seen.skill_id, seen.last_viewed_version, seen.view_count) == ("u1", "s1", 1, 1)
    assert changes == SkillChanges(
        skill_id="s1",
        last_viewed_at=seen.last_viewed_at,
        last_viewed_version=1,
        current_version=2,
        version_rose=True,
        version_changed=True,
        feedback_since=3,
        content_changed=False,
    )
    assert costs == SkillCostStats(
        skill_id="s1", total_cost_microcents=31, avg_cost_microcents=16, measurements=3, predominant_model="b"
    )
    assert isinstance(latest, BenchmarkRunWithResults)
    assert (latest.id, latest.status, latest.completed_at) == ("r1", "completed", finished.completed_at)
    assert [(r.model_name, r.test_case_index) for r in latest.results] == [("a", 0)]
    assert [type(item) for item in comments.items] == [FeedbackWithUsers] * 2
    assert [(item.id, item.user_name) for item in comments.items] == [("f3", "U2"), ("f2", None)]
    assert comments.after is not None
    # Reading the page writes nothing.
    assert contents(addresses.admin) == before


@pytest.mark.usefixtures("finished")
def test_the_page_of_a_skill_of_which_nothing_is_known_is_one_round_trip_too(
    addresses: Addresses, wire: Proxy, open_page: Callable[..., tuple[Any, int]]
) -> None:
    (skill, *rest), trips = open_page(through(wire, addresses.service), wire, "u1", "s2")
    assert trips == 1
    assert (skill.id, skill.published_version) == ("s2", None)
    nothing = SkillCostStats(
        skill_id="s2", total_cost_microcents=0, avg_cost_microcents=None, measurements=0, predominant_model=None
    )
    assert rest == [None, None, nothing, None, Page(items=[], after=None)]


def test_the_same_page_statement_by_statement_is_six_round_trips(
    addresses: Addresses, wire: Proxy, acme: skilldb.Tenant
) -> None:
    new_skill(acme, "s1")
    with skilldb.connect(through(wire, addresses.service)) as db:
        before = wire.round_trips
        for statement in page("u1", "s1"):
            db.tenant("acme").execute(statement)
        assert wire.round_trips - before == 6
