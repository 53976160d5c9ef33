"""Tests that a database which the tests share is copied anew after a change of more than rows."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import rows
from tests.support.reuse import Reused
from tests.support.server import Admin

CHANGES = [
    "CREATE TABLE t ()",
    "COMMENT ON TABLE skills IS NULL",
    "REVOKE SELECT ON skills FROM skilldb_app",
    "REVOKE EXECUTE ON FUNCTION pg_catalog.now() FROM PUBLIC",
    "ALTER TABLE skills DROP COLUMN category CASCADE",
    "ALTER TABLE skills NO FORCE ROW LEVEL SECURITY",
    "DELETE FROM pg_description WHERE objoid = 'pg_catalog.now()'::regprocedure",
    "UPDATE _yoyo_migration SET applied_at_utc = applied_at_utc",
    "DELETE FROM _yoyo_migration",
    "GRANT TEMPORARY ON DATABASE {} TO PUBLIC",
]


def used(reused: Reused, admin: Admin, *statements: str) -> int:
    """The number of copies after a test that ran these statements, when the next test begins."""
    with reused.lent() as dbname, psycopg.connect(admin.dsn(dbname), autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.format(dbname).encode())
    with reused.lent():
        return reused.copies


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_more_than_rows_is_noticed(change: str, reused: Reused, admin: Admin) -> None:
    before = used(reused, admin)
    assert used(reused, admin, change) == before + 1


def test_rows_and_settings_are_cleared_and_the_database_is_kept(reused: Reused, admin: Admin) -> None:
    before = used(reused, admin)
    insert = "INSERT INTO tenants (id, name, slug) VALUES ('acme', 'Acme', 'acme')"
    assert used(reused, admin, insert, "ALTER DATABASE {} SET default_transaction_read_only = on") == before
    with reused.lent() as dbname:
        assert rows(admin.dsn(dbname), "SELECT count(*) FROM tenants") == [(0,)]
        assert rows(admin.dsn(dbname), "SHOW default_transaction_read_only") == [("off",)]


def test_a_test_may_end_every_session(reused: Reused, admin: Admin) -> None:
    before = used(reused, admin)
    others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() "
    assert used(reused, admin, f"{others}AND pid <> pg_backend_pid()") == before
