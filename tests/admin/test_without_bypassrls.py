"""Tests what is done for all organisations by an owner without BYPASSRLS, who is subject to the policies."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

import skilldb
from skilldb import cli
from skilldb.admin import doctor
from skilldb.admin.doctor import Finding
from skilldb.repositories import tenants
from tests.support.api import new_skill
from tests.support.database import rows
from tests.support.server import SUBJECT_OWNER, Addresses

MODE = (
    f"{SUBJECT_OWNER} owns every table and is subject to the policies (no BYPASSRLS): it sees one organisation's rows "
    "at a time. Back up as docs/operations.md says under Without BYPASSRLS"
)


@pytest.fixture(autouse=True)
def environment(subject: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands use the database of that owner."""
    monkeypatch.setenv("SKILLDB_OWNER_DSN", subject.owner)
    monkeypatch.setenv("SKILLDB_DSN", subject.service)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def examine(addresses: Addresses) -> list[Finding]:
    return list(doctor.examine(addresses.owner, addresses.service))


def test_a_seeded_database_has_no_finding_that_is_not_ok_and_the_mode_is_named(subject: Addresses) -> None:
    assert run("seed").exit_code == 0
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert [finding.found for finding in examine(subject) if finding.check == "owner"] == [MODE]
    assert "ok      drift: every counter agrees with its rows" in result.output


def test_an_owner_that_cannot_list_the_organisations_is_a_failure(subject: Addresses) -> None:
    with psycopg.connect(subject.owner) as conn:
        conn.execute("ALTER TABLE tenants FORCE ROW LEVEL SECURITY")
    found = {finding.check: finding for finding in examine(subject) if finding.level != "ok"}
    assert found.keys() == {"owner", "drift"}
    assert found["owner"].found.startswith(f"{SUBJECT_OWNER} cannot list the organisations")
    assert "ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY" in found["owner"].advice
    assert "query would be affected by row-level security policy" in found["drift"].found
    assert run("check").exit_code == 1


def test_a_table_of_another_owner_is_named_beside_the_mode(subject: Addresses) -> None:
    with psycopg.connect(subject.admin) as conn:
        conn.execute("ALTER TABLE ratings OWNER TO postgres")
    levels = [(finding.level, finding.found) for finding in examine(subject) if finding.check == "owner"]
    assert ("warning", f"ratings belongs to postgres: {SUBJECT_OWNER} cannot migrate it") in levels
    assert levels[0][0] == "ok"
    assert "is subject to the policies" in levels[0][1]
    assert "owns every table" not in levels[0][1]


def test_drift_is_found_and_repaired_in_every_organisation(subject: Addresses) -> None:
    with skilldb.connect(subject.service) as db:
        for id in ("acme", "globex"):
            db.tenant(id).execute(tenants.create_tenant(id, id))
            new_skill(db.tenant(id), "s1")
    assert run("check").output == "2 organisations checked, 0 counters drifted.\n"
    with psycopg.connect(subject.admin) as conn:
        conn.execute("UPDATE skills SET rating_count = 1, rating_sum = 1")
    found = [finding for finding in examine(subject) if finding.check == "drift"]
    assert [finding.level for finding in found] == ["failure", "failure"]
    result = run("check")
    assert result.exit_code == 1
    assert {line.split()[0] for line in result.output.splitlines()[:-1]} == {"acme", "globex"}
    assert run("check", "--repair").exit_code == 0
    assert rows(subject.admin, "SELECT DISTINCT rating_count, rating_sum FROM skills") == [(0, 0)]
    assert run("check").exit_code == 0


def test_skills_are_imported_and_explain_finds_an_organisation(subject: Addresses, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "SKILL.md").write_text("---\nname: a\ndescription: What it does\n---\nText\n")
    assert run("import", str(tmp_path)).exit_code == 0
    assert rows(subject.admin, "SELECT tenant_id, slug FROM skills") == [("imported", "a")]
    result = run("explain", "skills.get_skill")
    assert result.exit_code == 0, result.output
    assert "skills.get_skill as skilldb_service, tenant imported" in result.output
    listed = run("explain", "drift.list_tenants")
    assert f"drift.list_tenants as {SUBJECT_OWNER}, no tenant" in listed.output
    assert "rows=1" in listed.output
