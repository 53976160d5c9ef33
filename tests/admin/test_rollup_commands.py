"""Tests the commands for rollups and raw rows: check --raw, rebuild-rollups, fold and prune."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from typer.testing import CliRunner, Result

import skilldb
from skilldb import cli
from skilldb.admin import rollups as admin_rollups
from skilldb.errors import InvalidValueError, NotFoundError
from skilldb.models import NewTokenMeasurement, NewUsageEvent
from skilldb.repositories import tokens, usage
from tests.support.api import new_skill, new_user
from tests.support.database import contents, rows
from tests.support.rollups import drifted
from tests.support.server import Addresses

TODAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
AGES = (0, 1, 40, 500)
BOTH = ("acme", "globex")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, [*arguments])


def lines(result: Result) -> list[str]:
    return result.output.splitlines()


def day(age: int) -> str:
    return f"{TODAY - timedelta(days=age):%Y-%m-%d}"


@pytest.fixture(autouse=True)
def both(acme: skilldb.Tenant, globex: skilldb.Tenant) -> dict[str, skilldb.Tenant]:
    """Two organisations with an event and a measurement of each age."""
    for tenant in (acme, globex):
        new_user(tenant, "u1")
        new_skill(tenant, "s1")
        times = [TODAY - timedelta(days=age) for age in AGES]
        tenant.execute(
            usage.record_usage_events(
                NewUsageEvent(tool_name="t", skill_id="s1", user_id="u1", created_at=at) for at in times
            ),
            tokens.record_token_measurements(
                NewTokenMeasurement(skill_id="s1", model_name="m", input_tokens=1, created_at=at) for at in times
            ),
        )
    return {"acme": acme, "globex": globex}


@pytest.fixture(autouse=True)
def environment(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that a service uses, so that the command uses the test's own database."""
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)


def damage(addresses: Addresses, tenant: str = "acme") -> None:
    """Lose a day of one rollup, and falsify another."""
    rows(addresses.admin, "DELETE FROM skill_monthly_uses WHERE tenant_id = %s RETURNING 1", tenant)
    rows(addresses.admin, "UPDATE skill_daily_costs SET input_tokens = 7 WHERE tenant_id = %s RETURNING 1", tenant)


def test_check_compares_the_rollups_with_the_raw_rows_only_if_asked(addresses: Addresses) -> None:
    rows(addresses.admin, "UPDATE skill_daily_costs SET input_tokens = 7 WHERE tenant_id = 'acme' RETURNING 1")
    assert (run("check").exit_code, run("check").output) == (0, "2 organisations checked, 0 counters drifted.\n")
    found = run("check", "--raw")
    assert found.exit_code == 1
    assert lines(found) == [
        *(f"acme {day(age)} skill_daily_costs s1 m input_tokens 7 1" for age in reversed(AGES)),
        "2 organisations checked, 0 counters drifted, 4 days of rollups drifted.",
    ]
    assert run("check", "--raw", "--tenant", "globex").exit_code == 0
    assert lines(run("check", "--raw", "--tenant", "acme", "--since", day(1)))[0].startswith(f"acme {day(1)} ")
    before = contents(addresses.admin)
    assert run("check", "--raw").exit_code == 1
    assert contents(addresses.admin) == before


def test_check_repairs_the_rollups_before_the_counters(addresses: Addresses, both: dict[str, skilldb.Tenant]) -> None:
    damage(addresses)
    rows(addresses.admin, "UPDATE skills SET total_uses = 0 WHERE tenant_id = 'acme' RETURNING 1")
    repaired = run("check", "--raw", "--repair")
    assert repaired.exit_code == 0, repaired.output
    assert f"acme {day(500)} skill_monthly_uses s1 uses 0 1" in lines(repaired)
    assert "acme s1 total_uses 0 4" in lines(repaired)
    assert run("check", "--raw").exit_code == 0
    assert drifted(both["acme"].execute) == []


def test_rollups_are_rebuilt_day_by_day_and_from_a_day_on(
    addresses: Addresses, both: dict[str, skilldb.Tenant]
) -> None:
    damage(addresses)
    damage(addresses, "globex")
    part = run("rebuild-rollups", "--tenant", "acme", "--since", day(40))
    assert part.exit_code == 0
    assert f"acme {day(500)} done" not in lines(part)
    assert f"acme {day(40)} done" in lines(part)
    assert {found.day.isoformat() for found in drifted(both["acme"].execute)} == {day(500)}
    whole = run("rebuild-rollups")
    assert whole.exit_code == 0
    assert [drifted(tenant.execute) for tenant in both.values()] == [[], []]
    assert lines(whole)[-1] == "2 organisations, 5 days rebuilt."
    assert lines(run("rebuild-rollups"))[-1] == "2 organisations, 0 days rebuilt."


