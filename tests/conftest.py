"""A real PostgreSQL for every test: one migrated template a session, a clone of it a test, logins as in production."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pytest_postgresql import factories

import skilldb
from skilldb import queries
from skilldb.admin import migrate
from skilldb.dev import embedded
from skilldb.errors import SkilldbError
from skilldb.models import NewSkill, Skill, User
from skilldb.repositories import skills, tenants, users
from skilldb.statement import Statement
from tests import plans, scaled
from tests.pooler import pooler
from tests.reliability import FIGURES

# Any other server, as a superuser, who creates databases and logins there. The logins get in without a password.
TEST_DSN = os.environ.get("SKILLDB_TEST_DSN")
# Set, the service's connections run through a pgbouncer in transaction mode.
POOLER = os.environ.get("SKILLDB_TEST_POOLER")
if POOLER:
    skilldb.connect.__kwdefaults__["prepare_threshold"] = None  # type: ignore[index]
    skilldb.connect_async.__kwdefaults__["prepare_threshold"] = None  # type: ignore[index]
# A run in a shell's background is started with this signal ignored. Tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
direct_only = pytest.mark.skipif(bool(POOLER), reason="is about connections that no pooler shares")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-docs", action="store_true", help="write docs/schema.* and sql/admin/definitions.txt; do not compare"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In the run that writes docs/reliability.md a test that is skipped fails: its promise would be missing there."""
    report = yield
    if FIGURES and report.skipped:
        report.outcome = "failed"
    return report


@dataclass(frozen=True, kw_only=True)
class Admin:
    """The superuser's address, in the words of pytest-postgresql's executors."""

    host: str
    port: int
    user: str
    password: str | None
    options: str = ""
    dbname: str = "postgres"
    maintenance_dbname: str = "postgres"
    template_dbname: str | None = None

    def dsn(self, dbname: str, user: str | None = None) -> str:
        password = self.password if user is None else None
        return make_conninfo(host=self.host, port=self.port, user=user or self.user, password=password, dbname=dbname)


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for an embedded server, which is stopped in the end. Unlike pytest's own, root's server can reach it."""
    folder = Path(tempfile.mkdtemp(prefix="skilldb-tests-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        embedded.stop(folder)
        for link in folder.rglob("sockets"):
            shutil.rmtree(os.readlink(link), ignore_errors=True)
        shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder for an embedded server."""
    with server_folder() as made:
        yield made


@pytest.fixture(scope="session")
def admin() -> Iterator[Admin]:
    """The server: an embedded one of this session, unless SKILLDB_TEST_DSN names another."""
    with ExitStack() as stack:
        if TEST_DSN:
            dsn = TEST_DSN
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute(queries.load("admin/embedded")["create_logins"].sql)
        else:
            dsn = embedded.start(stack.enter_context(server_folder())).admin_dsn
            with psycopg.connect(dsn, autocommit=True) as conn:
                # Nothing here outlives the session, so nothing waits for the disk.
                for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
                    conn.execute(f"ALTER SYSTEM SET {setting}".encode())
                conn.execute("SELECT pg_reload_conf()")
        given = conninfo_to_dict(dsn)
        yield Admin(
            host=str(given["host"]),
            port=int(given.get("port") or 5432),
            user=str(given["user"]),
            password=str(given["password"]) if given.get("password") else None,
        )


