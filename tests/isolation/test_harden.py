"""Tests `skilldb harden`: the tenant of a transaction is write-once, and everything else works as before."""

from __future__ import annotations

import subprocess
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

import skilldb
from skilldb import cli
from skilldb.admin import doctor, drift, explain, harden, migrate
from skilldb.dev import embedded
from skilldb.errors import PermissionDeniedError, SkilldbError
from skilldb.models import NewUsageEvent
from skilldb.repositories import metrics, skills, tenants, usage
from tests.support.api import APIS, ask, new_skill
from tests.support.database import rows
from tests.support.ledger import opened
from tests.support.server import Addresses, direct_only

USE = metrics.increment_skill_uses("s1")
SET = "set_config('app.current_tenant_id', 'globex', true)"
SETTER = "skilldb_hardening.begin_call('globex', NULL, 'public', '0', '0')"


def within(call: str) -> str:
    """SQL that runs the call within an expression."""
    quoted = call.replace("'", "''")
    return f"query_to_xml('SELECT {quoted}', true, true, '') IS NULL"


INJECTED = {
    "set_config": f"{SET} IS NULL",
    "the setter": f"({SETTER}) IS NULL",
    "query_to_xml": within(SET),
    "query_to_xml, the setter": within(SETTER),
    "ts_stat": f"(SELECT count(*) FROM ts_stat('SELECT {SET.replace(chr(39), chr(39) * 2)}::tsvector')) = 0",  # noqa: S608
}