def test_a_rebuild_that_is_interrupted_keeps_the_days_that_are_done(
    addresses: Addresses, both: dict[str, skilldb.Tenant]
) -> None:
    damage(addresses)
    days = admin_rollups.recount(both["acme"], repair=True)
    assert next(days).day.isoformat() == day(500)
    del days
    assert {found.day.isoformat() for found in drifted(both["acme"].execute)} == {day(age) for age in (0, 1, 40)}


def test_fold_adds_up_what_is_pending(addresses: Addresses) -> None:
    assert run("fold", "--tenant", "globex").output == "1 organisations, 4 rows folded.\n"
    assert run("fold").output == "2 organisations, 4 rows folded.\n"
    assert rows(addresses.admin, "SELECT 1 FROM pending_uses") == []
    assert run("fold").output == "2 organisations, 0 rows folded.\n"


def test_an_error_in_one_organisation_does_not_stop_the_others(addresses: Addresses) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute("ALTER TABLE tool_monthly_uses ADD CONSTRAINT broken CHECK (tenant_id <> 'acme')")
    result = run("fold")
    assert result.exit_code == 1
    assert result.stderr.startswith("acme: ")
    assert "broken" in result.stderr
    assert result.stdout == "1 organisations, 4 rows folded.\n"


def test_prune_deletes_by_age_and_changes_no_report(addresses: Addresses, both: dict[str, skilldb.Tenant]) -> None:
    asked = (usage.count_uses_by_day("s1", 600), usage.get_usage_trend(600), tokens.get_cost_trend("s1", 600))
    before = {name: tenant.execute(*asked) for name, tenant in both.items()}
    rows_before = contents(addresses.admin)
    dry = run("prune", "--events", "400d", "--measurements", "30d", "--dry-run")
    assert dry.output == "2 organisations, 2 events and 4 measurements would be deleted.\n"
    assert contents(addresses.admin) == rows_before
    one = run("prune", "--events", "400d", "--tenant", "acme")
    assert lines(one) == ["acme 1 events deleted", "1 organisations, 1 events and 0 measurements deleted."]
    rest = run("prune", "--events", "400d", "--measurements", "30d")
    assert lines(rest)[-1] == "2 organisations, 1 events and 4 measurements deleted."
    assert rows(addresses.admin, "SELECT count(*) FROM usage_events") == [(6,)]
    assert rows(addresses.admin, "SELECT count(*) FROM token_measurements") == [(4,)]
    assert {name: tenant.execute(*asked) for name, tenant in both.items()} == before
    assert run("check", "--raw", "--repair").exit_code == 0
    assert run("rebuild-rollups").exit_code == 0
    assert {name: tenant.execute(*asked) for name, tenant in both.items()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "nothing to prune: give --events, --measurements or both"),
        (["prune", "--events", "400"], "--events takes a number of days such as 400d, not '400'"),
        (["prune", "--measurements", "0d"], "--measurements takes a number of days such as 400d, not '0d'"),
        (["prune", "--events", "1d"], "--events must be at least 2, not 1"),
        (["prune", "--events", "99999d"], "--events must be at most 36525, not 99999"),
        (["check", "--since", "2026-01-01"], "--since needs --raw and --tenant"),
        (["check", "--raw", "--since", "2026-01-01"], "--since needs --raw and --tenant"),
        (["rebuild-rollups", "--since", "2026-01-01"], "--since needs --tenant"),
    ],
)
def test_a_command_that_cannot_be_says_why_and_writes_nothing(
    arguments: list[str], message: str, addresses: Addresses
) -> None:
    before = contents(addresses.admin)
    result = run(*arguments)
    assert isinstance(result.exception, InvalidValueError)
    assert message in str(result.exception)
    assert contents(addresses.admin) == before


@pytest.mark.parametrize("command", ["check", "fold", "rebuild-rollups", "prune"])
def test_an_organisation_that_does_not_exist_is_named(command: str) -> None:
    result = run(command, "--tenant", "nobody", *(["--events", "400d"] if command == "prune" else []))
    assert isinstance(result.exception, NotFoundError)
    assert "tenant 'nobody' does not exist" in str(result.exception)
