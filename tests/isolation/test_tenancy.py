"""Tests the limits of isolation that docs/tenancy.md names, and its queries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb.errors import AlreadyExistsError
from skilldb.repositories import tenants
from tests.support import isolation
from tests.support.api import new_skill
from tests.support.database import rows
from tests.support.server import CHECKOUT, Addresses, direct_only

DOCUMENT = CHECKOUT / "docs" / "tenancy.md"

Conn = psycopg.Connection[Any]


@pytest.fixture
def service(addresses: Addresses, acme: skilldb.Tenant, globex: skilldb.Tenant) -> Iterator[Conn]:
    """A service's connection, where Acme has 100 skills and Globex 500."""
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        for tenant, number in (("acme", 100), ("globex", 500)):
            conn.execute(
                "INSERT INTO skills (tenant_id, id, name, slug, description, category)"
                " SELECT %(t)s, 's' || n, %(t)s, 's' || n, '', '' FROM generate_series(1, %(n)s) AS n",
                {"t": tenant, "n": number},
            )
        conn.execute("ANALYZE")
    with psycopg.connect(addresses.service, autocommit=True) as conn:
        yield conn


def one(conn: Conn, query: str) -> Any:
    ((found,),) = conn.execute(query.encode()).fetchall()
    return found


def test_the_documents_queries_answer_as_it_says(service: Conn) -> None:
    by_hand, unforced = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    answers = [service.execute(query.encode()) for query in by_hand.strip().split("\n")]
    assert [answer.fetchall() for answer in answers if answer.description] == [[(0,)], [("acme",)], [(1,)], [(0,)]]
    assert service.execute(unforced.encode()).fetchall() == [("tenants",)]


def test_two_unique_keys_are_shared_and_tell_that_a_name_is_taken(service: Conn, db: skilldb.Database) -> None:
    assert {key for table in isolation.tables(service) for key in shared_keys(service, table.oid)} == {
        ("tenants", ("id",)),
        ("tenants", ("slug",)),
    }
    for tenant, slug in (("initech", "globex"), ("globex", "initech")):
        with pytest.raises(AlreadyExistsError):
            db.tenant(tenant).execute(tenants.create_tenant("Initech", slug))


def shared_keys(conn: Conn, table: int) -> list[tuple[str, tuple[str, ...]]]:
    """The unique keys of a table that do not begin with tenant_id."""
    found = conn.execute(
        """
        SELECT c.relname, ARRAY(
            SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, n)
            INNER JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.n
        )
        FROM pg_index AS i INNER JOIN pg_class AS c ON c.oid = i.indrelid
        WHERE i.indrelid = %s AND i.indisunique
        """,
        [table],
    ).fetchall()
    return [(name, tuple(key)) for name, key in found if key[0] != "tenant_id"]


def test_a_service_that_names_another_organisation_is_believed(service: Conn) -> None:
    with service.transaction():
        service.execute("SELECT set_config('app.current_tenant_id', 'globex', true)")
        assert one(service, "SELECT count(*) FROM skills") == 500


def test_sizes_show_and_values_do_not(service: Conn, addresses: Addresses) -> None:
    assert one(service, "SELECT reltuples::integer FROM pg_class WHERE oid = 'skills'::regclass") == 600
    assert one(service, "SELECT count(*) FROM pg_stats WHERE schemaname = 'public' AND tablename = 'skills'") == 0
    assert rows(addresses.owner, "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'skills'") == [(True,)]
    with service.transaction():
        service.execute("SELECT set_config('app.current_tenant_id', 'acme', true)")
        assert one(service, "SELECT count(*) FROM skills WHERE name <> 'acme'") == 0
        others, nobody = (
            one(service, f"EXPLAIN (FORMAT json) SELECT FROM skills WHERE name = '{name}'")[0]["Plan"]["Plan Rows"]
            for name in ("globex", "nobody")
        )
        assert others > nobody


@direct_only
def test_another_session_of_the_login_shows_its_sql_and_no_values(
    service: Conn, addresses: Addresses, acme: skilldb.Tenant
) -> None:
    with psycopg.connect(addresses.service) as other:
        other.execute("SELECT id FROM skills WHERE tenant_id = %s", ["a secret"])
        seen = service.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [other.info.backend_pid]).fetchall()
    assert seen == [("SELECT id FROM skills WHERE tenant_id = $1",)]


def test_a_service_may_lock_whole_tables(service: Conn) -> None:
    with service.transaction():
        service.execute("LOCK TABLE skills IN ACCESS EXCLUSIVE MODE")


def test_a_switched_off_organisation_is_not_stopped_by_that(addresses: Addresses, acme: skilldb.Tenant) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        assert conn.execute("UPDATE tenants SET is_active = false WHERE id = 'acme'").rowcount == 1
    assert new_skill(acme, "s").id == "s"
