"""Tests that settings of the role, the database or the environment change no answer, or are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

import skilldb
from skilldb import connection
from skilldb.errors import UnsuitableSettingError
from skilldb.models import NewUsageEvent
from skilldb.repositories import skills, tenants, usage
from tests.support.api import APIS, new_skill
from tests.support.ledger import opened
from tests.support.server import Addresses

READ = skills.get_skill("s1")


@pytest.fixture
def acme(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        tenant = database.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"))
        new_skill(tenant, "s1")


def alter(addresses: Addresses, *settings: str) -> None:
    """Set them for the database. They are reset after the test."""
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        for setting in settings:
            admin.execute(f"ALTER DATABASE {admin.info.dbname} SET {setting}".encode())


@APIS
@pytest.mark.parametrize(
    "setting",
    [
        "DateStyle = 'German'",
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = 'iso_8601'",
        "array_nulls = off",
        "standard_conforming_strings = off",
        "row_security = off",
        "transform_null_equals = on",
        "bytea_output = 'escape'",
        "TimeZone = 'Pacific/Auckland'",
        "plan_cache_mode = force_custom_plan",
    ],
)
def test_a_setting_of_the_database_changes_no_answer(api: str, setting: str, acme: None, addresses: Addresses) -> None:
    with opened(api, addresses.service) as (execute, _):
        before = execute(READ)
    alter(addresses, setting)
    at = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    events = [NewUsageEvent(tool_name="t", skill_id=id, created_at=at) for id in ("s1", None)]
    with opened(api, addresses.service) as (execute, _):
        assert execute(READ) == before
        assert execute(usage.record_usage_events(events)) == 2
        assert execute(READ).total_uses == 1
    with psycopg.connect(addresses.admin) as admin:
        assert admin.execute("SELECT DISTINCT created_at = %s FROM usage_events", [at]).fetchall() == [(True,)]
    with connection.owned(addresses.owner) as owner:
        ((changed,),) = owner.execute("SELECT min(created_at) FROM usage_events").fetchall()
        assert changed is None or changed == at


@APIS
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "default_transaction_isolation = 'repeatable read'",
            r"default_transaction_isolation is 'repeatable read', but skilldb needs 'read committed'\. Run: ALTER ROLE",
        ),
        ("default_transaction_isolation = 'serializable'", "'serializable', but skilldb needs 'read committed'"),
        ("default_transaction_read_only = on", "default_transaction_read_only is 'on'"),
        ("session_replication_role = replica", "session_replication_role is 'replica'"),
    ],
)
def test_a_setting_that_no_call_can_set_is_refused(
    api: str, setting: str, message: str, acme: None, addresses: Addresses
) -> None:
    alter(addresses, setting)
    with pytest.raises(UnsuitableSettingError, match=message), opened(api, addresses.service):
        pass


@APIS
def test_a_setting_is_refused_on_a_later_connection_too(api: str, acme: None, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1, timeout=0.5) as (execute, pool):
        alter(addresses, "session_replication_role = replica")
        (conn,) = pool._pool
        conn.session.used_at -= 3600
        execute(READ)  # It answers, so it is kept.
        with psycopg.connect(addresses.admin, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE usename = 'skilldb_service' AND datname = current_database()"
            )
        with pytest.raises(UnsuitableSettingError):
            execute(READ)


def test_the_owner_is_not_held_up_by_settings_that_its_connection_can_set(addresses: Addresses) -> None:
    alter(
        addresses,
        "DateStyle = 'German'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
    )
    with connection.owned(addresses.owner) as owner:
        names = ("transaction_isolation", "transaction_read_only", "DateStyle", "client_encoding")
        values = [owner.execute(f"SHOW {name}".encode()).fetchone() for name in names]
        assert values == [("read committed",), ("off",), ("ISO, DMY",), ("UTF8",)]
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET session_replication_role = replica".encode())
    with pytest.raises(UnsuitableSettingError, match="session_replication_role"), connection.owned(addresses.owner):
        pass


@APIS
def test_a_database_whose_encoding_is_not_utf8_is_refused(api: str, addresses: Addresses) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        name = f"{admin.info.dbname}_ascii"
        admin.execute(
            f"CREATE DATABASE {name} OWNER skilldb_owner TEMPLATE template0 "
            "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        )
        try:
            dsn = psycopg.conninfo.make_conninfo(addresses.service, dbname=name)
            with pytest.raises(UnsuitableSettingError, match="server_encoding is 'SQL_ASCII'"), opened(api, dsn):
                pass
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
