"""Tests `skilldb check`: it prints, reports by exit status and repairs the drift of every organisation."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

import skilldb
from skilldb import cli
from skilldb.errors import PermissionDeniedError
from skilldb.models import Skill
from skilldb.repositories import metrics, skills, tenants
from tests.support.api import fill, new_user
from tests.support.database import contents, rows
from tests.support.server import Addresses

# Each counter of a skill after `fill`, and a wrong value for it. No wrong value is outside the domain of its column.
TRUE = {
    "rating_count": 1,
    "rating_sum": 3,
    "average_rating": 300,
    "total_uses": 2,
    "total_feedback": 3,
    "thumbs_up_count": 1,
    "thumbs_down_count": 1,
    "positive_feedback_pct": 50,
    "priced_measurement_count": 1,
    "token_cost_sum_microcents": 1_050_000,
    "avg_token_cost_microcents": 1_050_000,
}
FALSE = {
    "rating_count": 2,
    "rating_sum": 4,
    "average_rating": 301,
    "total_uses": 1,
    "total_feedback": 9,
    "thumbs_up_count": 4,
    "thumbs_down_count": 5,
    "positive_feedback_pct": 44,
    "priced_measurement_count": 7,
    "token_cost_sum_microcents": 1_050_001,
    "avg_token_cost_microcents": 150_000,
}
FALSIFIED = (("acme", "s2"), ("globex", "s1"))


@pytest.fixture(autouse=True)
def environment(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that a service uses, so that the command uses the test's own database."""
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)


def check(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["check", *arguments])


def drift(result: Result) -> list[tuple[str, ...]]:
    """The printed lines: organisation, skill, counter, stored value, value computed from the rows."""
    lines = [tuple(line.replace("│", " ").split()) for line in result.output.splitlines()]
    return [line for line in lines if set(line) & set(TRUE)]


def without_time(skill: Skill | None) -> Skill:
    """The skill without the time of its last counter change."""
    assert skill is not None
    return replace(skill, metrics_updated_at=None)


def falsify(addresses: Addresses, tenant: str, skill: str, **false: int) -> None:
    """Set counters of the skill to wrong values."""
    columns = ", ".join(f"{column} = {value}" for column, value in false.items())
    where = "WHERE tenant_id = %s AND id = %s RETURNING id"
    assert rows(addresses.admin, f"UPDATE skills SET {columns} {where}", tenant, skill) == [(skill,)]  # noqa: S608


@pytest.fixture
def both(acme: skilldb.Tenant, globex: skilldb.Tenant) -> tuple[skilldb.Tenant, skilldb.Tenant]:
    """Two organisations with the skills s1 and s2, whose counters are not zero."""
    for tenant in (acme, globex):
        new_user(tenant, "u1")
        for skill in ("s1", "s2"):
            fill(tenant, skill)
    return acme, globex


@pytest.mark.usefixtures("both")
def test_without_drift_nothing_is_printed_but_the_count_nothing_is_written_and_the_status_is_0(
    addresses: Addresses,
) -> None:
    before = contents(addresses.admin)
    for arguments in ((), ("--repair",)):
        result = check(*arguments)
        assert result.exit_code == 0, result.output
        assert result.output == "2 organisations checked, 0 counters drifted.\n"
    assert contents(addresses.admin) == before


def test_a_database_without_organisations_has_no_drift() -> None:
    result = check()
    assert (result.exit_code, result.output) == (0, "0 organisations checked, 0 counters drifted.\n")


