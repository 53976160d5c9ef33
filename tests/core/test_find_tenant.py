"""Tests finding an organisation by its slug: what is found, by which policies, and what else is visible meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb import queries
from skilldb.admin import harden
from skilldb.errors import DatabaseClosedError, InvalidValueError, PermissionDeniedError
from skilldb.repositories import skills, tenants
from tests.support.api import APIS, ask, new_skill, pool_of
from tests.support.database import rows
from tests.support.proxy import Proxy, through
from tests.support.server import Addresses, direct_only


class Finder:
    """find_tenant() of the blocking or the async API: the id of what it finds, or None. Also a call of that handle."""

    def __init__(self, database: Any, run: Callable[[Any], Any]) -> None:
        self.database = database
        self._run = run

    def find(self, slug: Any) -> str | None:
        found = self._run(self.database.find_tenant(slug))
        return None if found is None else str(found.id)

    def execute(self, slug: str, *statements: Any) -> Any:
        return self._run(self._run(self.database.find_tenant(slug)).execute(*statements))


@contextmanager
def finder(api: str, dsn: str, **settings: Any) -> Iterator[Finder]:
    if api == "blocking":
        with skilldb.connect(dsn, **settings) as database:
            yield Finder(database, lambda answer: answer)
        return
    with asyncio.Runner() as runner:
        opened = skilldb.connect_async(dsn, **settings)
        runner.run(opened.open())
        yield Finder(opened, runner.run)
        runner.run(opened.close())


@APIS
def test_an_organisation_is_found_by_its_slug(
    api: str, addresses: Addresses, acme: skilldb.Tenant, globex: skilldb.Tenant
) -> None:
    acme.execute(tenants.update_tenant({"slug": "ACME & Söhne's"}))
    new_skill(globex, "s1", name="of globex")
    with finder(api, addresses.service) as finds:
        for _ in range(8):  # Prepared, too.
            assert finds.find("ACME & Söhne's") == "acme"
            assert finds.find("globex") == "globex"
            for slug in ("acme", "GLOBEX", "globex ", "", "%", "'", "$1", "%s", "x" * 255):
                assert finds.find(slug) is None
        assert finds.execute("globex", skills.get_skill("s1")).name == "of globex"


@APIS
def test_an_organisation_that_is_switched_off_is_found_and_says_so(
    api: str, addresses: Addresses, acme: skilldb.Tenant
) -> None:
    acme.execute(tenants.update_tenant({"is_active": False}))
    with finder(api, addresses.service) as finds:
        assert finds.execute("acme", tenants.get_tenant()).is_active is False


@APIS
def test_what_is_no_slug_is_refused_before_anything_is_sent(api: str, addresses: Addresses) -> None:
    with finder(api, addresses.service) as finds:
        for slug, why in ((None, "must be a str"), (1, "must be a str"), ("a\0", "NUL"), ("x" * 256, "at most 255")):
            with pytest.raises(InvalidValueError, match=why):
                finds.find(slug)


@APIS
def test_finding_is_one_round_trip(api: str, addresses: Addresses, acme: skilldb.Tenant, wire: Proxy) -> None:
    with finder(api, through(wire, addresses.service)) as finds:
        before = wire.round_trips
        assert finds.find("acme") == "acme"
        assert wire.round_trips == before + 1


@APIS
def test_a_closed_database_finds_nothing(api: str, addresses: Addresses) -> None:
    with finder(api, addresses.service) as finds:
        finds._run(finds.database.close())
        with pytest.raises(DatabaseClosedError):
            finds.find("acme")


@APIS
@direct_only
def test_a_call_that_waits_for_a_lock_is_ended_and_a_lost_connection_is_replaced(
    api: str, addresses: Addresses, acme: skilldb.Tenant
) -> None:
    with (
        finder(api, addresses.service, max_size=1) as finds,
        psycopg.connect(addresses.admin, autocommit=True) as admin,
    ):
        assert finds.find("acme") == "acme"
        admin.execute("BEGIN; LOCK TABLE tenants")
        with (
            skilldb.connect(addresses.service, lock_timeout=0.1) as impatient,
            pytest.raises(skilldb.LockTimeoutError),
        ):
            impatient.find_tenant("acme")
        admin.execute("COMMIT")
        ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'skilldb_service'"
        admin.execute(ended.encode())
        assert finds.find("acme") == "acme"


def settings_of(database: skilldb.Database) -> tuple[str, str]:
    with pool_of(database).connection() as conn:
        found: tuple[str, str] = conn.execute(
            "SELECT coalesce(current_setting('app.current_tenant_id', true), ''), "
            "coalesce(current_setting('app.current_tenant_slug', true), '')"
        ).fetchone()
        return found


def test_neither_setting_outlives_its_call(addresses: Addresses, acme: skilldb.Tenant, globex: skilldb.Tenant) -> None:
    named = (
        ask("SELECT current_setting('app.current_tenant_id')"),
        ask("SELECT current_setting('app.current_tenant_slug')"),
        ask("SELECT string_agg(id, ',') FROM tenants"),
    )
    with skilldb.connect(addresses.service, max_size=1) as database:
        for _ in range(2):
            found = database.find_tenant("globex")
            assert found is not None
            assert settings_of(database) == ("", "")
            assert database.tenant("acme").execute(*named) == ("acme", "", "acme")
            with database.tenant("acme").transaction() as tx:
                assert tx.execute(*named) == ("acme", "", "acme")
            assert settings_of(database) == ("", "")


def test_a_slug_that_a_role_begins_with_shows_nothing_to_a_call(
    addresses: Addresses, acme: skilldb.Tenant, globex: skilldb.Tenant
) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute("ALTER ROLE skilldb_service SET app.current_tenant_slug = 'globex'")
        try:
            with skilldb.connect(addresses.service) as database:
                assert database.tenant("acme").execute(ask("SELECT string_agg(id, ',') FROM tenants")) == "acme"
        finally:
            admin.execute("ALTER ROLE skilldb_service RESET app.current_tenant_slug")


@APIS
def test_a_hardened_database_finds_through_the_setter(
    api: str, addresses: Addresses, acme: skilldb.Tenant, globex: skilldb.Tenant
) -> None:
    soften = "GRANT EXECUTE ON FUNCTION pg_catalog.set_config TO PUBLIC; DROP SCHEMA skilldb_hardening CASCADE"
    with finder(api, addresses.service, max_size=1) as finds:
        for _ in range(2):
            assert finds.find("globex") == "globex"
            harden.apply(addresses.admin)
            for _ in range(8):  # The first call notices, and no call fails.
                assert finds.find("globex") == "globex"
                assert finds.find("nobody") is None
                assert finds.execute("acme", tenants.get_tenant()).id == "acme"
            with psycopg.connect(addresses.admin, autocommit=True) as admin:
                admin.execute(soften)


def test_a_hardened_call_of_a_slug_names_no_organisation_as_well(addresses: Addresses, acme: skilldb.Tenant) -> None:
    harden.apply(addresses.admin)
    setter = "skilldb_hardening.begin_call(%s, %s, 'public', '0', '0')"
    with psycopg.connect(addresses.service) as conn:
        conn.execute(f"SELECT {setter}".encode(), ["", "acme"])
        assert conn.execute("SELECT id FROM public.tenants").fetchall() == [("acme",)]
        assert conn.execute("SELECT id FROM public.skills").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="set already"):
            conn.execute(f"SELECT {setter}".encode(), ["acme", ""])
    with skilldb.connect(addresses.service) as database, pytest.raises(PermissionDeniedError, match="set already"):
        database.tenant("acme").execute(ask("SELECT skilldb_hardening.begin_call('', 'globex', 'public', '0', '0')"))


def test_the_index_of_the_slug_finds_one_among_many(addresses: Addresses) -> None:
    rows(
        addresses.admin,
        "INSERT INTO tenants (id, name, slug) SELECT 't' || n, '', 'slug ' || n FROM generate_series(1, 5000) AS n "
        "RETURNING 1",
    )
    find = queries.load("tenants")["find_tenant"]
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute("ANALYZE tenants")
    with psycopg.connect(addresses.service) as conn:
        conn.execute("SELECT set_config('app.current_tenant_slug', 'slug 7', true)")
        conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        conn.execute(b"PREPARE found AS " + find.numbered)
        ((plan,),) = conn.execute("EXPLAIN (ANALYZE, FORMAT json) EXECUTE found ('slug 7')").fetchall()
    top = plan[0]["Plan"]
    assert (top["Index Name"], top["Actual Rows"]) == ("tenants_slug_key", 1)
