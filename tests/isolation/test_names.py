"""Tests that names resolve to the chosen schema, whatever other roles create or settings say."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

import skilldb
from skilldb import connection, queries, settings
from skilldb.admin import doctor, migrate
from skilldb.cli import app
from skilldb.dev import embedded
from skilldb.errors import InvalidValueError, SkilldbError, UnsafeSchemaError
from skilldb.models import NewUsageEvent
from skilldb.repositories import skills, usage, users
from skilldb.statement import VALUE, Statement
from tests.support.api import new_skill, new_user
from tests.support.database import rows
from tests.support.reliability import record
from tests.support.server import Addresses, direct_only

MALLORY = "mallory"
# Functions that PostgreSQL would run in place of its own.
TRAP = "LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END'"
TRAPS = (
    f"CREATE FUNCTION public.cardinality(text[]) RETURNS integer {TRAP}",
    f"CREATE FUNCTION public.concat_ws(text, text, text) RETURNS text {TRAP}",
    f"CREATE FUNCTION public.format(text, text) RETURNS text {TRAP}",
    f"CREATE FUNCTION public.pg_has_role(name, oid, text) RETURNS boolean {TRAP}",
    f"CREATE FUNCTION public.jsonb_array_length(text) RETURNS integer {TRAP}",
)
CREATE_TRAPS = "; ".join(TRAPS)


def execute(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(statements.encode())


@pytest.fixture
def mallory(addresses: Addresses) -> Iterator[str]:
    """The DSN of a login that may create in `public`."""
    dbname = psycopg.conninfo.conninfo_to_dict(addresses.admin)["dbname"]
    role = f"{MALLORY}_{os.getpid()}"
    execute(addresses.admin, f"CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}")
    yield make_conninfo(addresses.admin, user=role)
    execute(
        addresses.admin,
        f"REVOKE CREATE ON DATABASE {dbname} FROM {role}; DROP OWNED BY {role} CASCADE; DROP ROLE {role}",
    )


def open_blocking(dsn: str) -> None:
    with skilldb.connect(dsn):
        pass


def open_async(dsn: str) -> None:
    async def run() -> None:
        async with skilldb.connect_async(dsn):
            pass

    asyncio.run(run())


OPEN = pytest.mark.parametrize("opened", [open_blocking, open_async])


@OPEN
@pytest.mark.torture
def test_opening_refuses_while_an_untrusted_role_may_create_or_owns_an_object(
    opened: Callable[[str], None], addresses: Addresses, mallory: str
) -> None:
    role = psycopg.conninfo.conninfo_to_dict(mallory)["user"]
    dbname = psycopg.conninfo.conninfo_to_dict(addresses.admin)["dbname"]
    execute(mallory, CREATE_TRAPS + "; CREATE OPERATOR public.=== (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)")
    execute(addresses.admin, f"GRANT CREATE ON DATABASE {dbname} TO PUBLIC")
    with pytest.raises(UnsafeSchemaError, match=r"CREATE.*Run: .*REVOKE CREATE ON .* FROM") as refused:
        opened(addresses.service)
    found = dict(refused.value.found)
    expected = {f"role {role} has CREATE on schema public", f"every role has CREATE on database {dbname}"}
    assert expected <= found.keys()
    assert len(found) == len(TRAPS) + 1 + len(expected)
    for remedy in found.values():
        with pytest.raises(UnsafeSchemaError):
            opened(addresses.service)
        execute(addresses.admin, remedy)
    opened(addresses.service)
    record(
        f"A database does not open while an untrusted role can shadow a function ({opened.__name__[5:]})",
        tested="a login with CREATE adds functions that match calls better than PostgreSQL's; each suggested remedy "
        "is run",
        ablation="the check runs with the schema in its search_path; it reads only grants, not existing objects",
        figures={"remedies": len(found)},
    )


LEFT = {
    "a table that yoyo would write to, with a trigger": (
        "CREATE TABLE public.yoyo_lock_two (locked int); ALTER TABLE public.yoyo_lock_two OWNER TO {role};"
        f"CREATE FUNCTION public.trap() RETURNS trigger {TRAP}; ALTER FUNCTION public.trap() OWNER TO {{role}};"
        "CREATE TRIGGER trap BEFORE INSERT ON public.yoyo_lock_two EXECUTE FUNCTION public.trap()",
        [
            "trigger trap on public.yoyo_lock_two runs a function of role {role}",
            "role {role} owns function public.trap()",
            "role {role} owns 1 tables or types in schema public, yoyo_lock_two for one",
        ],
    ),
    "a trigger on a table of the owner": (
        "CREATE SCHEMA theirs AUTHORIZATION {role};"
        f"CREATE FUNCTION theirs.trap() RETURNS trigger {TRAP}; ALTER FUNCTION theirs.trap() OWNER TO {{role}};"
        "CREATE TRIGGER trap BEFORE INSERT ON public.tenants EXECUTE FUNCTION theirs.trap()",
        ["trigger trap on public.tenants runs a function of role {role}"],
    ),
    "a type": (
        "CREATE DOMAIN public.bigint AS text; ALTER DOMAIN public.bigint OWNER TO {role}",
        ['role {role} owns 1 tables or types in schema public, "bigint" for one'],
    ),
    "a role that may create, with a member": (
        "GRANT CREATE ON SCHEMA public TO {role}; CREATE ROLE {role}_2 IN ROLE {role}",
        [
            "role {role} has CREATE on schema public",
            "role {role}_2 is a member of {role}, which may create",
        ],
    ),
    "a member of the owner": (
        "GRANT skilldb_owner TO {role}",
        ["role {role} is a member of skilldb_owner, which may create"],
    ),
    "a grant that was passed on": (
        "GRANT CREATE ON SCHEMA public TO {role} WITH GRANT OPTION;"
        "SET ROLE {role}; GRANT CREATE ON SCHEMA public TO PUBLIC; RESET ROLE",
        ["every role has CREATE on schema public", "role {role} has CREATE on schema public"],
    ),
    "an operator on a function": (
        f"CREATE FUNCTION public.same(text, text) RETURNS boolean {TRAP};"
        "CREATE OPERATOR public.=== (FUNCTION = public.same, LEFTARG = text, RIGHTARG = text);"
        "ALTER FUNCTION public.same OWNER TO {role}; ALTER OPERATOR public.=== (text, text) OWNER TO {role}",
        [
            "role {role} owns operator public.===(pg_catalog.text,pg_catalog.text)",
            "role {role} owns function public.same(pg_catalog.text,pg_catalog.text)",
        ],
    ),
}


@pytest.mark.parametrize(("statements", "expected"), LEFT.values(), ids=LEFT)
def test_an_untrusted_roles_grants_and_objects_are_reported_with_a_remedy(
    statements: str, expected: list[str], addresses: Addresses
) -> None:
    role = f"{MALLORY}_{os.getpid()}"
    execute(addresses.admin, f"CREATE ROLE {role}")
    try:
        execute(addresses.admin, statements.replace("{role}", role))
        for work in (open_blocking, open_async):
            with pytest.raises(UnsafeSchemaError) as refused:
                work(addresses.service)
            assert [reason for reason, _ in refused.value.found] == [line.replace("{role}", role) for line in expected]
        with pytest.raises(UnsafeSchemaError):
            migrate.status(addresses.owner)
        for _, remedy in refused.value.found:
            execute(addresses.admin, f"DROP OWNED BY {role}" if remedy.startswith("for each") else remedy)
        open_blocking(addresses.service)
        assert migrate.status(addresses.owner)
    finally:
        execute(addresses.admin, f"DROP ROLE IF EXISTS {role}_2; DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_a_table_that_was_there_before_is_not_taken_for_ours(addresses: Addresses) -> None:
    """If another role owns `tenants`, it could read every organisation after the migration."""
    role = f"{MALLORY}_{os.getpid()}"
    execute(addresses.admin, f"CREATE ROLE {role}; CREATE SCHEMA fresh AUTHORIZATION skilldb_owner")
    try:
        execute(addresses.admin, f"CREATE TABLE fresh.tenants (id text); ALTER TABLE fresh.tenants OWNER TO {role}")
        with pytest.raises(UnsafeSchemaError, match=f"role {role} owns 1 tables or types in schema fresh, tenants"):
            list(migrate.migrate(addresses.owner, schema="fresh"))
    finally:
        execute(addresses.admin, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_the_owner_refuses_a_schema_of_somebody_else(addresses: Addresses) -> None:
    role = f"{MALLORY}_{os.getpid()}"
    execute(addresses.admin, f"CREATE ROLE {role}; CREATE SCHEMA theirs AUTHORIZATION {role}")
    try:
        execute(addresses.admin, "GRANT ALL ON SCHEMA theirs TO skilldb_owner")
        expected = rf'schema "theirs" belongs to {role}.*ALTER SCHEMA "theirs" OWNER TO "skilldb_owner"'
        for work in (migrate.status, lambda dsn, schema: list(migrate.migrate(dsn, schema=schema))):
            with pytest.raises(UnsafeSchemaError, match=expected):
                work(addresses.owner, schema="theirs")
    finally:
        execute(addresses.admin, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


@OPEN
def test_owners_and_trusted_roles_may_create(opened: Callable[[str], None], addresses: Addresses, mallory: str) -> None:
    role = psycopg.conninfo.conninfo_to_dict(mallory)["user"]
    execute(mallory, TRAPS[-1])
    execute(addresses.admin, f"CREATE ROLE {role}_2 IN ROLE {role}")
    with pytest.raises(UnsafeSchemaError):
        opened(addresses.service)
    execute(addresses.admin, f"COMMENT ON SCHEMA public IS E'Ours.\nskilldb trusts: rds_superuser, {role} \n'")
    opened(addresses.service)
    assert [f.found for f in doctor.examine(addresses.owner, addresses.service) if f.check == "creation"] == [
        "only trusted roles may create in the schema, or own objects in it"
    ]
    execute(addresses.admin, f"COMMENT ON SCHEMA public IS 'skilldb trusts: {role}x, x{role}'")
    with pytest.raises(UnsafeSchemaError):
        opened(addresses.service)
    execute(
        addresses.admin, f"DROP ROLE {role}_2; COMMENT ON SCHEMA public IS E'skilldb trusts: a\nskilldb trusts: {role}'"
    )
    opened(addresses.service)


def test_the_owner_and_the_doctor_run_no_planted_function(addresses: Addresses, mallory: str) -> None:
    execute(mallory, CREATE_TRAPS)
    found = list(doctor.examine(addresses.owner, addresses.service))
    assert [finding.level for finding in found[1:]] == ["failure"] * (len(TRAPS) + 1)
    assert all(finding.advice.startswith(("DROP FUNCTION public.", "REVOKE CREATE ON SCHEMA")) for finding in found[1:])
    for work in (migrate.status, lambda dsn: list(migrate.migrate(dsn)), lambda dsn: list(migrate.rollback(dsn, None))):
        with pytest.raises(UnsafeSchemaError):
            work(addresses.owner)
    assert rows(addresses.admin, "SELECT count(*) > 5 FROM pg_policies WHERE schemaname = 'public'") == [(True,)]


@direct_only
def test_no_search_path_of_role_database_or_address_is_followed(addresses: Addresses, acme: skilldb.Tenant) -> None:
    """Schemas named like the login, and first in every search_path, contain tables and functions with our names."""
    new_user(acme, "u1")
    new_skill(acme, "s1")
    dbname = psycopg.conninfo.conninfo_to_dict(addresses.admin)["dbname"]
    for login in ("skilldb_service", "skilldb_owner"):
        execute(
            addresses.admin,
            f"CREATE SCHEMA {login}; CREATE TABLE {login}.skills (id text); CREATE TABLE {login}.tenants (id text);"
            f"CREATE FUNCTION {login}.raise_not_found(text, text) RETURNS text {TRAP};"
            f"CREATE FUNCTION {login}.cardinality(text[]) RETURNS integer {TRAP};"
            f"GRANT ALL ON SCHEMA {login} TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA {login} TO PUBLIC;"
            f'ALTER DATABASE {dbname} SET search_path = {login}, "$user", public',
        )
    dsn = make_conninfo(addresses.service, options="-c search_path=skilldb_owner,skilldb_service,pg_catalog,public")
    for address in (addresses.service, dsn):
        with skilldb.connect(address) as db:
            tenant = db.tenant("acme")
            assert tenant.execute(skills.get_skill("s1")) is not None
            event = NewUsageEvent(tool_name="t", skill_id="s1", user_id="u1")
            assert tenant.execute(usage.record_usage_events([event])) == 1
            with pytest.raises(skilldb.NotFoundError, match="skill 'none' does not exist"):
                tenant.execute(usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="none")))
            with tenant.transaction() as tx:
                assert tx.execute(users.get_user("u1")) is not None
    before = len(migrate.status(addresses.owner))
    assert len(list(migrate.rollback(addresses.owner, None))) == before
    assert len(list(migrate.migrate(addresses.owner))) == before
    assert rows(
        addresses.admin, "SELECT count(*) FROM pg_class WHERE relnamespace = 'skilldb_owner'::regnamespace"
    ) == [(2,)]


@pytest.mark.parametrize("by", ["options", "PGOPTIONS", "service file"])
def test_the_owners_own_options_are_kept_and_do_not_choose_the_schema(
    by: str, addresses: Addresses, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    execute(addresses.owner, "CREATE SCHEMA staging")
    list(migrate.migrate(addresses.owner, schema="staging"))
    chosen, dsn = "-c search_path=staging -c work_mem=7MB", addresses.owner
    if by == "options":
        dsn = make_conninfo(dsn, options=chosen)
    elif by == "PGOPTIONS":
        monkeypatch.setenv("PGOPTIONS", chosen)
    else:
        (tmp_path / "services").write_text(f"[ours]\noptions={chosen}\n")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        dsn = make_conninfo(dsn, service="ours")
    with connection.owned(dsn) as conn:
        assert conn.execute("SELECT current_schema(), current_setting('work_mem')").fetchall() == [("public", "7MB")]
    with migrate._opened(dsn, None) as backend:
        shown = backend.connection.execute(
            "SELECT current_schema(), current_setting('work_mem'), current_setting('row_security')"
        )
        assert shown.fetchall() == [("public", "7MB", "off")]
    number = len(migrate.status(dsn))
    assert len(list(migrate.rollback(dsn, None))) == number
    states = {migration.state for migration in migrate.status(dsn, schema="staging")}
    assert states == {"applied"}
    assert {migration.state for migration in migrate.status(dsn)} == {"pending"}


SCHEMA = "Odd \"schema\" with %s, \\ and 'quotes'"


@pytest.fixture
def odd(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that runs a command in a schema of an odd name, by --schema."""
    execute(addresses.owner, f"CREATE SCHEMA {settings.quoted(SCHEMA)}")
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)

    def run(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, [*arguments, "--schema", SCHEMA])
        assert result.exit_code == status, (arguments, result.output, result.exception)
        return result.output

    return run


