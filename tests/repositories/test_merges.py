"""Tests merging a skill into another: what moves, what stays, and that every count is exact afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

from skilldb.errors import InvalidValueError, NotFoundError
from skilldb.models import (
    NewBenchmarkRun,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    NewUsageEvent,
    Skill,
)
from skilldb.repositories import (
    benchmarks,
    feedback,
    metrics,
    ratings,
    retention,
    skills,
    tokens,
    usage,
    views,
)
from skilldb.statement import Statement
from tests.support.api import Api, fill, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.rollups import drifted
from tests.support.server import Addresses

MISSING = "skill 'missing' does not exist"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with three users, and the skills s1, s2 and other, each with something to count."""
    tenant = api("acme")
    for user in ("u1", "u2", "u3"):
        new_user(tenant, user)
    for skill in ("s1", "s2", "other"):
        fill(tenant, skill)
    return tenant


def exact(tenant: Api) -> bool:
    """Whether every counter and rollup is that of its rows."""
    return not tenant.execute(metrics.find_metric_drift()) and not drifted(tenant.execute)


def publish(tenant: Api, skill: str, *hashes: str) -> None:
    for hash in hashes:
        version = NewSkillVersion(id=f"{skill}-{hash}", content_url=hash, content_hash=hash * 64)
        tenant.execute(skills.publish_skill_version(skill, version))


def owned(addresses: Addresses, skill: str) -> dict[str, int]:
    """How many rows of each table name the skill, where there are any."""
    tables = rows(
        addresses.admin,
        "SELECT c.relname FROM pg_class AS c INNER JOIN pg_attribute AS a ON a.attrelid = c.oid "
        "WHERE c.relkind = 'r' AND a.attname = 'skill_id' AND c.relnamespace = 'public'::regnamespace "
        "AND c.relname <> 'skill_search' ORDER BY 1",
    )
    found = {
        table: rows(addresses.admin, f"SELECT count(*) FROM {table} WHERE skill_id = %s", skill)[0][0]  # noqa: S608
        for (table,) in tables
    }
    return {table: count for table, count in found.items() if count}


FILLED = {
    "ratings": 1,
    "skill_daily_costs": 1,
    "skill_feedback": 3,
    "skill_monthly_uses": 1,
    "token_measurements": 1,
    "usage_events": 2,
}


def test_what_users_gave_moves_and_every_count_is_exact(addresses: Addresses, acme: Api) -> None:
    acme.execute(
        ratings.rate_skill("u2", "s1", 5),
        views.open_skill("u3", "s1"),
        metrics.increment_skill_uses("s1", by=7),
        metrics.increment_skill_uses("s2", by=5),
        tokens.record_token_measurement(
            NewTokenMeasurement(skill_id="s1", model_name="m", estimated_cost_microcents=50_000, latency_ms=7)
        ),
        tokens.record_token_measurement(NewTokenMeasurement(skill_id="s1", model_name="another")),
    )
    other, source, target = acme.execute(*(skills.get_skill(id) for id in ("other", "s1", "s2")))
    assert owned(addresses, "s1") == FILLED | {
        "ratings": 2,
        "skill_daily_costs": 2,
        "token_measurements": 3,
        "user_skill_views": 1,
    }
    merged: Skill = acme.execute(skills.merge_skills("s1", "s2"))
    assert merged == replace(
        target,
        total_uses=(2 + 7) + (2 + 5),
        rating_count=2,  # u1 rated both.
        average_rating=400,
        total_feedback=6,
        positive_feedback_pct=50,
        avg_token_cost_microcents=(2 * 1_050_000 + 50_000 + 1) // 3,
        metrics_updated_at=merged.metrics_updated_at,
    )
    left = acme.execute(skills.get_skill("s1"))
    assert left == replace(
        source,
        status="archived",
        updated_at=left.updated_at,
        metrics_updated_at=merged.metrics_updated_at,
        total_uses=0,
        rating_count=0,
        average_rating=None,
        total_feedback=0,
        positive_feedback_pct=None,
        avg_token_cost_microcents=None,
    )
    assert left.updated_at > source.updated_at
    assert rows(addresses.admin, "SELECT edited_at FROM skills WHERE id = 's1'") == [(left.updated_at,)]
    assert rows(addresses.admin, "SELECT status FROM skill_search WHERE skill_id = 's1'") == [("archived",)]
    assert owned(addresses, "s1") == {}
    assert owned(addresses, "s2") == {
        "ratings": 2,
        "skill_daily_costs": 2,
        "skill_feedback": 6,
        "skill_monthly_uses": 1,
        "token_measurements": 4,
        "usage_events": 4,
        "user_skill_views": 1,
    }
    assert owned(addresses, "other") == FILLED
    assert acme.execute(skills.get_skill("other")) == other
    assert exact(acme)
    assert [day.uses for day in acme.execute(usage.count_uses_by_day("s2", 1))] == [4]
    costs = acme.execute(tokens.get_skill_cost_stats("s2"))
    assert (costs.measurements, costs.predominant_model, costs.total_cost_microcents) == (4, "m", 2_150_000)
    again = acme.execute(metrics.repair_metrics("s2"))
    assert again == replace(merged, metrics_updated_at=again.metrics_updated_at)


