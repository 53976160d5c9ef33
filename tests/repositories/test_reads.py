"""Tests that queries do not read more rows as tables grow, by the row counts of the service's own connection."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

import skilldb
from skilldb.models import WhatsNewItem
from skilldb.repositories import feedback, ratings, skills, views
from skilldb.statement import Statement
from tests.support.api import ask
from tests.support.database import rows
from tests.support.server import Addresses

FETCHED = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"


def fetched(tenant: skilldb.Tenant, statement: Statement[Any]) -> int:
    """The number of rows that the statement reads, of all tables."""
    with tenant.transaction() as tx:
        before = tx.execute(ask(FETCHED))
        tx.execute(statement)
        return int(tx.execute(ask(FETCHED)) - before)


def listed(of: str, after: str | None) -> Statement[Any]:
    """A statement that lists ten skills."""
    if of == "skills":
        return skills.list_skills(limit=10, after=after)
    return (
        ratings.list_ratings("s1", limit=10, after=after)
        if of == "ratings"
        else feedback.list_feedback("s1", limit=10, after=after)
    )


def load(addresses: Addresses, *statements: str) -> None:
    """Run the SQL as the superuser, then ANALYZE."""
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        for sql in statements:
            conn.execute(sql.encode())
        conn.execute(b"ANALYZE users, skills, ratings, skill_feedback, user_skill_views")


@pytest.fixture
def crowded(acme: skilldb.Tenant, addresses: Addresses) -> skilldb.Tenant:
    """Two thousand skills and users. Every user rated s1 and gave feedback on it. s2000 is the newest skill."""
    load(
        addresses,
        "INSERT INTO users (tenant_id, id, email) SELECT 'acme', 'u' || n, n FROM generate_series(1, 2000) AS n",
        "INSERT INTO skills (tenant_id, id, name, slug, description, category, updated_at) "
        "SELECT 'acme', 's' || n, n, n, '', '', now() - (2000 - n) * interval '1 minute' "
        "FROM generate_series(1, 2000) AS n",
        "INSERT INTO ratings (tenant_id, skill_id, user_id, rating, updated_at) "
        "SELECT 'acme', 's1', 'u' || n, 3, now() - n * interval '1 minute' FROM generate_series(1, 2000) AS n",
        "INSERT INTO skill_feedback (tenant_id, skill_id, user_id, feedback_type, created_at) "
        "SELECT 'acme', 's1', 'u' || n, 'suggestion', now() - n * interval '1 minute' "
        "FROM generate_series(1, 2000) AS n",
    )
    return acme


def viewed(addresses: Addresses, count: int, ago: str) -> None:
    """Record views of the oldest skills by u1, at that time, and no others."""
    insert = "INSERT INTO user_skill_views (tenant_id, user_id, skill_id, last_viewed_at) SELECT 'acme', 'u1', "
    load(
        addresses,
        "DELETE FROM user_skill_views",
        f"{insert} 's' || n, now() - interval '{ago}' FROM generate_series(1, {count}) AS n",
    )


@pytest.mark.parametrize("of", ["skills", "ratings", "feedback"])
def test_a_late_page_reads_no_more_rows_than_the_first(of: str, crowded: skilldb.Tenant) -> None:
    after = None
    for _ in range(100):
        after = crowded.execute(listed(of, after)).after
    first, late = fetched(crowded, listed(of, None)), fetched(crowded, listed(of, after))
    assert late < first + 20  # not the thousand rows of the pages before


def whats_new(tenant: skilldb.Tenant, limit: int) -> list[str]:
    """The ids of what's new for u1."""
    items: list[WhatsNewItem] = tenant.execute(views.get_whats_new_for_user("u1", limit=limit))
    return [item.skill_id for item in items]


@pytest.mark.parametrize(("ago", "limit"), [("1 year", 10), ("1 year", 1), ("1500 minutes", 2000), ("5 minutes", 10)])
def test_whats_new_lists_the_newest_changes_for_any_number_of_views(
    ago: str, limit: int, crowded: skilldb.Tenant, addresses: Addresses
) -> None:
    for count in (999, 1000, 1001, 2000):
        viewed(addresses, count, ago)
        expected = rows(
            addresses.admin,
            "SELECT s.id FROM skills AS s JOIN user_skill_views AS v ON v.skill_id = s.id "
            "WHERE s.updated_at > v.last_viewed_at ORDER BY s.updated_at DESC LIMIT %s",
            limit,
        )
        assert whats_new(crowded, limit) == [id for (id,) in expected], count


def test_whats_new_reads_few_rows_for_a_user_with_thousands_of_views(
    crowded: skilldb.Tenant, addresses: Addresses
) -> None:
    viewed(addresses, 2000, "1 year")
    assert fetched(crowded, views.get_whats_new_for_user("u1")) < 1100  # a thousand to count the views


def only_the_newest_changed(addresses: Addresses, recent: int) -> None:
    """Move the changes of all other skills out of the last 30 days. Some have a version that u1 has not seen."""
    changed = "UPDATE skills SET updated_at = now() - interval '40 days' WHERE name::integer <= "
    load(addresses, changed + str(2000 - recent))
    # A version is published in the oldest skill that changed in these days, and in one that did not.
    published = "UPDATE skills SET published_version = 1 WHERE name::integer IN "
    load(addresses, published + f"({2001 - recent}, {2000 - recent})")


@pytest.mark.parametrize("recent", [0, 1, 999, 1000, 1001, 1999])
@pytest.mark.parametrize("count", [999, 1000, 2000])
def test_whats_new_finds_the_oldest_change_of_its_days(
    count: int, recent: int, crowded: skilldb.Tenant, addresses: Addresses
) -> None:
    only_the_newest_changed(addresses, recent)
    viewed(addresses, count, "-1 minute")
    oldest = 2001 - recent
    assert whats_new(crowded, 10) == ([f"s{oldest}"] if oldest <= count else [])


def test_whats_new_reads_few_rows_if_few_skills_changed(crowded: skilldb.Tenant, addresses: Addresses) -> None:
    only_the_newest_changed(addresses, 100)
    viewed(addresses, 2000, "-1 minute")
    assert fetched(crowded, views.get_whats_new_for_user("u1")) < 1400  # a thousand to count the views


def test_whats_new_reads_few_rows_for_a_user_with_few_views(crowded: skilldb.Tenant, addresses: Addresses) -> None:
    viewed(addresses, 20, "1 year")
    assert fetched(crowded, views.get_whats_new_for_user("u1")) < 100
