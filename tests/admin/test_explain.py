"""Tests `skilldb explain`: any query's plan in one organisation, with example or given values, rolled back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

import skilldb
from skilldb import cli, queries
from skilldb.admin import explain
from skilldb.dev.seed import seed
from skilldb.errors import (
    InvalidTransitionError,
    InvalidValueError,
    NotFoundError,
    SkilldbError,
    TenantRequiredError,
    UnsafeRoleError,
)
from skilldb.models import NewBenchmarkRun
from skilldb.repositories import benchmarks
from tests.support.api import Api, new_skill, new_user
from tests.support.database import contents, rows
from tests.support.plans import planned
from tests.support.server import Addresses


@pytest.fixture(autouse=True)
def environment(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["explain", *arguments])


def test_every_query_runs_with_its_examples_on_the_seeded_database_and_changes_nothing(
    addresses: Addresses, db: skilldb.Database
) -> None:
    list(seed(db))
    before = contents(addresses.admin)
    wrote = False
    explained = 0
    for name, query in planned().items():
        owners = explain.is_owners(query)
        for generic in (False, True):
            for tenant in [None] if owners else ["acme", "globex"]:
                done = explain.explain(
                    addresses.owner if owners else addresses.service, name, tenant, generic=generic, as_json=True
                )
                explained += 1
                wrote |= done.plan["Plan"]["Node Type"] == "ModifyTable"
                assert done.parameters.keys() == query.types.keys() - {"tenant_id"}, name
                assert done.role == ("skilldb_owner" if owners else "skilldb_service"), name
    assert explained > 150
    assert wrote
    assert contents(addresses.admin) == before


def test_a_utility_command_has_no_plan() -> None:
    without = [name for name, query in queries.load_all().items() if not explain.has_plan(query)]
    assert {"embedded.create_database", "embedded.create_logins", "drift.see_all_rows"} <= set(without)
    for name in without:
        with pytest.raises(SkilldbError, match=f"{name} has no plan: [A-Z]+ is a utility command"):
            explain.find(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("views.get_whats_new", "did you mean .*views.get_whats_new_for_user"),
        ("get_skill", "did you mean skills.get_skill "),
        ("zzz", "the files are benchmarks, distribute, doctor, "),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_come_close(name: str, hint: str) -> None:
    with pytest.raises(NotFoundError, match=f"query '{name}' does not exist: {hint}"):
        explain.find(name)


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("text", "5", "5"),
        ("text", "", ""),
        ("text", "null", None),
        ("integer", "5", 5),
        ("bigint", str(2**40), 2**40),
        ("boolean", "true", True),
        ("timestamptz", "2026-01-31T12:00+00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("uuid", f"{UUID(int=1)}", UUID(int=1)),
        ("jsonb", '{"a": 1}', '{"a": 1}'),
        ("text[]", '["a", null]', ["a", None]),
        ("integer[]", "[1, 2]", [1, 2]),
        ("timestamptz[]", '["2026-01-31T12:00Z", null]', [datetime(2026, 1, 31, 12, tzinfo=UTC), None]),
    ],
)
def test_a_given_value_is_read_by_its_parameters_type(type: str, text: str, value: Any) -> None:
    assert explain.parse("p", type, text) == value


@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("integer", "five"),
        ("integer", "1.5"),
        ("integer", str(2**31)),
        ("boolean", "1"),
        ("timestamptz", "yesterday"),
        ("timestamptz", "2026-01-31T12:00"),
        ("timestamptz[]", '["yesterday"]'),
        ("timestamptz[]", "5"),
        ("uuid", "u1"),
        ("jsonb", "[1]"),
        ("text[]", "a"),
        ("text[]", "[1]"),
    ],
)
def test_a_given_value_of_another_type_is_refused(type: str, text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"^p "):
        explain.parse("p", type, text)


def test_given_parameters_replace_the_examples_and_no_others_are_taken(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s1")
    new_skill(acme, "s2")
    done = explain.explain(addresses.service, "skills.get_skill", "acme", {"skill_id": "s2"})
    assert done.parameters == {"skill_id": "s2"}
    assert "s2" in done.plan
    for unknown in ("tenant_id", "user_id"):
        message = f"skills.get_skill has no parameter {unknown}; it takes: skill_id"
        with pytest.raises(InvalidValueError, match=message):
            explain.explain(addresses.service, "skills.get_skill", "acme", {unknown: "globex"})


def test_a_query_that_refuses_its_parameters_says_so_and_how_to_give_others(addresses: Addresses, acme: Api) -> None:
    message = "locks.lock_skill cannot run with these examples: skill 'nope' does not exist .*--set"
    with pytest.raises(NotFoundError, match=message):
        explain.explain(addresses.service, "locks.lock_skill", "acme", {"skill_id": "nope"})
    with pytest.raises(SkilldbError, match=r"usage.get_top_skills cannot run .*LIMIT must not be negative .*--set"):
        explain.explain(addresses.service, "usage.get_top_skills", "acme", {"limit": "-1"})


def test_what_is_given_is_changed_as_it_is(addresses: Addresses, acme: Api) -> None:
    """Without a run_id, an example run is created and started first. A given run is not changed."""
    new_user(acme, "u1")
    new_skill(acme, "s1")
    run = NewBenchmarkRun(id="r1", skill_id="s1", triggered_by="u1", models=["m"])
    acme.execute(benchmarks.create_benchmark_run(run))
    assert explain.explain(addresses.service, "benchmarks.complete_benchmark_run", "acme").plan
    with pytest.raises(InvalidTransitionError, match="run 'r1' is pending: it cannot complete"):
        explain.explain(addresses.service, "benchmarks.complete_benchmark_run", "acme", {"run_id": "r1"})


def test_an_empty_organisation_has_no_examples_to_write_with(addresses: Addresses, acme: Api) -> None:
    assert explain.explain(addresses.service, "skills.list_skills", "acme").plan
    with pytest.raises(SkilldbError, match=r"feedback.submit_feedback cannot run with these examples: .*--set"):
        explain.explain(addresses.service, "feedback.submit_feedback", "acme")


def returned(done: explain.Explained) -> int:
    return int(done.plan["Plan"]["Actual Rows"])


def test_it_sees_the_rows_of_its_tenant_only(addresses: Addresses, acme: Api, globex: Api) -> None:
    for tenant, id in ((acme, "ours"), (globex, "theirs")):
        new_skill(tenant, id)
    found = {
        (tenant, id): returned(
            explain.explain(addresses.service, "skills.get_skill", tenant, {"skill_id": id}, as_json=True)
        )
        for tenant in ("acme", "globex")
        for id in ("ours", "theirs")
    }
    assert found == {
        ("acme", "ours"): 1,
        ("acme", "theirs"): 0,
        ("globex", "ours"): 0,
        ("globex", "theirs"): 1,
    }


def test_a_role_that_could_bypass_isolation_and_a_tenant_that_is_none_are_refused(addresses: Addresses) -> None:
    with pytest.raises(UnsafeRoleError, match="BYPASSRLS"):
        explain.explain(addresses.owner, "skills.get_skill", "acme")
    with pytest.raises(TenantRequiredError):
        explain.explain(addresses.service, "skills.get_skill", "")
    with pytest.raises(NotFoundError, match="tenant 'nobody' does not exist"):
        explain.explain(addresses.service, "skills.get_skill", "nobody")


def test_a_generic_plan_does_not_know_the_parameters(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "it's 100 percent")
    conditions = {
        generic: explain.explain(addresses.service, "skills.get_skill", "acme", generic=generic).plan
        for generic in (False, True)
    }
    assert "(id = 'it''s 100 percent'::text)" in conditions[False]
    assert "$" not in conditions[False]
    assert "(id = $" in conditions[True]
    assert "percent" not in conditions[True]
    assert "rows=1" in conditions[True]


# The command


@pytest.fixture
def example(acme: Api, globex: Api) -> None:
    for tenant in (acme, globex):
        new_user(tenant, f"{tenant.id}-user")
        new_skill(tenant, f"{tenant.id}-skill")


@pytest.mark.usefixtures("example")
def test_the_command_prints_the_role_the_parameters_and_the_rollback(addresses: Addresses) -> None:
    before = contents(addresses.admin)
    result = run("ratings.rate_skill")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "ratings.rate_skill as skilldb_service, tenant acme, plan for these parameters"
    assert "  skill_id = 'acme-skill'" in lines
    assert "  rating = 4" in lines
    assert "  hours_saved_estimate = NULL" in lines
    assert any("Insert on ratings" in line and "actual" in line for line in lines)
    assert any("Buffers: shared" in line for line in lines)
    assert lines[-1] == "The query ran and was rolled back: nothing has changed."
    assert contents(addresses.admin) == before


@pytest.mark.usefixtures("example")
def test_the_command_takes_a_tenant_parameters_and_the_kind_of_plan() -> None:
    result = run(
        "views.get_whats_new_for_user", "--tenant", "globex", "--set", "limit=3", "--set", "user_id=a=b", "--generic"
    )
    assert result.exit_code == 0, result.output
    assert "tenant globex, generic plan" in result.output
    assert "  limit = 3\n" in result.output
    assert "  user_id = 'a=b'\n" in result.output
    assert "tenant_id = $" in result.output


@pytest.mark.usefixtures("example")
def test_the_command_gives_machines_one_json_object() -> None:
    found = json.loads(run("usage.count_uses_by_day", "--json").stdout)
    assert found.keys() == {"query", "tenant", "role", "generic", "parameters", "plan"}
    assert found["query"] == "usage.count_uses_by_day"
    assert found["tenant"] == "acme"
    assert found["generic"] is False
    assert found["parameters"] == {"skill_id": "acme-skill", "days": 30}
    assert found["plan"]["Plan"]["Actual Rows"] == 30
    assert json.loads(run("feedback.count_feedback_since", "--json").stdout)["parameters"]["since"] > "2026"


def test_a_query_of_the_owner_runs_as_the_owner(addresses: Addresses) -> None:
    found = json.loads(run("drift.list_tenants", "--json").stdout)
    assert (found["role"], found["tenant"], found["parameters"]) == ("skilldb_owner", None, {})


def complaint(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SkilldbError)
    return str(result.exception)


def test_the_command_says_what_is_wrong_with_its_arguments(acme: Callable[[], Api]) -> None:
    assert "leave out --tenant" in complaint("drift.list_tenants", "--tenant", "acme")
    assert complaint("skills.get_skill", "--set", "skill_id") == "--set takes NAME=VALUE, not 'skill_id'"
    assert complaint("skills.list_skills", "--set", "limit=ten") == "limit must be a bigint as JSON, not 'ten'"


def test_without_an_organisation_the_command_says_how_to_get_one(addresses: Addresses) -> None:
    assert rows(addresses.admin, "SELECT count(*) FROM tenants") == [(0,)]
    assert "skilldb seed" in complaint("skills.get_skill")