def test_months_and_days_of_both_are_added_up(acme: Api) -> None:
    days = [datetime(2026, month, day, tzinfo=UTC) for month, day in ((1, 3), (1, 3), (1, 31), (2, 1), (3, 9))]
    for skill, some in (("s1", days[:4]), ("s2", days[1:])):
        acme.execute(
            usage.record_usage_events(NewUsageEvent(tool_name="t", skill_id=skill, created_at=day) for day in some),
            tokens.record_token_measurements(
                NewTokenMeasurement(
                    skill_id=skill,
                    model_name="m",
                    input_tokens=1,
                    output_tokens=2,
                    latency_ms=3,
                    estimated_cost_microcents=4,
                    created_at=day,
                )
                for day in some
            ),
        )
    acme.execute(skills.merge_skills("s1", "s2"))
    assert exact(acme)
    since = (datetime.now(UTC) - days[0]).days + 1
    uses = {day.day: day.uses for day in acme.execute(usage.count_uses_by_day("s2", since)) if day.uses}
    assert [uses[day.date()] for day in days[1:]] == [3, 2, 2, 1]
    costs = {day.day: day.cost_microcents for day in acme.execute(tokens.get_cost_trend("s2", since))}
    assert [costs[day.date()] for day in days[1:]] == [12, 8, 8, 4]


def test_uses_whose_events_were_pruned_move_with_the_rollups(acme: Api) -> None:
    old = datetime.now(UTC) - timedelta(days=100)
    acme.execute(usage.record_usage_events([NewUsageEvent(tool_name="t", skill_id="s1", created_at=old)] * 3))
    acme.execute(retention.keep_rows(event_days=30), retention.prune_events())
    assert acme.execute(skills.merge_skills("s1", "s2")).total_uses == 3 + 2 + 2
    assert exact(acme)
    assert sum(day.uses for day in acme.execute(usage.count_uses_by_day("s2", 200))) == 7


def test_who_rated_both_keeps_the_newer_rating(addresses: Addresses, acme: Api) -> None:
    acme.execute(*(ratings.rate_skill(user, skill, 5) for user in ("u1", "u2", "u3") for skill in ("s1", "s2")))
    stars = {("u1", "s1"): (1, 2), ("u1", "s2"): (5, 1), ("u2", "s1"): (1, 1), ("u2", "s2"): (4, 2)}
    stars |= {("u3", "s1"): (1, 1), ("u3", "s2"): (3, 1)}
    for (user, skill), (rating, day) in stars.items():
        change = "UPDATE ratings SET rating = %s, updated_at = %s WHERE user_id = %s AND skill_id = %s RETURNING 1"
        rows(addresses.admin, change, rating, LONG_AGO + timedelta(days=day), user, skill)
    acme.execute(*(metrics.repair_metrics(skill) for skill in ("s1", "s2")))
    kept = {
        rating.user_id: rating
        for skill in ("s1", "s2")
        for rating in acme.execute(ratings.list_ratings(skill)).items
        if (rating.user_id, skill) in {("u1", "s1"), ("u2", "s2"), ("u3", "s2")}
    }
    merged = acme.execute(skills.merge_skills("s1", "s2"))
    found = {rating.user_id: rating for rating in acme.execute(ratings.list_ratings("s2")).items}
    assert found == {user: replace(rating, skill_id="s2") for user, rating in kept.items()}
    assert {user: rating.rating for user, rating in found.items()} == {"u1": 1, "u2": 4, "u3": 3}
    assert (merged.rating_count, merged.average_rating) == (3, 267)
    assert exact(acme)