@direct_only
def test_another_schema_works_for_every_command(odd: Callable[..., str], addresses: Addresses, tmp_path: Path) -> None:
    ((place,),) = rows(addresses.admin, "SELECT oid FROM pg_namespace WHERE nspname = %s", SCHEMA)
    before = rows(addresses.admin, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    assert "CREATE TABLE" in odd("migrate", "--dry-run")
    odd("migrate")
    assert "pending" not in odd("status")
    (tmp_path / "skill").mkdir()
    (tmp_path / "skill/SKILL.md").write_text("---\nname: skill\ndescription: A skill.\n---\nDo it.\n")
    odd("import", str(tmp_path))
    odd("check")
    assert "rolled back" in odd("explain", "skills.list_skills", "--tenant", "imported")
    assert "drift.list_tenants as skilldb_owner" in odd("explain", "drift.list_tenants")
    report = odd("doctor")
    assert f"schema {SCHEMA}" in report
    assert "There is no lock" in odd("unlock")
    with skilldb.connect(addresses.service, schema=SCHEMA) as db:
        assert [s.slug for s in db.tenant("imported").execute(skills.list_skills()).items] == ["skill"]
        with pytest.raises(skilldb.NotFoundError):
            db.tenant("imported").execute(usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="none")))
    assert rows(addresses.admin, "SELECT count(*) FROM tenants") == [(0,)]
    odd("rollback", "--all", "--yes")
    left = rows(addresses.admin, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::oid", place)
    assert {name for (name,) in left} == {"_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock"}
    assert rows(addresses.admin, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == before


@direct_only
def test_psql_looks_at_the_schema_and_keeps_the_users_options(addresses: Addresses, acme: skilldb.Tenant) -> None:
    execute(addresses.owner, f"CREATE SCHEMA {settings.quoted(SCHEMA)}")
    env = {**os.environ, "SKILLDB_OWNER_DSN": addresses.owner, "SKILLDB_DSN": addresses.service}
    env |= {"PGOPTIONS": "-c work_mem=7MB -c search_path=nowhere", "PSQLRC": os.devnull}
    query = "SELECT current_schema(), current_setting('work_mem'), current_setting('app.current_tenant_id')"
    command = [
        str(Path(sys.executable).with_name("skilldb")),
        "psql",
        "--owner",
        "--tenant",
        "a\tb",
        "--schema",
        SCHEMA,
    ]
    env["PATH"] = f"{embedded.program('psql').parent}:{env['PATH']}"
    run = subprocess.run(
        command,
        input=f"\\t on\n\\pset format unaligned\n{query};\n",
        env=env,
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert f"{SCHEMA}|7MB|a\tb" in run.stdout
    command[-1] = "nowhere"
    missing = subprocess.run(command, env=env, text=True, capture_output=True, check=False, timeout=60)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no schema 'nowhere'" in missing.stderr


def test_the_environment_names_the_schema(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLDB_SCHEMA", "nowhere")
    for opened in (open_blocking, open_async):
        with pytest.raises(SkilldbError, match=r'there is no schema \'nowhere\'.*CREATE SCHEMA "nowhere"'):
            opened(addresses.service)
    with pytest.raises(SkilldbError, match="there is no schema 'nowhere'"):
        list(migrate.migrate(addresses.owner))
    with skilldb.connect(addresses.service, schema="public"):
        pass
    execute(addresses.owner, "CREATE SCHEMA nowhere")
    with pytest.raises(SkilldbError, match=r'GRANT USAGE ON SCHEMA "nowhere" TO skilldb_app'):
        open_blocking(addresses.service)


@pytest.mark.parametrize("name", ["", "pg_catalog", "pg_temp", "information_schema", "$user", "x" * 64, "a\0b", 7])
def test_a_name_that_no_schema_can_have_is_refused(name: Any) -> None:
    for connect in (skilldb.connect, skilldb.connect_async):
        with pytest.raises(InvalidValueError, match="schema"):
            connect("host=/nowhere", schema=name)


def test_the_search_path_is_pinned_in_every_call(api: Callable[..., Any], addresses: Addresses) -> None:
    parsed = queries.parse(
        "-- name: path()\nSELECT current_setting('search_path');\n"
        "-- name: places()\nSELECT array_to_string(current_schemas(true), ' ');",
        "test",
    )
    path, places = (Statement(VALUE, query()) for query in parsed.values())
    assert api("acme").execute(path, places) == ('pg_catalog, "public", pg_temp', "pg_catalog public")
    with connection.owned(addresses.owner) as conn:
        assert conn.execute("SELECT current_schemas(true)").fetchall() == [(["pg_catalog", "public"],)]
