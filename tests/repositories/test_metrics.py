"""Tests the counters and averages on skills: they are updated and recomputed; drift is found and repaired."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

import skilldb
from skilldb.errors import InvalidValueError, NotFoundError, translate
from skilldb.models import MetricDrift, NewSkill, NewSkillFeedback, NewUsageEvent
from skilldb.queries import folder
from skilldb.queries import load as loaded
from skilldb.query import Query
from skilldb.repositories import feedback as feedback_repository
from skilldb.repositories import metrics, ratings, skills, usage, users
from skilldb.statement import Statement
from tests.support.api import Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.queries import altered
from tests.support.server import Addresses

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the users u1 to u3 and the skills s1 and s2."""
    tenant = api("acme")
    for user in ("u1", "u2", "u3"):
        new_user(tenant, user)
    for skill in ("s1", "s2"):
        new_skill(tenant, skill)
    return tenant


def feedback(addresses: Addresses, *types: str) -> None:
    """Feedback items on s1 that are not counted."""
    for type_ in types:
        rows(
            addresses.admin,
            "INSERT INTO skill_feedback (tenant_id, skill_id, feedback_type) VALUES ('acme', 's1', %s) RETURNING id",
            type_,
        )


def measurements(addresses: Addresses, *costs: int | None) -> None:
    """Rollups of measurements of s1 that are not counted."""
    for cost in costs:
        rows(
            addresses.admin,
            "INSERT INTO skill_daily_costs SELECT 'acme', 's1', '2000-01-01'::date + count(*)::integer, 'm', 1, "
            "num_nonnulls(%s::bigint), coalesce(%s, 0), 0, 0, 0, 0, 0 FROM skill_daily_costs RETURNING day",
            cost,
            cost,
        )


def falsify(addresses: Addresses, column: str, value: int | None, skill: str = "s1") -> None:
    """Set the column of the skill to a wrong value."""
    changed = rows(addresses.admin, f"UPDATE skills SET {column} = %s WHERE id = %s RETURNING id", value, skill)  # noqa: S608
    assert changed == [(skill,)]


def test_uses_are_counted_by_any_positive_number(acme: Api) -> None:
    assert [acme.execute(metrics.increment_skill_uses("s1", *by)) for by in ((), (1,), (40,))] == [1, 2, 42]
    assert [acme.execute(skills.get_skill(skill)).total_uses for skill in ("s1", "s2")] == [42, 0]


