"""Runs each block of docs/operations.md unchanged, on empty servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import skilldb
from skilldb.admin import doctor, migrate
from skilldb.dev import embedded
from skilldb.dev.seed import seed
from skilldb.repositories import tenants, users
from tests.support import isolation
from tests.support.api import new_skill
from tests.support.database import contents, rows
from tests.support.isolation import BEHAVIOUR, STRUCTURE
from tests.support.server import CHECKOUT, Addresses, Admin, server_folder

pytestmark = pytest.mark.xdist_group("operations")
DOCUMENT = CHECKOUT / "docs" / "operations.md"
BLOCK = re.compile(r"^## (?P<section>[^\n]*)$|^```(?P<language>sql|sh)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(section: str, language: str) -> list[str]:
    """The document's blocks under a heading."""
    found, at = [], ""
    for match in BLOCK.finditer(DOCUMENT.read_text()):
        at = match["section"] or at
        if at == section and match["language"] == language:
            found.append(match["text"])
    assert found, section
    return found


@dataclass(frozen=True, kw_only=True)
class Bare:
    """A new server on which only the document's blocks ran, and a folder to work in."""

    host: str
    folder: Path
    version: int

    def dsn(self, user: str, dbname: str = "skilldb") -> str:
        return f"host={self.host} port=5432 user={user} dbname={dbname}"

    def psql(self, text: str, user: str = "postgres", dbname: str = "skilldb", **variables: str) -> str:
        """The output of psql. It stops at the first error, which fails the test."""
        given = [f"--set={name}={value}" for name, value in variables.items()]
        return self._run(["psql", "-qAt", f"--username={user}", "--set=ON_ERROR_STOP=1", *given, dbname], text)

    def sh(self, text: str, **environment: str) -> str:
        """The output of the shell. It stops at the first error, which fails the test."""
        return self._run(["bash", "-euc", text], environment=environment)

    def _run(self, command: list[str], input: str = "", environment: dict[str, str] | None = None) -> str:
        path = f"{embedded.program('psql', self.version).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = os.environ | {"PGHOST": self.host, "PGPORT": "5432", "PATH": path} | (environment or {})
        done = subprocess.run(
            command, input=input, env=env, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout


Ready = Callable[[bool], Bare]


@contextmanager
def bare(initialised: Path, version: str | None = None) -> Iterator[Bare]:
    """An empty server, of the version of these tests by default."""
    ours = version in (None, (initialised / "postgres" / "PG_VERSION").read_text().strip())
    with server_folder(initialised if ours else None) as folder:
        with pytest.MonkeyPatch.context() as patch:
            if version:
                patch.setenv("SKILLDB_PG_VERSION", version)
            dsn = embedded.start(folder).admin_dsn
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("DROP DATABASE skilldb")
            conn.execute("DROP ROLE skilldb_app, skilldb_owner, skilldb_service")
            assert conn.execute("SELECT count(*) FROM pg_roles WHERE rolname !~ '^pg_'").fetchone() == (1,)
            major = conn.info.server_version // 10_000
        yield Bare(host=str(conninfo_to_dict(dsn)["host"]), folder=folder, version=major)


@pytest.fixture(scope="module")
def ready(initialised: Path) -> Iterator[Ready]:
    """The server that the document's blocks set up, with or without BYPASSRLS. It does not run: copied() does."""
    with ExitStack() as stack:
        made: dict[bool, Bare] = {}

        def found(bypassrls: bool) -> Bare:
            if bypassrls not in made:
                server = stack.enter_context(bare(initialised))
                set_up(server, bypassrls=bypassrls)
                embedded.stop(server.folder)
                made[bypassrls] = server
            return made[bypassrls]

        yield found


@contextmanager
def copied(server: Bare) -> Iterator[Bare]:
    """A running copy of a server that does not run."""
    with server_folder(server.folder) as folder:
        dsn = embedded._start(folder)  # start() would also create logins that the document does not name.
        yield replace(server, host=str(conninfo_to_dict(dsn)["host"]), folder=folder)


@pytest.fixture(scope="module")
def server(ready: Ready) -> Iterator[Bare]:
    """A server set up by the document's blocks, with the example data. Its tests must leave it unchanged."""
    with copied(ready(True)) as found:
        yield found


def create_roles(server: Bare, *, bypassrls: bool = True) -> None:
    """By the document's block. Without BYPASSRLS as an administrator who is no superuser, like a managed service's."""
    if bypassrls:
        server.psql(blocks("Roles", "sql")[0], dbname="postgres")
        return
    server.psql("CREATE ROLE host_admin LOGIN CREATEROLE CREATEDB", dbname="postgres")
    server.psql("GRANT pg_read_all_stats TO host_admin WITH ADMIN OPTION", dbname="postgres")
    server.psql(blocks("Without BYPASSRLS", "sql")[0], user="host_admin", dbname="postgres")


def set_up(server: Bare, *, bypassrls: bool = True) -> None:
    """By the document's blocks, and seeded by the service."""
    (addresses,) = blocks("Roles", "sh")
    create_roles(server, bypassrls=bypassrls)
    if not bypassrls:
        server.psql(blocks("Without BYPASSRLS", "sql")[1], user="skilldb_owner")
    said = server.sh(addresses)
    assert said.index("CREATE TABLE IF NOT EXISTS tenants") < said.index("applied 0003_create_tenants")
    assert {migration.state for migration in migrate.status(server.dsn("skilldb_owner"))} == {"applied"}
    with skilldb.connect(server.dsn("my_service")) as db:
        for _ in seed(db):
            pass


def counts(dsn: str) -> dict[str, int]:
    """The number of rows of every table, including yoyo's."""
    found: dict[str, int] = {}
    with psycopg.connect(dsn) as conn:
        for (name,) in conn.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall():
            ((found[name],),) = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchall()
    return found


@pytest.fixture(scope="module")
def subject_server(ready: Ready) -> Iterator[Bare]:
    """The same, whose owner has no BYPASSRLS."""
    with copied(ready(False)) as found:
        yield found


@pytest.fixture(params=["server", "subject_server"], ids=["with BYPASSRLS", "without BYPASSRLS"])
def either(request: pytest.FixtureRequest) -> Bare:
    found: Bare = request.getfixturevalue(request.param)
    return found


def schema(server: Bare) -> str:
    """Tables, policies, grants, comments, indexes and functions in pg_dump's output."""
    text = server.sh("pg_dump --username=postgres --schema-only skilldb")
    return re.sub(r"^(\\(un)?restrict |-- Dumped ).*$", "", text, flags=re.MULTILINE)


def role_attributes(server: Bare) -> list[tuple[Any, ...]]:
    return rows(
        server.dsn("postgres"),
        """
        SELECT r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcanlogin, r.rolconfig,
            ARRAY(SELECT m.roleid::regrole::text FROM pg_auth_members AS m WHERE m.member = r.oid ORDER BY 1)
        FROM pg_roles AS r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname
        """,
    )


@pytest.mark.parametrize("versions", [(None, None), ("16", "18")], ids=["same version", "16 to 18"])
@pytest.mark.parametrize("bypassrls", [True, False], ids=["with BYPASSRLS", "without BYPASSRLS"])
def test_a_backup_restored_into_an_empty_server_is_whole_and_isolated(
    versions: tuple[str | None, str | None], bypassrls: bool, ready: Ready, initialised: Path
) -> None:
    with ExitStack() as stack:
        if versions[0] is None:
            old = stack.enter_context(copied(ready(bypassrls)))
        else:
            old = stack.enter_context(bare(initialised, versions[0]))
            set_up(old, bypassrls=bypassrls)
        new = stack.enter_context(bare(initialised, versions[1]))
        add_difficult_rows(old)
        # By the programs of the newer version, as the document says.
        backup = replace(old, version=new.version)
        ours = {"SKILLDB_OWNER_DSN": new.dsn("skilldb_owner"), "SKILLDB_DSN": new.dsn("my_service")}
        if bypassrls:
            backup.sh(*blocks("Backup", "sh"))
            files = ["skilldb.dump"]
            restore, verify = blocks("Restore", "sh")
        else:
            back_up_without_bypassrls(backup)
            files = ["schema.dump", "rows.sql"]
            restore, verify = "true", blocks("Without BYPASSRLS", "sh")[1]
        for file in files:
            (old.folder / file).rename(new.folder / file)
        create_roles(new, bypassrls=bypassrls)
        new.sh(restore)
        said = new.sh(verify, **ours)
        assert re.findall(r"^(?:warning|failure).*", said, flags=re.MULTILINE) == []
        assert re.search(r"^ok +drift", said, flags=re.MULTILINE)
        assert {migration.state for migration in migrate.status(new.dsn("skilldb_owner"))} == {"applied"}
        assert counts(old.dsn("postgres"))["usage_events"] == 20_000
        assert counts(new.dsn("postgres")) == counts(old.dsn("postgres"))
        assert without_xmin(new) == without_xmin(old)
        assert role_attributes(new) == role_attributes(old)
        if versions[0] == versions[1]:
            assert schema(new) == schema(old)
        findings = list(doctor.examine(new.dsn("skilldb_owner"), new.dsn("my_service")))
        assert [finding for finding in findings if finding.level != "ok"] == []
        with psycopg.connect(new.dsn("postgres")) as conn:
            isolation.seed(conn, shared=False)
            conn.commit()
        for check in STRUCTURE + BEHAVIOUR:
            with psycopg.connect(new.dsn("my_service")) as conn:
                assert check(conn) == [], check.__name__


def back_up_without_bypassrls(server: Bare) -> None:
    """Into schema.dump and rows.sql in the server's folder."""
    (server.folder / "backup.sql").write_text(blocks("Without BYPASSRLS", "sql")[2])
    server.sh(blocks("Without BYPASSRLS", "sh")[0])


def add_difficult_rows(server: Bare) -> None:
    """Organisations and texts with what COPY, format() and psql must quote."""
    with skilldb.connect(server.dsn("my_service")) as db:
        for id in ("o'hara", "back\\slash", "\\.", "new\nline", 'quote"', "Zürich %s :x", "COMMIT;"):
            tenant = db.tenant(id)
            tenant.execute(tenants.create_tenant(id, id))
            tenant.execute(users.create_user("u@example.com", name=id, id="u"))
            new_skill(tenant, "s", description=f"\\.\n{id}\t\\N\r\n'")


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("my_service", 'query would be affected by row-level security policy for table "tenants"'),
        ("skilldb_owner", "permission denied for table zzz"),
    ],
)
def test_a_backup_that_lacks_rows_is_an_error_and_not_complete(subject_server: Bare, role: str, message: str) -> None:
    """The first role cannot list the organisations; the second is refused the last table, after all others."""
    server = subject_server
    (server.folder / "backup.sql").write_text(blocks("Without BYPASSRLS", "sql")[2])
    _, command, complete = blocks("Without BYPASSRLS", "sh")[0].splitlines()
    server.psql("CREATE TABLE zzz (id TEXT)")
    try:
        with pytest.raises(AssertionError, match=message):
            server.sh(command.replace("skilldb_owner", role))
        with pytest.raises(AssertionError):
            server.sh(complete)
    finally:
        server.psql("DROP TABLE zzz")