def test_who_viewed_both_keeps_the_later_view_the_sum_and_the_version_of_the_target(
    addresses: Addresses, acme: Api
) -> None:
    publish(acme, "s1", "1", "2", "3")
    publish(acme, "s2", "1", "2")
    viewed = {
        ("u1", "s1"): (3, 4, 2),
        ("u1", "s2"): (2, 3, 1),
        ("u2", "s1"): (1, 1, 1),
        ("u2", "s2"): (1, 1, 2),
        ("u3", "s1"): (2, 5, 3),
    }
    for (user, skill), (version, count, day) in viewed.items():
        acme.execute(*[views.record_skill_view(user, skill, version)] * count)
        change = "UPDATE user_skill_views SET last_viewed_at = %s WHERE user_id = %s AND skill_id = %s RETURNING 1"
        rows(addresses.admin, change, LONG_AGO + timedelta(days=day), user, skill)
    acme.execute(skills.merge_skills("s1", "s2"))
    found = {user: acme.execute(views.get_user_view(user, "s2")) for user in ("u1", "u2", "u3")}
    assert {
        user: ((view.last_viewed_at - LONG_AGO).days, view.view_count, view.last_viewed_version)
        for user, view in found.items()
    } == {"u1": (2, 7, 2), "u2": (2, 2, 1), "u3": (3, 5, None)}
    assert [acme.execute(views.get_user_view(user, "s1")) for user in found] == [None] * 3


def test_who_viewed_only_the_source_finds_the_target_in_whats_new(addresses: Addresses, acme: Api) -> None:
    publish(acme, "s1", "1", "2")
    publish(acme, "s2", "1")
    acme.execute(views.open_skill("u1", "s1"), views.open_skill("u1", "s2"), views.open_skill("u2", "s1"))
    rows(addresses.admin, "UPDATE user_skill_views SET last_viewed_at = now() + interval '1 hour' RETURNING 1")
    acme.execute(skills.merge_skills("s1", "s2"))
    assert acme.execute(views.get_whats_new_for_user("u1")) == []
    (item,) = acme.execute(views.get_whats_new_for_user("u2"))
    assert (item.skill_id, item.last_viewed_version, item.published_version) == ("s2", None, 1)
    acme.execute(views.open_skill("u2", "s2"))
    assert acme.execute(views.get_whats_new_for_user("u2")) == []


def test_the_source_can_be_deleted_afterwards_and_nothing_that_moved_is_lost(addresses: Addresses, acme: Api) -> None:
    publish(acme, "s1", "1", "2")
    publish(acme, "s2", "1")
    acme.execute(
        views.open_skill("u1", "s1"),
        *(
            feedback.submit_feedback(
                NewSkillFeedback(
                    id=f"{version}", skill_id=skill, skill_version_id=version, feedback_type="thumbs_up", user_id="u1"
                )
            )
            for skill, version in (("s1", "s1-1"), ("s1", "s1-2"), ("s2", "s2-1"))
        ),
        benchmarks.create_benchmark_run(
            NewBenchmarkRun(id="r1", skill_id="s1", skill_version_id="s1-1", triggered_by="u1", models=["m"])
        ),
    )
    acme.execute(skills.merge_skills("s1", "s2"))
    # What is about the content of the source stays with it.
    assert owned(addresses, "s1") == {"benchmark_runs": 1, "skill_versions": 2}
    assert acme.execute(benchmarks.get_latest_benchmark_run("s1")).skill_version_id == "s1-1"
    assert acme.execute(benchmarks.get_latest_benchmark_run("s2")) is None
    named = {item.id: item.skill_version_id for item in acme.execute(feedback.list_feedback("s2")).items}
    assert {id: named[id] for id in ("s1-1", "s1-2", "s2-1")} == {"s1-1": None, "s1-2": None, "s2-1": "s2-1"}
    skill, before = acme.execute(skills.get_skill("s2")), owned(addresses, "s2")
    assert acme.execute(skills.delete_skill("s1")) is True
    assert (acme.execute(skills.get_skill("s2")), owned(addresses, "s2")) == (skill, before)
    assert exact(acme)