def test_one_increment_counts_a_million_at_most(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(metrics.increment_skill_uses("s1", 1_000_000)) == 1_000_000
    for by in (1_000_001, 2**31 - 1, 2**63):
        with refused(addresses, InvalidValueError, f"by must be at most 1000000, not {by}"):
            acme.execute(metrics.increment_skill_uses("s1", by))
    assert acme.execute(usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1"))) is True
    assert acme.execute(skills.get_skill("s1")).total_uses == 1_000_001


def test_every_counter_of_a_skill_goes_on_after_the_last_32_bit_integer(addresses: Addresses, acme: Api) -> None:
    most = 2**31 - 1
    falsify(addresses, f"rating_sum = 5::bigint * {most}, total_feedback = {most}, rating_count", most)
    falsify(addresses, f"thumbs_up_count = {most - 1}, total_uses", most)
    acme.execute(
        metrics.increment_skill_uses("s1"),
        ratings.rate_skill("u1", "s1", 5),
        feedback_repository.submit_feedback(NewSkillFeedback(skill_id="s1", feedback_type="thumbs_up")),
        feedback_repository.submit_feedback(NewSkillFeedback(skill_id="s1", feedback_type="thumbs_up")),
        usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1")),
        usage.record_usage_events([NewUsageEvent(tool_name="t", skill_id="s1")]),
    )
    found = acme.execute(skills.get_skill("s1"))
    assert (found.total_uses, found.rating_count, found.total_feedback) == (most + 3, most + 1, most + 2)
    assert (found.average_rating, found.positive_feedback_pct) == (500, 100)
    drift = {d.metric: d.stored for d in acme.execute(metrics.find_metric_drift())}
    assert drift["thumbs_up_count"] == most + 1
    assert drift["rating_sum"] == 5 * (most + 1)
    assert acme.execute(metrics.increment_skill_uses("s1")) == most + 4
    assert acme.execute(metrics.repair_metrics("s1")).total_uses == most + 4


@pytest.mark.parametrize(
    ("count", "above", "rating", "positive"),
    [
        # Means of 450 and a half, or 50 and a half, and of less than that by a part that 16 digits do not show.
        (10**18, 0, 451, 51),
        (10**18, -1, 450, 50),
    ],
)
def test_averages_of_any_number_of_rows_are_rounded_from_the_exact_quotient(
    addresses: Addresses, acme: Api, count: int, above: int, rating: int, positive: int
) -> None:
    total, up = count * 901 // 200 + above, count * 101 // 200 + above
    falsify(addresses, f"rating_sum = {total - 5}, rating_count", count - 1)
    falsify(addresses, f"total_feedback = {count}, thumbs_down_count = {count - up}, thumbs_up_count", up - 1)

    def average_after(*statements: Statement[Any]) -> int | None:
        acme.execute(*statements)
        found: int | None = acme.execute(skills.get_skill("s1")).average_rating
        return found

    assert average_after(ratings.rate_skill("u1", "s1", 5)) == rating
    assert average_after(ratings.rate_skill("u1", "s1", 1), ratings.rate_skill("u1", "s1", 5)) == rating
    assert average_after(ratings.rate_skill("u2", "s1", 1), ratings.delete_rating("u2", "s1")) == rating
    assert average_after(ratings.rate_skill("u2", "s1", 1), users.delete_user("u2")) == rating
    acme.execute(feedback_repository.submit_feedback(NewSkillFeedback(skill_id="s1", feedback_type="thumbs_up")))
    assert acme.execute(skills.get_skill("s1")).positive_feedback_pct == positive


def test_the_last_count_of_all_is_refused_by_name(addresses: Addresses, acme: Api) -> None:
    falsify(addresses, "total_uses", 2**63 - 1)
    with refused(addresses, InvalidValueError, "by=1", "'s1'", cause=pg.NumericValueOutOfRange):
        acme.execute(metrics.increment_skill_uses("s1"))


def test_an_increment_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    for by in (0, -1, -(2**40)):
        with refused(addresses, InvalidValueError, f"by must be at least 1, not {by}"):
            acme.execute(metrics.increment_skill_uses("s1", by))
    for wrong in (True, 1.5):
        with refused(addresses, InvalidValueError, "by", str(wrong)):
            acme.execute(metrics.increment_skill_uses("s1", wrong))  # type: ignore[arg-type]


def test_the_average_rating_is_recomputed_from_the_ratings(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(metrics.update_skill_rating("s1")) is None
    for user, rating in (("u1", 1), ("u2", 2), ("u3", 2)):
        acme.execute(ratings.rate_skill(user, "s1", rating), ratings.rate_skill(user, "s2", 5))
    falsify(addresses, "rating_count = 7, average_rating = 500, rating_sum", 35)
    assert acme.execute(skills.get_skill("s1")).average_rating == 500
    assert acme.execute(metrics.update_skill_rating("s1")) == 167
    repaired = acme.execute(skills.get_skill("s1"))
    assert (repaired.rating_count, repaired.average_rating) == (3, 167)
    assert acme.execute(metrics.update_skill_rating("s2")) == 500
    deleted = rows(addresses.admin, "DELETE FROM ratings WHERE skill_id = 's1' RETURNING rating")
    assert sorted(deleted) == [(1,), (2,), (2,)]
    assert acme.execute(metrics.update_skill_rating("s1")) is None
    assert acme.execute(skills.get_skill("s1")).rating_count == 0


def test_the_feedback_percentage_is_of_thumbs_and_the_total_of_every_type(addresses: Addresses, acme: Api) -> None:
    feedback(addresses, "suggestion", "bug_report", "training_example")
    assert acme.execute(metrics.update_skill_feedback("s1")) is None
    assert acme.execute(skills.get_skill("s1")).total_feedback == 3
    feedback(addresses, "thumbs_up", "thumbs_up", "thumbs_down")
    assert acme.execute(metrics.update_skill_feedback("s1")) == 67
    feedback(addresses, *["thumbs_up"] * 3, *["thumbs_down"] * 2)  # 5 of 8 are 62.5
    assert acme.execute(metrics.update_skill_feedback("s1")) == 63
    found = acme.execute(skills.get_skill("s1"))
    assert (found.total_feedback, found.positive_feedback_pct) == (11, 63)
    assert acme.execute(metrics.update_skill_feedback("s2")) is None


def test_the_token_cost_is_the_mean_of_the_priced_measurements(addresses: Addresses, acme: Api) -> None:
    measurements(addresses, None)
    assert acme.execute(metrics.update_skill_token_cost("s1")) is None
    measurements(addresses, 1, 2)
    assert acme.execute(metrics.update_skill_token_cost("s1")) == 2
    measurements(addresses, 0, 5_000_000_000_001)
    assert acme.execute(metrics.update_skill_token_cost("s1")) == 1_250_000_000_001
    assert acme.execute(skills.get_skill("s1")).avg_token_cost_microcents == 1_250_000_000_001
    assert acme.execute(metrics.update_skill_token_cost("s2")) is None


METRICS = (
    "total_uses",
    "rating_count",
    "rating_sum",
    "average_rating",
    "total_feedback",
    "thumbs_up_count",
    "thumbs_down_count",
    "positive_feedback_pct",
    "priced_measurement_count",
    "token_cost_sum_microcents",
    "avg_token_cost_microcents",
)


EACH: dict[str, Callable[[str], Statement[Any]]] = {
    "increment_skill_uses": metrics.increment_skill_uses,
    "update_skill_rating": metrics.update_skill_rating,
    "update_skill_feedback": metrics.update_skill_feedback,
    "update_skill_token_cost": metrics.update_skill_token_cost,
    "repair_metrics": metrics.repair_metrics,
}


def test_counters_move_metrics_updated_at_of_their_skill_and_never_updated_at(addresses: Addresses, acme: Api) -> None:
    for function in EACH.values():
        rows(
            addresses.admin,
            "UPDATE skills SET updated_at = %s, metrics_updated_at = %s RETURNING 1",
            LONG_AGO,
            LONG_AGO,
        )
        acme.execute(function("s1"))
        moved, other = acme.execute(skills.get_skill("s1"), skills.get_skill("s2"))
        assert moved.metrics_updated_at > LONG_AGO
        assert (moved.updated_at, other.updated_at, other.metrics_updated_at) == (LONG_AGO,) * 3


def test_counters_of_an_unknown_skill_or_of_another_tenants_are_not_found(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    globex = api("globex")
    for function in EACH.values():
        with refused(addresses, NotFoundError, "skill 'missing' does not exist", cause=pg.NoDataFound):
            acme.execute(function("missing"))
        with refused(addresses, NotFoundError, "skill 's1' does not exist", cause=pg.NoDataFound):
            globex.execute(function("s1"))


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (None, None),
        (100, "1.0"),
        (104, "1.0"),
        (105, "1.1"),
        (167, "1.7"),
        (444, "4.4"),
        (445, "4.5"),
        (450, "4.5"),
        (455, "4.6"),
        (494, "4.9"),
        (495, "5.0"),
        (500, "5.0"),
    ],
)
def test_a_rating_is_shown_with_one_decimal_half_up(stored: int | None, shown: str | None) -> None:
    assert metrics.format_rating(stored) == shown


def test_every_falsified_counter_is_found_with_both_values_and_repaired(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    acme.execute(
        ratings.rate_skill("u1", "s1", 3),
        ratings.rate_skill("u2", "s1", 4),
        usage.record_usage_events([NewUsageEvent(tool_name="t", skill_id="s1")] * 5),
    )
    feedback(addresses, "thumbs_up", "thumbs_up", "thumbs_down", "suggestion")
    measurements(addresses, None, 10, 30)
    assert {(d.metric, d.stored, d.actual) for d in acme.execute(metrics.find_metric_drift())} == {
        ("total_feedback", 0, 4),
        ("thumbs_up_count", 0, 2),
        ("thumbs_down_count", 0, 1),
        ("priced_measurement_count", 0, 2),
        ("token_cost_sum_microcents", 0, 40),
        ("positive_feedback_pct", None, 67),
        ("avg_token_cost_microcents", None, 20),
    }
    right = acme.execute(metrics.repair_metrics("s1"))
    assert right == acme.execute(skills.get_skill("s1"))
    assert (right.total_uses, right.rating_count, right.average_rating) == (5, 2, 350)
    assert (right.total_feedback, right.positive_feedback_pct, right.avg_token_cost_microcents) == (4, 67, 20)
    assert acme.execute(metrics.find_metric_drift()) == []

    for column, false, actual in (
        ("rating_count", 3, 2),
        ("rating_sum", 9, 7),
        ("total_uses", 4, 5),
        ("total_feedback", 9, 4),
        ("thumbs_up_count", 1, 2),
        ("thumbs_down_count", 0, 1),
        ("priced_measurement_count", 3, 2),
        ("token_cost_sum_microcents", 41, 40),
        ("average_rating", 351, 350),
        ("positive_feedback_pct", 66, 67),
        ("avg_token_cost_microcents", 21, 20),
        ("avg_token_cost_microcents", None, 20),
    ):
        falsify(addresses, column, false)
        drift = MetricDrift(skill_id="s1", metric=column, stored=false, actual=actual)
        assert acme.execute(metrics.find_metric_drift()) == [drift]
        assert api("globex").execute(metrics.find_metric_drift()) == []
        repaired = acme.execute(metrics.repair_metrics("s1"))
        assert acme.execute(metrics.find_metric_drift()) == []
        assert repaired == replace(right, metrics_updated_at=repaired.metrics_updated_at)

    falsify(addresses, "total_feedback", 5)
    falsify(addresses, "total_feedback", 1, skill="s2")
    assert [d.skill_id for d in acme.execute(metrics.find_metric_drift())] == ["s1", "s2"]
    acme.execute(metrics.repair_metrics("s1"))
    assert [d.skill_id for d in acme.execute(metrics.find_metric_drift())] == ["s2"]


@pytest.mark.parametrize("function", EACH.values(), ids=EACH)
def test_recomputing_waits_for_nobody_who_has_locked_the_author(
    addresses: Addresses, acme: Api, function: Callable[[str], Statement[Any]]
) -> None:
    """The order is users before skills: whoever waited here for the author could deadlock with delete_user."""
    rows(addresses.admin, "UPDATE skills SET author_id = 'u1' WHERE id = 's1' RETURNING id")
    with psycopg.connect(addresses.admin) as other:
        other.execute("SELECT id FROM users WHERE id = 'u1' FOR UPDATE")
        with skilldb.connect(addresses.service, lock_timeout=0.1) as db:
            db.tenant("acme").execute(function("s1"))


def test_an_average_without_rows_is_found_and_removed(addresses: Addresses, acme: Api) -> None:
    for column in ("average_rating", "positive_feedback_pct", "avg_token_cost_microcents"):
        falsify(addresses, column, 100)
        drift = MetricDrift(skill_id="s1", metric=column, stored=100, actual=None)
        assert acme.execute(metrics.find_metric_drift()) == [drift]
        acme.execute(metrics.repair_metrics("s1"))
        assert acme.execute(metrics.find_metric_drift()) == []


@pytest.mark.parametrize(
    ("column", "values", "domain"),
    [
        ("tags", [[None], ["a", None]], "skills_tags"),
        ("status", ["", "unknown"], "skills_status"),
        ("hours_saved", [-1], "skills_hours_saved"),
        ("published_version", [0], "skills_published_version"),
        ("total_uses", [-1], "skills_total_uses"),
        ("rating_count", [-1], "skills_rating_count"),
        ("rating_sum", [-1], "skills_rating_sum"),
        ("average_rating", [0, 99, 501], "skills_average_rating"),
        ("total_feedback", [-1], "skills_feedback_count"),
        ("thumbs_up_count", [-1], "skills_feedback_count"),
        ("thumbs_down_count", [-1], "skills_feedback_count"),
        ("positive_feedback_pct", [-1, 101], "skills_positive_feedback_pct"),
        ("priced_measurement_count", [-1], "skills_token_cost"),
        ("token_cost_sum_microcents", [-1], "skills_token_cost"),
        ("avg_token_cost_microcents", [-1], "skills_token_cost"),
    ],
)
def test_the_domain_of_each_column_refuses_a_value_that_cannot_be(
    addresses: Addresses, acme: Api, column: str, values: list[Any], domain: str
) -> None:
    ((type_,),) = rows(
        addresses.admin,
        "SELECT t.typbasetype::regtype::text FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid "
        "WHERE a.attrelid = 'skills'::regclass AND a.attname = %s",
        column,
    )
    for value in values:
        with pytest.raises(pg.CheckViolation) as caught:
            rows(addresses.admin, f"UPDATE skills SET {column} = %s::{type_} RETURNING id", value)  # noqa: S608
        assert caught.value.diag.datatype_name == domain
        named = domain.removeprefix("skills_")
        error = translate(caught.value, {"skill_id": "s1"})
        assert isinstance(error, InvalidValueError)
        assert str(error) == f"{named} (skill_id='s1') is not allowed (constraint {named}_check of domain {domain})"


def test_an_invalid_value_is_named_with_its_column(addresses: Addresses, acme: Api) -> None:
    new = NewSkill(name="n", slug="n", description="d", category="c")
    for statement, told in (
        (skills.create_skill(replace(new, status="lost")), "status 'lost'"),
        (skills.create_skill(replace(new, hours_saved=-1)), "hours_saved -1"),
        (skills.update_skill("s1", {"status": "lost"}), "status 'lost'"),
        (skills.update_skill("s1", {"hours_saved": -1}), "hours_saved -1"),
    ):
        name = told.split()[0]
        with refused(
            addresses,
            InvalidValueError,
            f"{told} is not allowed (constraint {name}_check of domain skills_{name})",
            cause=pg.CheckViolation,
        ):
            acme.execute(statement)


@pytest.mark.parametrize(
    ("falsified", "rating"), [("rating_sum = 7, rating_count = 1", 5), ("rating_sum = 999, rating_count = 1000", 1)]
)
def test_a_sum_that_so_many_ratings_cannot_have_is_refused_also_if_its_average_is_one(
    addresses: Addresses, acme: Api, falsified: str, rating: int
) -> None:
    rows(addresses.admin, f"UPDATE skills SET {falsified} WHERE id = 's1' RETURNING 1")  # noqa: S608
    named = ("average_rating", f"rating={rating}", "'s1'", "is not allowed")
    with refused(addresses, InvalidValueError, *named, cause=pg.CheckViolation):
        acme.execute(ratings.rate_skill("u1", "s1", rating))


def test_more_thumbs_than_feedback_items_are_refused(addresses: Addresses, acme: Api) -> None:
    falsify(addresses, "total_feedback = 0, thumbs_up_count", 2)
    with refused(addresses, InvalidValueError, "positive_feedback_pct", "is not allowed", cause=pg.CheckViolation):
        acme.execute(feedback_repository.submit_feedback(NewSkillFeedback(skill_id="s1", feedback_type="suggestion")))


def test_a_count_below_zero_is_refused_by_name(addresses: Addresses, acme: Api) -> None:
    acme.execute(ratings.rate_skill("u1", "s1", 3))
    falsify(addresses, "rating_sum = 0, rating_count", 0)
    with refused(addresses, InvalidValueError, "rating_count (user_id='u1', skill_id='s1')", cause=pg.CheckViolation):
        acme.execute(ratings.delete_rating("u1", "s1"))


def test_a_service_cannot_insert_counts_or_averages(addresses: Addresses, acme: Api) -> None:
    for column in METRICS:
        with psycopg.connect(addresses.service) as conn, pytest.raises(pg.InsufficientPrivilege):
            conn.execute(
                "INSERT INTO skills (tenant_id, id, name, slug, description, category, "  # noqa: S608
                f"{column}) VALUES ('acme', 'n', 'n', 'n', 'n', 'n', 1)".encode()
            )


def test_the_planner_puts_the_arithmetic_of_each_average_in_the_place_of_its_function(
    addresses: Addresses, acme: Api
) -> None:
    """A call would cost more than the whole UPDATE."""
    asked = [query for name in ("metrics", "ratings", "feedback", "tokens", "users") for query in loaded(name).values()]
    asked = [query for query in asked if re.search(rb"\b(mean_rating|positive_percentage|mean_cost)\(", query.sql)]
    assert len(asked) >= 9
    with psycopg.connect(addresses.service, autocommit=True) as conn:
        conn.execute("SET plan_cache_mode = force_generic_plan")
        for query in asked:
            conn.execute(b"PREPARE q AS " + query.numbered)
            arguments = ", ".join(["NULL"] * len(query.types))
            plan = conn.execute(f"EXPLAIN (VERBOSE) EXECUTE q ({arguments})".encode()).fetchall()
            # EXPLAIN does not show the lists of VALUES.
            assert "div(" in str(plan) or query.name == "find_metric_drift"
            assert not re.search(r"(mean_rating|positive_percentage|mean_cost)\(", str(plan)), query.name
            conn.execute("DEALLOCATE q")


AVERAGES = {
    "rating_sum": "average_rating = mean_rating(",
    "rating_count": "average_rating = mean_rating(",
    "thumbs_up_count": "positive_feedback_pct = positive_percentage(",
    "thumbs_down_count": "positive_feedback_pct = positive_percentage(",
    "total_feedback": "positive_feedback_pct = positive_percentage(",
    "token_cost_sum_microcents": "avg_token_cost_microcents = mean_cost(",
    "priced_measurement_count": "avg_token_cost_microcents = mean_cost(",
}


def without_average(query: Query) -> list[str]:
    """The sums that the query changes without writing their average."""
    # The loader writes the name of the query after its first word.
    (_, *updates) = re.split(r"\bUPDATE (?:/\*.*?\*/ )?skills\b", query.sql.decode())
    changed = [(column, update) for update in updates for column in AVERAGES if re.search(rf"\b{column} =", update)]
    return [f"{query.name}: {column}" for column, update in changed if AVERAGES[column] not in update]


def test_every_query_that_changes_a_sum_writes_its_average() -> None:
    files = [path.stem for path in folder("sql").glob("*.sql")]
    assert [found for file in files for query in loaded(file).values() for found in without_average(query)] == []


def test_a_query_that_forgets_the_average_is_named() -> None:
    for file, name in (("ratings", "delete_rating"), ("metrics", "update_skill_rating")):
        forgetful = altered(loaded(file)[name], ("average_rating = ", "average_rated = "))
        assert without_average(forgetful) == [f"{name}: rating_sum", f"{name}: rating_count"]


def test_skills_has_no_check(addresses: Addresses) -> None:
    """PostgreSQL would read it from its text in every UPDATE, whatever that changes."""
    found = "SELECT conname FROM pg_constraint WHERE conrelid = 'skills'::regclass AND contype = 'c'"
    assert rows(addresses.admin, found) == []
    generated = "SELECT attname FROM pg_attribute WHERE attrelid = 'skills'::regclass AND attgenerated <> ''"
    assert rows(addresses.admin, generated) == []


def test_uses_counted_without_an_event_are_no_drift_and_survive_the_repair(addresses: Addresses, acme: Api) -> None:
    acme.execute(metrics.increment_skill_uses("s1", 3), usage.record_usage_event(NewUsageEvent(tool_name="t")))
    acme.execute(usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1")))
    before = contents(addresses.admin)
    assert acme.execute(metrics.find_metric_drift()) == []
    assert contents(addresses.admin) == before
    assert acme.execute(metrics.repair_metrics("s1")).total_uses == 4