def migrate_template(*, host: str, port: int, user: str, dbname: str, password: str | None, **_: Any) -> None:
    owner = Admin(host=host, port=port, user=user, password=password)
    with psycopg.connect(owner.dsn(dbname), autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {dbname} OWNER TO skilldb_owner".encode())
    list(migrate.migrate(owner.dsn(dbname, "skilldb_owner")))


template = factories.postgresql_noproc(depends_on="admin", dbname="skilldb_tests", load=[migrate_template])
clone = factories.postgresql("template")


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """The test's own database, as superuser, as owner and as the service."""

    admin: str
    owner: str
    service: str


@pytest.fixture(scope="session")
def entrance(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """Where the service gets in."""
    if not POOLER:
        yield admin
    else:
        with pooler(tmp_path_factory.mktemp("pooler"), admin.host, admin.port) as port:
            yield replace(admin, host="127.0.0.1", port=port)


@pytest.fixture
def addresses(admin: Admin, entrance: Admin, clone: psycopg.Connection[Any]) -> Addresses:
    dbname = clone.info.dbname
    # A copy of a database has these of its own, whatever the original has.
    clone.execute(f"ALTER DATABASE {dbname} OWNER TO skilldb_owner".encode())
    clone.execute(f"REVOKE TEMPORARY ON DATABASE {dbname} FROM PUBLIC".encode())
    clone.commit()
    found = Addresses(
        admin=admin.dsn(dbname),
        owner=admin.dsn(dbname, "skilldb_owner"),
        service=entrance.dsn(dbname, "skilldb_service"),
    )
    with psycopg.connect(found.service) as conn:
        # Under a role that can bypass isolation every isolation test passes falsely.
        assert conn.execute(queries.load("guards")["list_unsafe_roles"].sql).fetchall() == []
        member = conn.execute("SELECT pg_has_role(current_user, 'skilldb_app', 'MEMBER')").fetchone()
        assert member == (True,)
    return found


@pytest.fixture
def db(addresses: Addresses) -> Iterator[skilldb.Database]:
    with skilldb.connect(addresses.service) as database:
        yield database


@pytest.fixture
def acme(db: skilldb.Database) -> skilldb.Tenant:
    """An organisation with nothing in it."""
    tenant = db.tenant("acme")
    tenant.execute(tenants.create_tenant("Acme", "acme"))
    return tenant


@pytest.fixture
def globex(db: skilldb.Database) -> skilldb.Tenant:
    """Another organisation with nothing in it."""
    tenant = db.tenant("globex")
    tenant.execute(tenants.create_tenant("Globex", "globex"))
    return tenant


@pytest.fixture(scope="session")
def scaled_addresses(admin: Admin) -> Iterator[Addresses]:
    """A database with the data of tests/scaled.py, made once: a test that uses it must leave it as it was.

    Tests that use it stay on one worker: pytest.mark.xdist_group("scaled").
    """
    dbname = "skilldb_scaled"
    with psycopg.connect(admin.dsn("postgres"), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {dbname}".encode())
        conn.execute(f"CREATE DATABASE {dbname} OWNER skilldb_owner".encode())
    found = Addresses(
        admin=admin.dsn(dbname), owner=admin.dsn(dbname, "skilldb_owner"), service=admin.dsn(dbname, "skilldb_service")
    )
    list(migrate.migrate(found.owner))
    scaled.load(found.admin)
    yield found
    with psycopg.connect(admin.dsn("postgres"), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {dbname} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def scaled_plans(scaled_addresses: Addresses) -> list[plans.Plan]:
    """Every query's plans on the scaled data, custom and generic, for the biggest and for the smallest tenant."""
    return plans.run(scaled_addresses.owner, scaled_addresses.service, [scaled.BIG, scaled.SMALL])


@pytest.fixture(scope="session")
def index_uses(scaled_plans: list[plans.Plan]) -> dict[str, list[str]]:
    """The queries of sql/ whose plans use an index, by the index's name, both sorted."""
    return plans.index_uses(scaled_plans)


class Face:
    """`execute` of one organisation, blocking or async, so that one test states what is true of both."""

    def __init__(self, execute: Callable[..., Any], tenant_id: str) -> None:
        self.execute = execute
        self.id = tenant_id


@pytest.fixture(params=["blocking", "async"])
def face(request: pytest.FixtureRequest, addresses: Addresses) -> Iterator[Callable[[str], Face]]:
    """A function from a tenant id to that tenant's Face; the tenant is created on its first use."""
    created: set[str] = set()

    def created_once(found: Face) -> Face:
        if found.id not in created:
            created.add(found.id)
            found.execute(tenants.create_tenant(found.id.title(), found.id))
        return found

    if request.param == "blocking":
        with skilldb.connect(addresses.service) as database:
            yield lambda tenant_id: created_once(Face(database.tenant(tenant_id).execute, tenant_id))
    else:
        with asyncio.Runner() as runner:
            opened = skilldb.connect_async(addresses.service)
            runner.run(opened.open())

            def run(tenant_id: str) -> Face:
                tenant = opened.tenant(tenant_id)

                def execute(*statements: Statement[Any]) -> Any:
                    return runner.run(tenant.execute(*statements))

                return created_once(Face(execute, tenant_id))

            yield run
            runner.run(opened.close())


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of migrations/ that a test may change, and that migrate.py reads."""
    copy = tmp_path / "migrations"
    shutil.copytree(queries.folder("migrations"), copy)
    original = queries.folder
    monkeypatch.setattr(queries, "folder", lambda name: copy if name == "migrations" else original(name))
    return copy


def pool_of(database: skilldb.Database | skilldb.AsyncDatabase) -> Any:
    """The pool behind an open database."""
    assert database._pool is not None
    return database._pool


def new_user(tenant: skilldb.Tenant | Face, id: str) -> User:
    """A user of that id."""
    user: User = tenant.execute(users.create_user(f"{id}@example.com", name=id.title(), id=id))
    return user


def new_skill(tenant: skilldb.Tenant | Face, id: str, **more: Any) -> Skill:
    """A skill of that id, which is its slug too."""
    given = {"name": id.title(), "slug": id, "description": f"What {id} does", "category": "testing"} | more
    skill: Skill = tenant.execute(skills.create_skill(NewSkill(id=id, **given)))
    return skill


def rows(dsn: str, query: str, *params: Any) -> list[tuple[Any, ...]]:
    """What the query finds on a connection of its own; as the superuser it finds all tenants' rows."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        return conn.execute(query.encode(), params or None).fetchall()


def contents(dsn: str) -> list[tuple[Any, ...]]:
    """Every row of every table, and the transaction that wrote it."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        tables = conn.execute(
            "SELECT string_agg(format('SELECT %L, t.xmin::text, t::text FROM %I AS t', relname, relname), "
            "' UNION ALL ') FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        return sorted(conn.execute(str(tables.fetchall()[0][0]).encode()))


def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so; a minute at most, then it is a failure."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def refused(
    addresses: Addresses, error: type[SkilldbError], *named: str, cause: type[psycopg.Error] | None = None
) -> Iterator[None]:
    """What is done inside raises this very error, its message holds the words, and nothing was written.

    The error's cause is psycopg's where the database raised it, and none of psycopg's where nothing was sent.
    """
    before = contents(addresses.admin)
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    assert [word for word in named if word not in str(caught.value)] == [], str(caught.value)
    assert isinstance(caught.value.__cause__, cause or psycopg.Error) == (cause is not None)
    assert contents(addresses.admin) == before
