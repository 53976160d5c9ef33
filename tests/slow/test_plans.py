"""Tests how PostgreSQL plans every query on a big data set, where one organisation has half of all rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb import queries
from skilldb.admin import explain
from skilldb.query import Query
from skilldb.repositories import metrics
from skilldb.settings import SET_TENANT
from tests.support import plans, scaled
from tests.support.database import rows, until
from tests.support.plans import Catalogue, Plan
from tests.support.server import Addresses

pytestmark = pytest.mark.xdist_group("scaled")


@pytest.fixture
def conn(scaled_addresses: Addresses) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to the scaled data. All changes are rolled back."""
    with psycopg.connect(scaled_addresses.admin) as conn:
        yield conn
        conn.rollback()


def of(conn: psycopg.Connection[Any], query: Query, **params: Any) -> Plan:
    """The plan of a query that the service runs for the big tenant, with the transaction's schema."""
    conn.execute("SET LOCAL ROLE skilldb_service")
    conn.execute(SET_TENANT, {"tenant_id": scaled.BIG})
    top = explain.analyse(conn, query, {"tenant_id": scaled.BIG, **params}, as_json=True)["Plan"]
    conn.execute("RESET ROLE")
    return Plan(query=query.name, tenant=scaled.BIG, generic=False, reads_all=query.reads_all, top=top)


# The data


def test_the_data_is_as_big_and_as_uneven_as_it_should_be(scaled_addresses: Addresses) -> None:
    for table, least in (("user_skill_views", 200_000), ("usage_events", 500_000), ("ratings", 100_000)):
        counts = dict(rows(scaled_addresses.admin, f"SELECT tenant_id, count(*) FROM {table} GROUP BY 1"))  # noqa: S608
        total = sum(counts.values())
        assert total >= least
        assert len(counts) == 50
        assert 0.49 < counts[scaled.BIG] / total < 0.51
        assert min(counts, key=lambda tenant: (counts[tenant], tenant)) > "t45"


def test_the_counters_of_the_data_are_those_of_its_rows(scaled_addresses: Addresses) -> None:
    with skilldb.connect(scaled_addresses.service) as db:
        for (tenant,) in rows(scaled_addresses.admin, "SELECT id FROM tenants"):
            assert db.tenant(tenant).execute(metrics.find_metric_drift()) == []


def test_the_references_of_the_data_lead_somewhere(conn: psycopg.Connection[Any]) -> None:
    """Loading did not check the foreign keys. PostgreSQL checks them when they are added."""
    keys = conn.execute(
        "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname), "
        "format('ALTER TABLE %s ADD %s', conrelid::regclass, pg_get_constraintdef(oid)) "
        "FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
    ).fetchall()
    assert len(keys) > 20
    for drop, add in keys:
        conn.execute(drop)
        conn.execute(add)


# The rules


def test_every_query_is_served_by_the_tenants_indexes(conn: psycopg.Connection[Any], scaled_plans: list[Plan]) -> None:
    catalogue = Catalogue.of(conn)
    assert {plan.query for plan in scaled_plans} == plans.planned().keys()
    wrong = [sentence for plan in scaled_plans for sentence in plans.violations(plan, catalogue)]
    assert wrong == [], "\n".join(wrong)


def parsed(sql: str, header: str = "") -> Query:
    return queries.parse(f"-- name: bad()\n{header}{sql};", "bad")["bad"]


def test_a_big_table_that_is_read_from_end_to_end_is_found_unless_the_header_gives_a_reason(
    conn: psycopg.Connection[Any],
) -> None:
    catalogue = Catalogue.of(conn)
    sql = "SELECT tool_name, count(*) FROM usage_events WHERE tenant_id = %(tenant_id)s GROUP BY tool_name"
    bad = of(conn, parsed(sql))
    (first, *_) = plans.violations(bad, catalogue)
    assert first.startswith("the custom plan of bad for t01 reads the whole of usage_events: ")
    assert "`-- Reads all:`" in first
    assert plans.violations(of(conn, parsed(sql, "-- Reads all: it counts all.\n")), catalogue) == []


def test_an_index_that_is_scanned_without_the_tenant_is_found(conn: psycopg.Connection[Any]) -> None:
    query = queries.load_all()["tokens.get_skill_cost_stats"]
    catalogue = Catalogue.of(conn)
    assert plans.violations(of(conn, query, skill_id="s1"), catalogue) == []
    conn.execute("ALTER TABLE skill_daily_costs DROP CONSTRAINT skill_daily_costs_pkey")
    conn.execute("CREATE INDEX skill_daily_costs_skill_idx ON skill_daily_costs (skill_id)")
    (first, *_) = plans.violations(of(conn, query, skill_id="s1"), Catalogue.of(conn))
    assert "scans skill_daily_costs_skill_idx by (skill_id = 's1'::text), without tenant_id" in first


def test_rows_that_are_read_only_to_be_thrown_away_are_found(conn: psycopg.Connection[Any]) -> None:
    query = queries.load_all()["tokens.get_cost_trend"]
    catalogue = Catalogue.of(conn)
    assert plans.violations(of(conn, query, skill_id="s1", days=30), catalogue) == []
    conn.execute("ALTER TABLE skill_daily_costs DROP CONSTRAINT skill_daily_costs_pkey")
    conn.execute("DROP INDEX skill_daily_costs_day_idx")
    (*_, last) = plans.violations(of(conn, query, skill_id="s1", days=30), catalogue)
    assert "discards" in last
    assert "rows to return 30" in last


# Indexes


def test_an_index_that_no_plan_uses_has_a_reason_in_its_comment(
    conn: psycopg.Connection[Any], index_uses: dict[str, list[str]]
) -> None:
    assert plans.useless_indexes(conn, index_uses) == []


def test_a_useless_index_and_one_whose_reason_is_gone_are_found(
    conn: psycopg.Connection[Any], index_uses: dict[str, list[str]]
) -> None:
    conn.execute("CREATE INDEX skills_hours_saved_idx ON skills (tenant_id, hours_saved)")
    conn.execute("COMMENT ON INDEX skill_versions_created_by_idx IS NULL")
    assert plans.useless_indexes(conn, index_uses) == ["skill_versions_created_by_idx", "skills_hours_saved_idx"]


def test_the_indexes_of_foreign_keys_are_used_when_what_they_refer_to_is_deleted(
    scaled_addresses: Addresses, conn: psycopg.Connection[Any]
) -> None:
    scans = (
        "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes "
        "WHERE obj_description(indexrelid, 'pg_class') LIKE 'For %_fk: %'"
    )
    before = dict(rows(scaled_addresses.admin, scans))
    assert len(before) > 5
    for name in ("skills.delete_skill", "users.delete_user"):
        explain.explain(scaled_addresses.service, name, scaled.BIG)
    # A server process reports its statistics when it ends. That may be after the client disconnected.
    with psycopg.connect(scaled_addresses.admin, autocommit=True) as waiting:
        running = "SELECT FROM pg_stat_activity WHERE application_name = 'skilldb explain'"
        until(lambda: waiting.execute(running).fetchone() is None)
    after = dict(rows(scaled_addresses.admin, scans))
    assert [name for name in before if after[name] <= before[name]] == []
