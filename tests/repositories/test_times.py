"""Tests the one rule of all times: each is cut to its millisecond, whoever gives it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import count
from time import sleep

import psycopg
import pytest
from psycopg import sql

from skilldb import queries
from skilldb.models import (
    NewBenchmarkResult,
    NewBenchmarkRun,
    NewSkill,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    NewUsageEvent,
)
from skilldb.repositories import (
    benchmarks,
    feedback,
    metrics,
    ratings,
    skills,
    tenants,
    tokens,
    usage,
    users,
    views,
)
from tests.support.api import APIS, Api, new_skill, new_user, opened
from tests.support.database import rows
from tests.support.server import Addresses

ROUNDS = 100
COLUMNS = """
SELECT c.table_name, c.column_name, c.column_default
FROM information_schema.columns AS c
WHERE c.table_schema = 'public' AND c.data_type = 'timestamp with time zone' AND c.table_name !~ 'yoyo'
ORDER BY c.table_name, c.column_name
"""


def all_of_one_call(tenant: Api) -> None:
    """Writes every time that there is, in one transaction."""
    tenant.execute(
        tenants.create_tenant("T", tenant.id),
        users.create_user("u1@example.com", id="u1"),
        skills.create_skill(NewSkill(id="s1", name="S", slug="s1", description="", category="c", author_id="u1")),
        skills.publish_skill_version("s1", NewSkillVersion(content_url="u", content_hash="a" * 64)),
        ratings.rate_skill("u1", "s1", 4),
        usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1")),
        usage.record_usage_events([NewUsageEvent(tool_name="t", skill_id="s1")]),
    )
    sleep(0.002)  # In the millisecond of the first call, the edit would move updated_at to the next one.
    tenant.execute(
        feedback.submit_feedback(NewSkillFeedback(id="f1", skill_id="s1", feedback_type="suggestion")),
        feedback.review_feedback("f1", "accepted", "u1"),
        tokens.record_token_measurement(NewTokenMeasurement(skill_id="s1", model_name="m")),
        views.open_skill("u1", "s1"),
        views.record_skill_view("u1", "s1", 1),
        benchmarks.create_benchmark_run(NewBenchmarkRun(id="r1", skill_id="s1", triggered_by="u1", models=["m"])),
        benchmarks.start_benchmark_run("r1"),
        benchmarks.record_benchmark_results("r1", [NewBenchmarkResult(model_name="m", test_case_index=0)]),
        benchmarks.complete_benchmark_run("r1"),
        skills.update_skill("s1", {"name": "T"}),
        metrics.increment_skill_uses("s1"),
    )


def times(addresses: Addresses) -> list[tuple[str, str, str]]:
    """Every time column of every organisation: its name, the organisation, and a value."""
    parts = [
        sql.SQL("SELECT {name}, {tenant}, {column} FROM {table}").format(
            name=sql.Literal(f"{table}.{column}"),
            tenant=sql.Identifier("id" if table == "tenants" else "tenant_id"),
            column=sql.Identifier(column),
            table=sql.Identifier(table),
        )
        for table, column, _ in rows(addresses.admin, COLUMNS)
    ]
    with psycopg.connect(addresses.admin) as conn:
        return conn.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()


# The times of the first and of the second call of a round.
FIRST = {
    "ratings": ["created_at", "updated_at"],
    "skill_versions": ["created_at"],
    "skills": ["created_at"],
    "tenants": ["created_at", "updated_at"],
    "usage_events": ["created_at"],
    "users": ["created_at", "updated_at"],
}
# A user who has one of these is refused by the functions of the other call. test_tenants_users.py looks at it.
LEFT_OUT = {"users.deleting_since"}
SECOND = {
    "benchmark_results": ["created_at"],
    "benchmark_runs": ["created_at", "started_at", "completed_at"],
    "skill_feedback": ["created_at", "reviewed_at"],
    "skills": ["updated_at", "edited_at", "metrics_updated_at"],
    "token_measurements": ["created_at"],
    "user_skill_views": ["last_viewed_at"],
}


@APIS
def test_all_times_of_one_call_are_equal(addresses: Addresses, api: str) -> None:
    with opened(api, addresses.service) as tenant:
        for n in range(ROUNDS):
            all_of_one_call(tenant(f"t{n}"))
    found = times(addresses)
    calls = [{f"{table}.{column}" for table in call for column in call[table]} for call in (FIRST, SECOND)]
    assert {name for name, _, _ in found} == calls[0] | calls[1] | LEFT_OUT
    for call in calls:
        assert len({(of, value) for name, of, value in found if name in call}) == ROUNDS


@APIS
def test_nothing_is_created_after_it_is_updated(addresses: Addresses, api: str) -> None:
    number = count()
    with opened(api, addresses.service) as tenant:
        for n in range(10):
            each = tenant(f"t{n}")
            each.execute(tenants.create_tenant("T", each.id))
            for _ in range(30):
                name = f"n{next(number)}"
                new_user(each, name)
                new_skill(each, name)
                each.execute(ratings.rate_skill(name, name, 5))
    both = [
        table
        for table, column, _ in rows(addresses.admin, COLUMNS)
        if column == "updated_at" and (table, "created_at") in {row[:2] for row in rows(addresses.admin, COLUMNS)}
    ]
    assert both == ["ratings", "skills", "tenants", "users"]
    for table in both:
        wrong = f"SELECT count(*) FILTER (WHERE created_at <> updated_at), count(*) >= 10 FROM {table}"  # noqa: S608
        assert rows(addresses.admin, wrong) == [(0, True)], table


@APIS
@pytest.mark.parametrize("year", [1969, 2026])
def test_a_time_that_the_caller_gives_is_cut_too(addresses: Addresses, api: str, year: int) -> None:
    given = datetime(year, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC)
    cut = given - timedelta(microseconds=999)
    event = NewUsageEvent(tool_name="t", skill_id="s1", created_at=given)
    measurement = NewTokenMeasurement(skill_id="s1", model_name="m", created_at=given)
    with opened(api, addresses.service) as tenant:
        acme = tenant("acme")
        acme.execute(tenants.create_tenant("Acme", "acme"))
        skill = new_skill(acme, "s1", created_at=given, updated_at=given)
        version = NewSkillVersion(content_url="u", content_hash="a" * 64, created_at=given)
        published = acme.execute(skills.publish_skill_version("s1", version))
        assert (skill.created_at, skill.updated_at, published.created_at) == (cut, cut, cut)
        acme.execute(
            usage.record_usage_event(event),
            usage.record_usage_events([event, event]),
            tokens.record_token_measurements([measurement]),
        )
        assert acme.execute(tokens.record_token_measurement(measurement)).created_at == cut
    for table, number in (("usage_events", 3), ("token_measurements", 2)):
        assert rows(addresses.admin, f"SELECT created_at FROM {table}") == [(cut,)] * number  # noqa: S608


def test_every_default_of_a_time_is_cut(addresses: Addresses) -> None:
    defaults = {default for _, _, default in rows(addresses.admin, COLUMNS)}
    assert defaults == {None, "date_trunc('milliseconds'::text, now())"}


def test_every_query_cuts_the_time_that_it_writes() -> None:
    """The clock is read as it is only to look back from, which writes nothing."""
    cut = (
        r"date_trunc\('milliseconds', (coalesce\([^()]*(::timestamptz)?, )?now\(\)"
        r"|now\(\) (- make_interval|AT TIME ZONE)"
    )
    for name, query in queries.load_all().items():
        if name.partition(".")[0] in ("doctor", "top", "migrate", "isolation", "explain", "embedded"):
            continue
        left = re.sub(cut, "", re.sub(r"%\((\w+)\)s", r"\1", query.sql.decode()))
        assert "now()" not in left, name
