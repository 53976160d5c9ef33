"""Tests the migrations on a database with rows: the counters that they add or remove are those of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from skilldb import queries
from skilldb.admin import migrate
from skilldb.models import NewSkillVersion
from skilldb.repositories import metrics, skills, views
from tests.support.api import Api, fill, new_skill, new_user
from tests.support.database import contents, rows
from tests.support.rollups import drifted
from tests.support.schema import LAST
from tests.support.server import Addresses

AGGREGATES = "0012_add_feedback_aggregates_to_skills"
COUNTED = """
SELECT
    tenant_id, id, total_feedback, thumbs_up_count, thumbs_down_count, positive_feedback_pct,
    priced_measurement_count, token_cost_sum_microcents, avg_token_cost_microcents, metrics_updated_at IS NOT NULL
FROM skills
ORDER BY tenant_id, id
"""
EXPECTED = [
    ("acme", "s1", 4, 2, 1, 67, 2, 31, 16, True),
    ("acme", "s2", 0, 0, 0, None, 0, 0, None, False),
    ("globex", "s1", 1, 0, 0, None, 1, 7, 7, True),
    ("globex", "s2", 0, 0, 0, None, 0, 0, None, False),
]


def organisations(api: Callable[[str], Api]) -> list[Api]:
    """Two organisations, each with a user u1 and the skills s1 and s2, which nobody has used."""
    found = [api(name) for name in ("acme", "globex")]
    for tenant in found:
        new_user(tenant, "u1")
        for skill in ("s1", "s2"):
            new_skill(tenant, skill)
    return found


def insert_uncounted(dsn: str) -> None:
    """The rows that EXPECTED counts."""
    for tenant, kind in (
        ("acme", "thumbs_up"),
        ("acme", "thumbs_up"),
        ("acme", "thumbs_down"),
        ("acme", "suggestion"),
        ("globex", "bug_report"),
    ):
        insert = "INSERT INTO skill_feedback (tenant_id, skill_id, feedback_type) VALUES (%s, 's1', %s) RETURNING 1"
        rows(dsn, insert, tenant, kind)
    for tenant, cost in (("acme", 11), ("acme", None), ("acme", 20), ("globex", 7)):
        insert = (
            "INSERT INTO token_measurements (tenant_id, skill_id, model_name, estimated_cost_microcents) "
            "VALUES (%s, 's1', 'm', %s) RETURNING 1"
        )
        rows(dsn, insert, tenant, cost)


def test_the_aggregates_count_the_rows_that_are_there(addresses: Addresses, api: Callable[[str], Api]) -> None:
    tenants = organisations(api)
    assert [done.id for done in migrate.rollback(addresses.owner, LAST - 11)][-1] == AGGREGATES
    insert_uncounted(addresses.admin)
    list(migrate.migrate(addresses.owner))
    assert rows(addresses.admin, COUNTED) == EXPECTED
    assert [tenant.execute(metrics.find_metric_drift()) for tenant in tenants] == [[], []]
    assert [drifted(tenant.execute) for tenant in tenants] == [[], []]


@contextmanager
def owner_without_bypassrls(addresses: Addresses) -> Iterator[str]:
    """The address of a role that owns everything in the database and is subject to the policies."""
    ((database,),) = rows(addresses.admin, "SELECT current_database()")
    role = sql.Identifier(f"{database}_plain_owner")

    def run(*statements: str) -> None:
        with psycopg.connect(addresses.admin, autocommit=True) as conn:
            for statement in statements:
                conn.execute(sql.SQL(statement).format(role))

    run(
        "CREATE ROLE {} LOGIN NOBYPASSRLS",
        "GRANT USAGE, CREATE ON SCHEMA public TO {}",
        "REASSIGN OWNED BY skilldb_owner TO {}",
    )
    try:
        yield make_conninfo(addresses.owner, user=role.as_string().strip('"'))
    finally:
        run("REASSIGN OWNED BY {} TO skilldb_owner", "DROP OWNED BY {}", "DROP ROLE {}")


def test_an_owner_who_is_subject_to_the_policies_counts_them_too(
    addresses: Addresses, api: Callable[[str], Api]
) -> None:
    organisations(api)
    list(migrate.rollback(addresses.owner, LAST - 11))
    insert_uncounted(addresses.admin)
    aggregates = queries.folder("migrations") / f"{AGGREGATES}.sql"
    with owner_without_bypassrls(addresses) as owner, psycopg.connect(owner, autocommit=True) as conn:
        conn.execute("SET search_path = public, pg_temp")
        with conn.transaction():
            conn.execute(aggregates.read_bytes())
            assert conn.execute("SELECT current_setting('app.current_tenant_id')").fetchone() == ("",)
    assert rows(addresses.admin, COUNTED) == EXPECTED


def test_counting_again_writes_nothing(addresses: Addresses, api: Callable[[str], Api]) -> None:
    for tenant in organisations(api):
        fill(tenant, "s3")
    before = contents(addresses.admin)
    with psycopg.connect(addresses.admin) as conn:
        conn.execute((queries.folder("migrations") / f"{AGGREGATES}.sql").read_bytes())
    assert contents(addresses.admin) == before


@pytest.mark.parametrize("steps", range(1, LAST - 4))
def test_after_any_rollback_and_migration_no_counter_has_drifted(
    addresses: Addresses, api: Callable[[str], Api], steps: int
) -> None:
    """The steps that leave organisations, users and skills."""
    tenants = organisations(api)
    for tenant in tenants:
        fill(tenant, "s3")
        version = NewSkillVersion(content_url="u", content_hash="a" * 64, created_by="u1")
        tenant.execute(skills.publish_skill_version("s3", version), views.open_skill("u1", "s3"))
    list(migrate.rollback(addresses.owner, steps))
    assert len(list(migrate.migrate(addresses.owner))) == steps
    assert [tenant.execute(metrics.find_metric_drift()) for tenant in tenants] == [[], []]
    assert [drifted(tenant.execute) for tenant in tenants] == [[], []]
    for tenant in tenants:
        skill, page = tenant.execute(skills.get_skill("s3"), skills.list_skill_versions("s3"))
        versions = page.items
        assert skill.published_version == (versions[0].version if versions else None)
        assert skill.published_version_id == (versions[0].id if versions else None)