def two_organisations(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        for id in ("acme", "globex"):
            tenant = database.tenant(id)
            tenant.execute(tenants.create_tenant(id, id))
            new_skill(tenant, "s1", name=f"the skill of {id}")


@pytest.fixture
def hardened(addresses: Addresses) -> Addresses:
    two_organisations(addresses)
    harden.apply(addresses.admin)
    return addresses


def test_before_it_an_injected_expression_names_another_organisation(addresses: Addresses) -> None:
    """This is what it closes."""
    two_organisations(addresses)
    others = "(SELECT string_agg(name, ',') FROM public.skills)"
    with skilldb.connect(addresses.service) as database:
        found = database.tenant("acme").execute(ask(f"SELECT CASE WHEN {SET} = 'globex' THEN {others} END"))
    assert found == "the skill of globex"


@APIS
@pytest.mark.parametrize("injected", INJECTED)
def test_an_injected_expression_is_refused(api: str, injected: str, hardened: Addresses) -> None:
    with opened(api, hardened.service) as (execute, _):
        with pytest.raises(PermissionDeniedError, match=r"set_config|set already"):
            execute(USE, ask(f"SELECT 1 WHERE {INJECTED[injected]}"))
        assert execute(USE) == 1


@APIS
def test_a_service_works_as_before(api: str, hardened: Addresses) -> None:
    with opened(api, hardened.service, statement_timeout=7, lock_timeout=3) as (execute, _):
        for number in range(1, 9):  # Prepared, too.
            assert execute(USE, skills.get_skill("s1"))[0] == number
        settings = [ask(f"SELECT current_setting('{name}')") for name in ("statement_timeout", "lock_timeout")]
        assert execute(*settings) == ("7s", "3s")
        assert execute(ask("SELECT current_setting('search_path')")) == 'pg_catalog, "public", pg_temp'
        assert execute(usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1"))) is True
        assert execute(skills.get_skill("s1")).name == "the skill of acme"
    assert rows(hardened.admin, "SELECT tenant_id, total_uses FROM skills ORDER BY 1") == [("acme", 9), ("globex", 0)]


def test_a_transaction_sets_the_tenant_once(hardened: Addresses) -> None:
    with skilldb.connect(hardened.service) as database, database.tenant("acme").transaction() as tx:
        assert [tx.execute(USE) for _ in range(3)] == [1, 2, 3]


@APIS
def test_hostile_tenants_are_values(api: str, hardened: Addresses) -> None:
    with skilldb.connect(hardened.service) as database:
        for id in ("'; DROP TABLE skills; --", "a\\'b", "%s", "$1"):
            assert database.tenant(id).execute(skills.get_skill("s1")) is None


@APIS
def test_a_service_that_is_running_notices_and_no_call_fails(api: str, hardened: Addresses) -> None:
    soften = "GRANT EXECUTE ON FUNCTION pg_catalog.set_config TO PUBLIC; DROP SCHEMA skilldb_hardening CASCADE"
    with opened(api, hardened.service, max_size=1) as (execute, _):
        assert execute(USE) == 1
        with psycopg.connect(hardened.admin, autocommit=True) as admin:
            admin.execute(soften)
        assert execute(USE) == 2
        harden.apply(hardened.admin)
        assert execute(USE) == 3


def test_it_can_be_run_again_and_the_tools_work(hardened: Addresses, tmp_path: Any) -> None:
    harden.apply(hardened.admin)
    assert list(migrate.migrate(hardened.owner)) == []
    assert [id for id, _ in drift.list_tenants(hardened.owner)] == ["acme", "globex"]
    assert explain.explain(hardened.service, "skills.get_skill", "acme").plan
    with skilldb.connect(hardened.service) as database:
        assert list(drift.check(map(database.tenant, ["acme", "globex"]))) == []
    findings = list(doctor.examine(hardened.owner, hardened.service))
    found = [finding for finding in findings if finding.level == "failure" or finding.check == "hardening"]
    assert [(finding.check, finding.found) for finding in found] == [
        ("hardening", "the tenant of a transaction is write-once")
    ]


@direct_only
def test_pg_dump_works_as_the_owner(hardened: Addresses, tmp_path: Any) -> None:
    dump = tmp_path / "dump"
    command: list[Any] = [embedded.program("pg_dump"), f"--file={dump}", f"--dbname={hardened.owner}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert "the skill of globex" in dump.read_text()
    assert conninfo_to_dict(hardened.owner)["user"] == "skilldb_owner"


def test_the_doctor_knows_each_state(addresses: Addresses) -> None:
    def state() -> tuple[str, str]:
        (found,) = [f for f in doctor.examine(addresses.owner, addresses.service) if f.check == "hardening"]
        return found.level, found.found

    assert state()[0] == "ok"
    assert "`skilldb harden` makes it so (optional)" in state()[1]
    harden.apply(addresses.admin)
    assert state() == ("ok", "the tenant of a transaction is write-once")
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute("GRANT EXECUTE ON FUNCTION pg_catalog.set_config TO PUBLIC")
        assert state()[0] == "warning"
        admin.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.set_config FROM PUBLIC")
        admin.execute("DROP SCHEMA skilldb_hardening CASCADE")
    assert state()[0] == "failure"


def test_only_a_superuser_applies_it(addresses: Addresses) -> None:
    with pytest.raises(SkilldbError, match="skilldb_owner is not a superuser"):
        harden.apply(addresses.owner)
    assert rows(addresses.admin, "SELECT to_regnamespace('skilldb_hardening') IS NULL") == [(True,)]


def test_the_command_prints_sql_that_a_superuser_can_run(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)
    printed = CliRunner().invoke(cli.app, ["harden"])
    assert printed.exit_code == 0
    refused = CliRunner().invoke(cli.app, ["harden", "--apply"])
    assert "SKILLDB_ADMIN_DSN" in str(refused.exception)
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute(printed.output.encode())
    monkeypatch.setenv("SKILLDB_ADMIN_DSN", addresses.admin)
    assert "write-once" in CliRunner().invoke(cli.app, ["harden", "--apply"]).output
    with skilldb.connect(addresses.service) as database:
        tenant = database.tenant("acme")
        tenant.execute(tenants.create_tenant("acme", "acme"))
        with pytest.raises(PermissionDeniedError):
            tenant.execute(ask(f"SELECT 1 WHERE {INJECTED['set_config']}"))
