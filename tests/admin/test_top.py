"""Tests `skilldb top` on a server with pg_stat_statements: the tests' own, or an installed PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

import skilldb
from skilldb import cli, queries
from skilldb.admin import doctor, migrate, top
from skilldb.errors import SkilldbError
from skilldb.repositories import tenants, views
from tests.support.api import new_skill, new_user
from tests.support.database import rows
from tests.support.server import RUN, TEST_DSN, Addresses, created

NAME = f"skilldb_top_{RUN}"


def programs() -> Path | None:
    """The folder of the server programs of the newest installed PostgreSQL."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return Path(found).parent if found else folders[-1] if folders else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The superuser's DSN on a server that has loaded pg_stat_statements."""
    if TEST_DSN and rows(TEST_DSN, "SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max'"):
        yield TEST_DSN
        return
    installed = programs()
    if installed is None:
        pytest.skip("no PostgreSQL is installed that has pg_stat_statements; the embedded one has not")
    # Not pytest's folder: only its owner may enter it, and a server does not run as root.
    folder = Path(tempfile.mkdtemp(prefix="skilldb-"))
    as_postgres = []
    if os.geteuid() == 0:
        as_postgres = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")

    def control(program: str, *arguments: str) -> int:
        # Do not capture the output: the started server would keep the pipe open.
        command = [*as_postgres, str(installed / program), "-D", str(folder / "data"), *arguments]
        with (folder / "said").open("a") as said:
            return subprocess.run(command, check=False, stdout=said, stderr=said, cwd=folder, timeout=60).returncode

    options = f"-k {folder} -c listen_addresses= -c fsync=off -c shared_preload_libraries=pg_stat_statements"
    try:
        assert control("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync") == 0, folder
        if control("pg_ctl", "-w", "-o", options, "start"):
            said = (folder / "said").read_text()
            assert "pg_stat_statements" in said, said
            pytest.skip("the installed PostgreSQL has no pg_stat_statements")
        yield make_conninfo(host=str(folder), user="postgres", dbname="postgres")
        assert control("pg_ctl", "-w", "-m", "immediate", "stop") == 0
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def on_server(server: str) -> Iterator[Addresses]:
    """A migrated database there, without the extension, and with an owner who may not read all statistics."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(queries.load("admin/embedded")["create_logins"].sql)
        # The statistics and the owner's right to read them are the server's: another run waits until the test ends.
        conn.execute("SELECT pg_advisory_lock(hashtext('tests of skilldb top'))")
        conn.execute("REVOKE pg_read_all_stats FROM skilldb_owner")
        with created(server, NAME):
            yield migrated(server)


def migrated(server: str) -> Addresses:
    """The addresses of the database on that server, after the migrations."""
    found = Addresses(
        admin=make_conninfo(server, dbname=NAME),
        owner=make_conninfo(server, dbname=NAME, user="skilldb_owner"),
        service=make_conninfo(server, dbname=NAME, user="skilldb_service"),
    )
    list(migrate.migrate(found.owner))
    return found


@pytest.fixture
def ready(on_server: Addresses) -> Addresses:
    """The same database with the extension and all rights, and with empty statistics."""
    admin(on_server, "CREATE EXTENSION pg_stat_statements", "GRANT pg_read_all_stats TO skilldb_owner")
    admin(on_server, "SELECT pg_stat_statements_reset()")
    return on_server


def admin(addresses: Addresses, *statements: str) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def work(addresses: Addresses) -> None:
    """Record seven views of a skill, and read a view three times."""
    with skilldb.connect(addresses.service) as db:
        tenant = db.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"))
        new_user(tenant, "u1")
        new_skill(tenant, "s1")
        for _ in range(7):
            tenant.execute(views.record_skill_view("u1", "s1", 1))
        for _ in range(3):
            tenant.execute(views.get_user_view("u1", "s1"))
        tenant.execute(views.get_user_view("u1", "another"))


def test_queries_are_listed_by_name_with_calls_rows_and_share_and_the_others_last(ready: Addresses) -> None:
    work(ready)
    found = top.top(ready.owner)
    by_name = {use.name: use for use in found}
    assert len(by_name) == len(found)
    assert (by_name["views.record_skill_view"].calls, by_name["views.record_skill_view"].rows) == (7, 7)
    assert (by_name["views.get_user_view"].calls, by_name["views.get_user_view"].rows) == (4, 3)
    assert (by_name["tenants.create_tenant"].calls, by_name["users.create_user"].calls) == (1, 1)
    assert found[-1].name is None
    assert found[-1].calls > 0
    named = [use.total_ms for use in found[:-1]]
    assert named == sorted(named, reverse=True)
    assert all(total > 0 for total in named)
    assert sum(use.share for use in found) == pytest.approx(1)
    for use in found:
        assert use.mean_ms == pytest.approx(use.total_ms / use.calls)
        assert use.share == pytest.approx(use.total_ms / sum(other.total_ms for other in found))


def test_a_query_has_one_line_for_all_texts_and_roles_of_this_database(ready: Addresses) -> None:
    work(ready)
    rows(ready.admin, "SELECT /* views.get_user_view */ 1")
    rows(ready.admin, "EXPLAIN SELECT /* views.get_user_view */ 1")
    rows(ready.owner, "SELECT /* views.get_user_view */ 1, 2")
    elsewhere = make_conninfo(ready.admin, dbname="postgres")
    rows(elsewhere, "SELECT /* views.get_user_view */ 1, 2, 3")
    rows(elsewhere, "SELECT /* views.of_another_database */ 1")
    (found,) = (use for use in top.top(ready.owner) if use.name == "views.get_user_view")
    assert (found.calls, found.rows) == (6, 5)
    assert not any(use.name == "views.of_another_database" for use in top.top(ready.owner))


def test_the_command_prints_as_many_as_asked_for_and_the_others(
    ready: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(ready)
    monkeypatch.setenv("SKILLDB_OWNER_DSN", ready.owner)
    monkeypatch.setenv("SKILLDB_DSN", ready.service)
    lines = CliRunner().invoke(cli.app, ["top", "--limit", "2"]).output.splitlines()
    assert lines[0].split() == ["calls", "total", "ms", "mean", "ms", "rows", "share", "query"]
    assert len(lines) == 4
    assert "." in lines[1].split()[-1]
    assert lines[3].split()[-1] == "other"
    shown = json.loads(CliRunner().invoke(cli.app, ["top", "--json"]).output)
    (view,) = (use for use in shown if use["name"] == "views.record_skill_view")
    assert view.keys() == {"name", "calls", "total_ms", "mean_ms", "rows", "share"}
    assert (view["calls"], view["rows"]) == (7, 7)
    assert CliRunner().invoke(cli.app, ["top", "--limit", "0"]).exit_code == 2


def test_each_thing_that_is_missing_is_said_until_nothing_is(on_server: Addresses) -> None:
    create = "as a superuser in this database: CREATE EXTENSION pg_stat_statements"
    grant = "as a superuser: GRANT pg_read_all_stats TO skilldb_owner"
    with pytest.raises(SkilldbError, match=f"To get it: {create}; then {grant}$"):
        top.top(on_server.owner)
    (finding,) = (f for f in doctor.examine(on_server.owner, on_server.service) if f.check == "statements")
    assert (finding.level, finding.advice) == ("warning", f"{create}; then {grant}")

    # The extension may be in a schema of any name.
    admin(on_server, 'CREATE SCHEMA "Statistics and more"')
    admin(on_server, 'CREATE EXTENSION pg_stat_statements SCHEMA "Statistics and more"')
    with pytest.raises(SkilldbError, match=f"To get it: {grant}$"):
        top.top(on_server.owner)
    admin(on_server, "GRANT pg_read_all_stats TO skilldb_owner")
    admin(on_server, 'GRANT USAGE ON SCHEMA "Statistics and more" TO skilldb_owner')
    work(on_server)
    assert any(use.name == "views.get_user_view" for use in top.top(on_server.owner))


def test_an_extension_of_an_older_version_is_to_be_updated(on_server: Addresses) -> None:
    admin(on_server, "CREATE EXTENSION pg_stat_statements VERSION '1.7'", "GRANT pg_read_all_stats TO skilldb_owner")
    with pytest.raises(SkilldbError, match=r"To get it: .*ALTER EXTENSION pg_stat_statements UPDATE$"):
        top.top(on_server.owner)
    admin(on_server, "ALTER EXTENSION pg_stat_statements UPDATE")
    assert top.top(on_server.owner)


def test_a_query_first_seen_while_the_doctor_planned_it_has_its_name_too(ready: Addresses) -> None:
    list(doctor.examine(ready.owner, ready.service))
    work(ready)
    calls = {use.name: use.calls for use in top.top(ready.owner)}
    assert (calls["views.get_user_view"], calls["views.record_skill_view"]) == (4, 7)


def test_the_doctor_finds_nothing_wrong_with_the_extension(ready: Addresses) -> None:
    found = list(doctor.examine(ready.owner, ready.service))
    assert [finding for finding in found if finding.level != "ok"] == []
    assert found[-2] == doctor.Finding(
        check="statements", level="ok", found="pg_stat_statements can be read: see `skilldb top`"
    )


@pytest.mark.skipif(bool(TEST_DSN), reason="the embedded server is known not to have the extension")
def test_where_the_server_has_not_the_extension_all_of_the_way_is_said(addresses: Addresses) -> None:
    with pytest.raises(SkilldbError, match=r"install .*; then add .* to shared_preload_libraries and restart .*; then"):
        top.top(addresses.owner)