def test_an_archived_source_keeps_its_time_and_a_second_merge_moves_what_came_since(
    addresses: Addresses, acme: Api
) -> None:
    acme.execute(skills.merge_skills("s1", "s2"))
    archived = acme.execute(skills.get_skill("s1"))
    acme.execute(usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1")))
    assert acme.execute(skills.get_skill("s1")).total_uses == 1
    assert acme.execute(skills.merge_skills("s1", "s2")).total_uses == 5
    again = acme.execute(skills.get_skill("s1"))
    assert again == replace(archived, metrics_updated_at=again.metrics_updated_at)
    assert exact(acme)


def test_skills_without_anything_and_back_again(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "empty", status="draft")
    before = owned(addresses, "s1")
    there = acme.execute(skills.merge_skills("s1", "empty"))
    assert (there.status, there.total_uses, there.rating_count) == ("draft", 2, 1)
    back = acme.execute(skills.merge_skills("empty", "s1"))
    assert (back.status, back.total_uses, back.rating_count) == ("archived", 2, 1)
    assert owned(addresses, "s1") == before
    assert acme.execute(skills.get_skill("empty")).status == "archived"
    assert exact(acme)


def test_the_ratings_of_a_user_who_is_locked_meanwhile_both_stay(addresses: Addresses, acme: Api) -> None:
    """Another transaction may change the email of a user who rated the source after the merge had locked its users.

    The rating of the source cannot move then, and must not let that of the target go, or be lost itself.
    """
    acme.execute(
        ratings.rate_skill("u2", "s2", 2, created_at=LONG_AGO),
        ratings.rate_skill("u2", "s1", 5),
        ratings.rate_skill("u3", "s1", 4),
    )
    with psycopg.connect(addresses.admin) as other:
        other.execute("SELECT FROM users WHERE id IN ('u1', 'u2') FOR UPDATE")
        merge = skills.merge_skills("s1", "s2")
        # Without the step that would wait: the users have rated after it.
        acme.execute(Statement(merge.reader, *(s for s in merge.steps if s.query.name != "lock_users_of_skill")))
    found = rows(
        addresses.admin, "SELECT user_id, skill_id, rating FROM ratings WHERE skill_id <> 'other' ORDER BY 1, 2"
    )
    first = [row for row in found if row[0] == "u1"]
    assert [skill for _, skill, _ in first] == ["s1", "s2"]
    assert found == [*first, ("u2", "s1", 5), ("u2", "s2", 2), ("u3", "s2", 4)]
    assert exact(acme)
    acme.execute(skills.merge_skills("s1", "s2"))
    found = rows(
        addresses.admin, "SELECT user_id, skill_id, rating FROM ratings WHERE skill_id <> 'other' ORDER BY 1, 2"
    )
    assert found == [first[1], ("u2", "s2", 5), ("u3", "s2", 4)]
    assert exact(acme)


def test_a_merge_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, InvalidValueError, "target_skill_id must not be the source_skill_id: 's1'"):
        acme.execute(skills.merge_skills("s1", "s1"))
    for ids in (("missing", "s1"), ("s1", "missing")):
        with refused(addresses, NotFoundError, MISSING, cause=pg.NoDataFound):
            acme.execute(skills.merge_skills(*ids))
    wrong: list[tuple[Any, Any, str]] = [(5, "s1", "source_skill_id"), ("s1", "a\0", "target_skill_id")]
    for source, target, named in wrong:
        with refused(addresses, InvalidValueError, named):
            acme.execute(skills.merge_skills(source, target))


def test_a_merge_reaches_no_other_tenant(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    globex = api("globex")
    for user in ("u1", "u2"):
        new_user(globex, user)
    for skill in ("s1", "s2"):
        fill(globex, skill)
    new_skill(globex, "theirs")

    def of_globex() -> list[tuple[Any, ...]]:
        return [row for row in contents(addresses.admin) if "globex" in row[2]]

    before = of_globex()
    assert len(before) > 10
    acme.execute(skills.merge_skills("s1", "s2"))
    for ids in (("theirs", "s2"), ("s2", "theirs")):
        with refused(addresses, NotFoundError, "skill 'theirs' does not exist", cause=pg.NoDataFound):
            acme.execute(skills.merge_skills(*ids))
    assert of_globex() == before
