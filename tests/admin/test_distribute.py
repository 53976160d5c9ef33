"""Tests `skilldb distribute` where there is no cluster. tests/citus/ has the tests that need one."""

from __future__ import annotations

import psycopg
import pytest
from typer.testing import CliRunner

from skilldb import cli, queries
from skilldb.admin import distribute, isolation
from skilldb.admin.distribute import DistributionError
from tests.support.database import contents
from tests.support.server import Addresses


def test_a_server_without_citus_is_refused(addresses: Addresses) -> None:
    before = contents(addresses.admin)
    for run in (distribute.plan, distribute.distribute):
        with pytest.raises(DistributionError, match=r"not on a Citus cluster.*CREATE EXTENSION citus"):
            run(addresses.owner)
    assert contents(addresses.admin) == before


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_the_command_says_why(arguments: list[str], addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)
    done = CliRunner().invoke(cli.app, ["distribute", *arguments])
    assert isinstance(done.exception, DistributionError)


def test_every_table_with_organisations_is_found_in_the_catalogue(addresses: Addresses) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute("CREATE TABLE notes (tenant_id text)")
        conn.execute("CREATE TABLE others (id text)")
        found: dict[str, bool] = dict(
            conn.execute(queries.load("admin/distribute")["list_tables_to_place"].sql).fetchall()
        )
        columns = conn.execute(
            "SELECT c.relname::text FROM pg_attribute AS a INNER JOIN pg_class AS c ON c.oid = a.attrelid "
            "WHERE a.attname = 'tenant_id' AND c.relkind = 'r'"
        ).fetchall()
    assert found == {"tenants": False} | {name: True for (name,) in columns}
    assert {"notes", "skills", "users"} <= found.keys()


def test_the_grants_to_repeat_change_nothing_here(addresses: Addresses) -> None:
    acls = (
        "SELECT array_agg(proacl::text ORDER BY oid), (SELECT array_agg(relacl::text ORDER BY oid) FROM pg_class), "
        "(SELECT datacl::text FROM pg_database WHERE datname = current_database()) FROM pg_proc"
    )
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        before = conn.execute(acls.encode()).fetchall()
        statements = [s for (s,) in conn.execute(queries.load("admin/distribute")["list_grants_to_repeat"].sql)]
        for statement in statements:
            conn.execute(statement.encode())
        assert conn.execute(acls.encode()).fetchall() == before
        # The columns of skills that a service never names, and that Citus writes all the same.
        assert [s for s in statements if s.startswith("GRANT INSERT")] == [
            "GRANT INSERT (total_uses, rating_count, rating_sum, total_feedback, thumbs_up_count, thumbs_down_count, "
            "priced_measurement_count, token_cost_sum_microcents) ON skills TO skilldb_app"
        ]
        with psycopg.connect(addresses.service, autocommit=True) as service:
            # Elsewhere the doctor reports them.
            assert len(isolation.privileges(service)) == 8
        again = [s for (s,) in conn.execute(queries.load("admin/distribute")["list_grants_to_repeat"].sql)]
        assert [s for s in again if s.startswith("GRANT INSERT")] == []
        assert len(statements) > 20