@pytest.mark.usefixtures("both")
def test_every_falsified_counter_of_every_organisation_is_printed_with_both_values_and_the_status_is_1(
    addresses: Addresses,
) -> None:
    falsify(addresses, "acme", "s2", **FALSE)
    falsify(addresses, "globex", "s1", **FALSE)
    falsify(addresses, "globex", "s2", token_cost_sum_microcents=0)
    before = contents(addresses.admin)

    result = check()

    assert result.exit_code == 1
    assert sorted(drift(result)) == sorted(
        [
            *((*skill, counter, str(FALSE[counter]), str(TRUE[counter])) for skill in FALSIFIED for counter in TRUE),
            ("globex", "s2", "token_cost_sum_microcents", "0", "1050000"),
        ]
    )
    assert result.output.splitlines()[-1] == "2 organisations checked, 23 counters drifted."
    assert contents(addresses.admin) == before


def test_repair_corrects_every_counter_and_the_next_check_is_clean(
    addresses: Addresses, both: tuple[skilldb.Tenant, skilldb.Tenant]
) -> None:
    right = [t.execute(skills.get_skill(skill)) for t in both for skill in ("s1", "s2")]
    for tenant, skill in FALSIFIED:
        falsify(addresses, tenant, skill, **FALSE)
    falsify(addresses, "globex", "s2", token_cost_sum_microcents=0)
    falsified = check()

    repaired = check("--repair")

    assert repaired.exit_code == 0
    assert drift(repaired) == drift(falsified) != []
    assert repaired.output.splitlines()[-1] == "2 organisations checked, 23 counters drifted. 23 repaired."
    now = [t.execute(skills.get_skill(skill)) for t in both for skill in ("s1", "s2")]
    assert [without_time(skill) for skill in now] == [without_time(skill) for skill in right]
    # Counters without drift are unchanged, and so is their time.
    assert now[0] == right[0]
    before = contents(addresses.admin)
    for arguments in ((), ("--repair",)):
        again = check(*arguments)
        assert (again.exit_code, again.output) == (0, "2 organisations checked, 0 counters drifted.\n")
    assert contents(addresses.admin) == before


def test_more_uses_than_events_are_no_drift_and_fewer_are(addresses: Addresses, acme: skilldb.Tenant) -> None:
    new_user(acme, "u1")
    fill(acme, "s1")
    acme.execute(metrics.increment_skill_uses("s1", 40))
    assert check().exit_code == 0
    assert check("--repair").exit_code == 0
    assert rows(addresses.admin, "SELECT total_uses FROM skills") == [(42,)]

    falsify(addresses, "acme", "s1", total_uses=1)
    fewer = check()
    assert (fewer.exit_code, drift(fewer)) == (1, [("acme", "s1", "total_uses", "1", "2")])
    assert check("--repair").exit_code == 0
    assert rows(addresses.admin, "SELECT total_uses FROM skills") == [(2,)]


def test_long_ids_and_large_numbers_are_printed_whole(addresses: Addresses, db: skilldb.Database) -> None:
    organisation, skill = (str(uuid4()) for _ in range(2))
    tenant = db.tenant(organisation)
    tenant.execute(tenants.create_tenant("Acme", "acme"))
    new_user(tenant, "u1")
    fill(tenant, skill)
    falsify(addresses, organisation, skill, token_cost_sum_microcents=2**63 - 1)
    assert drift(check()) == [(organisation, skill, "token_cost_sum_microcents", str(2**63 - 1), "1050000")]


def test_ids_in_brackets_are_printed_as_they_are(addresses: Addresses, db: skilldb.Database) -> None:
    tenant = db.tenant("[bold]acme")
    tenant.execute(tenants.create_tenant("Acme", "acme"))
    new_user(tenant, "u1")
    fill(tenant, "[/]")
    falsify(addresses, "[bold]acme", "[/]", total_uses=0)
    result = check()
    assert result.exit_code == 1
    assert drift(result) == [("[bold]acme", "[/]", "total_uses", "0", "2")]


def test_an_owners_address_that_cannot_see_all_organisations_gives_no_false_all_clear(
    addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.service)
    result = CliRunner().invoke(cli.app, ["check"])
    assert result.exit_code == 1
    assert isinstance(result.exception, PermissionDeniedError)