def test_an_owner_with_bypassrls_may_back_up_in_the_same_way(server: Bare) -> None:
    back_up_without_bypassrls(server)
    text = (server.folder / "rows.sql").read_text()
    assert text.count("COPY public.skills (") == 1
    skills = text.split("COPY public.skills (")[1].split("\n\\.\n")[0].splitlines()[1:]
    assert len(skills) == counts(server.dsn("postgres"))["skills"]


def without_xmin(server: Bare) -> list[tuple[Any, ...]]:
    """Every row of every table."""
    return sorted((table, text) for table, _, text in contents(server.dsn("postgres")))


def test_a_forced_owners_dump_with_row_security_is_empty_and_says_nothing(addresses: Addresses, admin: Admin) -> None:
    """The fault that the backup role prevents. Without --enable-row-security pg_dump raises an error."""
    with skilldb.connect(addresses.service) as db:
        for step in seed(db):
            if step.kind == "usage events":
                break
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        role = f"{conn.info.dbname}_held"
        conn.execute(f"CREATE ROLE {role} LOGIN; REASSIGN OWNED BY skilldb_owner TO {role}".encode())
        try:
            dsn = admin.dsn(conn.info.dbname, role)
            dump = [str(embedded.program("pg_dump")), "--inserts", dsn]
            refused = subprocess.run(dump, capture_output=True, text=True, check=False, timeout=60)
            assert refused.returncode == 1
            assert "query would be affected by row-level security policy" in refused.stderr
            dump.append("--enable-row-security")
            silent = subprocess.run(dump, capture_output=True, text=True, check=False, timeout=60)
        finally:
            conn.execute(f"REASSIGN OWNED BY {role} TO skilldb_owner; DROP OWNED BY {role}; DROP ROLE {role}".encode())
    assert silent.returncode == 0
    assert silent.stderr == ""
    dumped = set(re.findall(r"INSERT INTO public\.(\w+)", silent.stdout))
    # The owner sees tenants, which has no FORCE, and yoyo's tables.
    assert {table for table in dumped if "yoyo" not in table} <= {"tenants"}
    assert counts(addresses.admin)["skills"] > 0


def test_the_reader_sees_one_organisation_and_writes_nothing(server: Bare) -> None:
    ((of_acme,),) = rows(server.dsn("postgres"), "SELECT count(*)::text FROM skills WHERE tenant_id = 'acme'")
    assert of_acme > "0"
    assert server.psql(blocks("Roles", "sql")[1], user="ann") == f"{of_acme}\n"
    assert server.psql("SELECT count(*) FROM skills", user="ann") == "0\n"
    with psycopg.connect(server.dsn("ann")) as conn, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        conn.execute("DELETE FROM skills")
    with psycopg.connect(server.dsn("ann"), options="-c default_transaction_read_only=off") as conn:
        conn.execute("SET app.current_tenant_id = 'acme'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("DELETE FROM skills")


def test_the_roles_own_timeouts_count_where_none_are_sent(server: Bare) -> None:
    server.psql(*blocks("Behind pgbouncer", "sql"))
    shown = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
    assert rows(server.dsn("my_service"), shown) == [("1min", "10s")]
    server.psql("ALTER ROLE my_service RESET ALL")


def test_a_trusted_role_may_create_and_another_may_not(server: Bare) -> None:
    revoke, trust = blocks("Who may create", "sql")
    server.psql(revoke, user="skilldb_owner")
    server.psql("CREATE ROLE rds_superuser; GRANT CREATE ON SCHEMA public TO rds_superuser", user="postgres")
    try:
        with pytest.raises(skilldb.UnsafeSchemaError, match="REVOKE CREATE ON SCHEMA public FROM rds_superuser"):
            skilldb.connect(server.dsn("my_service")).open()
        server.psql(trust, user="skilldb_owner")
        with skilldb.connect(server.dsn("my_service")):
            pass
    finally:
        server.psql("DROP OWNED BY rds_superuser; DROP ROLE rds_superuser", user="postgres")
        server.psql("COMMENT ON SCHEMA public IS 'standard public schema'", user="postgres")


def test_another_schema_is_made_and_migrated_by_its_blocks(server: Bare) -> None:
    (create,) = blocks("Another schema than public", "sql")
    (commands,) = blocks("Another schema than public", "sh")
    server.psql(create, user="skilldb_owner")
    try:
        both = {"SKILLDB_OWNER_DSN": server.dsn("skilldb_owner"), "SKILLDB_DSN": server.dsn("my_service")}
        assert "pending" not in server.sh(commands, **both)
        with skilldb.connect(server.dsn("my_service"), schema="skills") as db:
            assert db.tenant("none").execute(tenants.get_tenant()) is None
    finally:
        server.psql("DROP SCHEMA skills CASCADE", user="postgres")


def test_a_database_made_before_0_2_is_recreated_with_its_rows(ready: Ready) -> None:
    dump, restore = blocks("A database made before 0.2", "sh")
    (recreate,) = blocks("A database made before 0.2", "sql")
    with copied(ready(True)) as server:
        before = [(table, text) for table, text in without_xmin(server) if "yoyo" not in table]
        old = "UPDATE _yoyo_migration SET migration_id = '0002_create_raise_not_found' WHERE migration_id ~ '^0002'"
        server.psql(old, user="skilldb_owner")
        ours = {"SKILLDB_OWNER_DSN": server.dsn("skilldb_owner"), "SKILLDB_DSN": server.dsn("my_service")}
        with pytest.raises(AssertionError, match="made by skilldb before"):
            server.sh("skilldb status", **ours)
        server.sh(dump)
        server.psql(recreate, dbname="postgres")
        said = server.sh(restore, **ours)
        assert re.findall(r"^(?:warning|failure).*", said, flags=re.MULTILINE) == []
        assert re.search(r"^ok +drift", said, flags=re.MULTILINE)
        assert [(table, text) for table, text in without_xmin(server) if "yoyo" not in table] == before


def test_an_index_is_added_as_the_document_says_even_after_an_interruption(addresses: Addresses, files: Path) -> None:
    up, down = blocks("Adding an index without blocking", "sql")
    number = len(migrate.read()) + 1
    (files / f"{number:04}_index.sql").write_text(up)
    (files / f"{number:04}_index.rollback.sql").write_text(down)
    (planned,) = migrate.plan(addresses.owner)
    modes = [statement.locks.modes for statement in planned.statements]
    # The first one drops an index that does not exist yet, so its table is not in the catalogue.
    assert modes[0] == {}
    assert set(modes[1].values()) == {"SHARE UPDATE EXCLUSIVE"}
    assert modes[2] == {"skills": "SHARE UPDATE EXCLUSIVE"}
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('skills_category_idx')"
    with (
        psycopg.connect(addresses.admin) as writer,
        psycopg.connect(addresses.owner, autocommit=True, options="-c lock_timeout=10ms") as interrupted,
    ):
        writer.execute("LOCK TABLE skills IN ROW EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            interrupted.execute(up.split(";\n")[-2].strip().encode())
    assert rows(addresses.admin, valid) == [(False,)]
    assert len(list(migrate.migrate(addresses.owner))) == 1
    assert rows(addresses.admin, valid) == [(True,)]
    list(migrate.rollback(addresses.owner))
    assert rows(addresses.admin, valid) == []


def test_a_deleted_organisation_is_gone_and_nothing_of_others_is(either: Bare) -> None:
    server = either
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as conn:
        tables = isolation.tables(conn)
        before = {tenant: isolation.rows_of(conn, tenant) for tenant in ("acme", "globex")}
        assert all(found for rows in before.values() for found in rows.values())
        conn.execute("CREATE TABLE notes (tenant_id TEXT REFERENCES tenants (id))")
        conn.execute("GRANT DELETE ON notes TO skilldb_owner")
        conn.execute("INSERT INTO notes VALUES ('acme')")
        (block,) = blocks("Deleting an organisation", "sql")
        (run,) = blocks("Deleting an organisation", "sh")
        (server.folder / "delete.sql").write_text(block)
        with pytest.raises(AssertionError, match="affected by row-level security"):
            server.sh(run.replace("skilldb_owner", "my_service"))
        assert {tenant: isolation.rows_of(conn, tenant) for tenant in before} == {
            tenant: found | {"notes": [text for text in ["(acme)"] if tenant == "acme"]}
            for tenant, found in before.items()
        }
        with pytest.raises(AssertionError, match=r"still referenced from table .*notes"):
            server.sh(run)
        conn.execute("DROP TABLE notes")
        assert "acme|Acme" in re.sub(r" *\| *", "|", server.sh(run))
        assert isolation.rows_of(conn, "acme") == {table.name: [] for table in tables}
        assert isolation.rows_of(conn, "globex") == before["globex"]
        assert "(0 rows)" in server.sh(run)
    with skilldb.connect(server.dsn("my_service")) as db:
        for _ in seed(db):
            pass


def test_before_a_move_the_services_are_locked_out(server: Bare) -> None:
    with psycopg.connect(server.dsn("my_service"), autocommit=True) as conn:
        assert server.psql(*blocks("Moving to a bigger server", "sql")) == "1\n"
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(server.dsn("my_service"))
    server.psql("ALTER ROLE my_service LOGIN")


def test_logical_replication_has_what_it_needs(addresses: Addresses) -> None:
    without_key = """
    SELECT c.relname FROM pg_class AS c
    WHERE c.relkind IN ('r', 'S') AND c.relnamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)
    """
    assert rows(addresses.admin, without_key) == []
    assert rows(addresses.admin, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
