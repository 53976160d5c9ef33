"""Gives every test a real PostgreSQL, with logins as in production. See reuse.py."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pytest_postgresql import factories

import skilldb
from skilldb import queries
from skilldb.admin import migrate
from skilldb.dev import embedded
from skilldb.repositories import tenants
from tests.support import plans, scaled
from tests.support.api import Api, created_once, opened
from tests.support.pooler import pooler
from tests.support.proxy import Proxy, proxy
from tests.support.reliability import FIGURES
from tests.support.reuse import Reused
from tests.support.server import POOLER, RUN, SUBJECT_OWNER, TEST_DSN, Addresses, Admin, created, server_folder

if POOLER:
    skilldb.connect.__kwdefaults__["prepare_threshold"] = None  # type: ignore[index]
    skilldb.connect_async.__kwdefaults__["prepare_threshold"] = None  # type: ignore[index]
# A shell starts background jobs with SIGINT ignored; tests send SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--one-api", action="store_true", help="leave out what is tested on the async API as well")
    parser.addoption(
        "--write-docs", action="store_true", help="write docs/schema.* and sql/admin/definitions.txt; do not compare"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the tests that take long, so that no worker waits for another at the end.

    With --one-api, leave out the async half of the tests that run on both APIs.
    """
    items.sort(key=lambda item: not (item.get_closest_marker("xdist_group") or "slow" in item.path.parts))
    if config.getoption("one_api"):
        left_out = [item for item in items if "async" in re.split(r"[\[\]-]", item.name)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In the run that writes docs/reliability.md a skipped test fails, because the page would lack its promise."""
    report = yield
    if FIGURES and report.skipped:
        report.outcome = "failed"
    return report


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder for an embedded server."""
    with server_folder() as made:
        yield made


@pytest.fixture(scope="session")
def initialised() -> Iterator[Path]:
    """The folder of a server that has been started once and does not run. server_folder() copies it."""
    with server_folder() as made:
        embedded.start(made)
        embedded.stop(made)
        yield made


@pytest.fixture(scope="session")
def migrated(initialised: Path) -> Iterator[Path]:
    """The same, of a server whose database `skilldb` is migrated and has no rows."""
    with server_folder(initialised) as made:
        list(migrate.migrate(embedded.start(made).owner_dsn))
        embedded.stop(made)
        yield made


@pytest.fixture
def used(initialised: Path) -> Iterator[Path]:
    """The folder of a server of the test's own, which has been started before and does not run."""
    with server_folder(initialised) as made:
        yield made


@pytest.fixture(scope="session")
def admin(request: pytest.FixtureRequest) -> Iterator[Admin]:
    """The server: an embedded one of this session, unless SKILLDB_TEST_DSN names another."""
    with ExitStack() as stack:
        if TEST_DSN:
            dsn = TEST_DSN
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute(queries.load("admin/embedded")["create_logins"].sql)
        else:
            dsn = embedded.start(stack.enter_context(server_folder(request.getfixturevalue("initialised")))).admin_dsn
            with psycopg.connect(dsn, autocommit=True) as conn:
                # No data outlives the session, so do not wait for the disk. Autovacuum would write statistics, and
                # Reused copies a database again whose catalogues have changed; but the doctor warns where it is off.
                for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
                    conn.execute(f"ALTER SYSTEM SET {setting}".encode())
                conn.execute("ALTER SYSTEM SET autovacuum_naptime = '1d'")
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


template = factories.postgresql_noproc(depends_on="admin", dbname=f"skilldb_tests_{RUN}", load=[migrate_template])


@pytest.fixture(scope="session")
def entrance(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """The DSN of the service: on the server or on the pooler."""
    if not POOLER:
        yield admin
    else:
        with pooler(tmp_path_factory.mktemp("pooler"), admin.host, admin.port) as port:
            yield replace(admin, host="127.0.0.1", port=port)


@pytest.fixture(scope="session")
def reused(admin: Admin, template: Any) -> Iterator[Reused]:
    """The database that the tests of this worker use one after the other."""
    with psycopg.connect(admin.dsn(template.template_dbname, "skilldb_service")) as conn:
        # If the role can bypass the policies, isolation tests prove nothing.
        assert conn.execute(queries.load("guards")["list_unsafe_roles"].sql).fetchall() == []
        assert conn.execute("SELECT pg_has_role(current_user, 'skilldb_app', 'MEMBER')").fetchone() == (True,)
    found = Reused(admin, template.template_dbname, template.dbname)
    yield found
    found.drop()


@pytest.fixture
def addresses(admin: Admin, entrance: Admin, reused: Reused) -> Iterator[Addresses]:
    """The addresses of a migrated database without rows."""
    with reused.lent() as dbname:
        yield admin.addresses(dbname, entrance)


@pytest.fixture(scope="session")
def subject_template(admin: Admin, template: Any) -> Iterator[str]:
    """The name of a database that an owner without BYPASSRLS has migrated."""
    dbname = f"{template.template_dbname}_subject"
    with psycopg.connect(admin.dsn("postgres"), autocommit=True) as conn:
        conn.execute(
            f"DO $$ BEGIN CREATE ROLE {SUBJECT_OWNER} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$".encode()
        )
        conn.execute(f"DROP DATABASE IF EXISTS {dbname} WITH (FORCE)".encode())
        conn.execute(f"CREATE DATABASE {dbname} OWNER {SUBJECT_OWNER}".encode())
    list(migrate.migrate(admin.dsn(dbname, SUBJECT_OWNER)))
    yield dbname
    with psycopg.connect(admin.dsn("postgres"), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {dbname} WITH (FORCE)".encode())


@pytest.fixture
def subject(admin: Admin, entrance: Admin, subject_template: str) -> Iterator[Addresses]:
    """The same as `addresses`, of a database whose owner has no BYPASSRLS: it is subject to the policies itself."""
    dbname = f"{subject_template}_copy"
    with psycopg.connect(admin.dsn("postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {dbname} OWNER {SUBJECT_OWNER} TEMPLATE {subject_template}".encode())
        conn.execute(f"REVOKE TEMPORARY ON DATABASE {dbname} FROM PUBLIC".encode())
        yield Addresses(
            admin=admin.dsn(dbname),
            owner=admin.dsn(dbname, SUBJECT_OWNER),
            service=entrance.dsn(dbname, "skilldb_service"),
        )
        conn.execute(f"DROP DATABASE {dbname} WITH (FORCE)".encode())


@pytest.fixture(params=["addresses", "subject"], ids=["with BYPASSRLS", "without BYPASSRLS"])
def either(request: pytest.FixtureRequest) -> Addresses:
    """The addresses of a migrated database without rows, once for each kind of owner."""
    found: Addresses = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def db(addresses: Addresses) -> Iterator[skilldb.Database]:
    with skilldb.connect(addresses.service) as database:
        yield database


@pytest.fixture
def acme(db: skilldb.Database) -> skilldb.Tenant:
    """An empty organisation."""
    tenant = db.tenant("acme")
    tenant.execute(tenants.create_tenant("Acme", "acme"))
    return tenant


@pytest.fixture
def globex(db: skilldb.Database) -> skilldb.Tenant:
    """Another empty organisation."""
    tenant = db.tenant("globex")
    tenant.execute(tenants.create_tenant("Globex", "globex"))
    return tenant


@pytest.fixture(scope="session")
def scaled_addresses(admin: Admin) -> Iterator[Addresses]:
    """A database with the data of tests/support/scaled.py, made once. Tests must leave it unchanged.

    Its tests must run on one worker: pytest.mark.xdist_group("scaled").
    """
    dbname = f"skilldb_scaled_{RUN}"
    with created(admin.dsn("postgres"), dbname):
        found = admin.addresses(dbname)
        list(migrate.migrate(found.owner))
        scaled.load(found.admin)
        yield found


@pytest.fixture(scope="session")
def scaled_plans(scaled_addresses: Addresses) -> list[plans.Plan]:
    """Every query's plans on the scaled data, custom and generic, for the biggest and for the smallest tenant."""
    return plans.run(scaled_addresses.owner, scaled_addresses.service, [scaled.BIG, scaled.SMALL])


@pytest.fixture(scope="session")
def index_uses(scaled_plans: list[plans.Plan]) -> dict[str, list[str]]:
    """The queries of sql/ whose plans use an index, by the index's name, both sorted."""
    return plans.index_uses(scaled_plans)


@pytest.fixture(params=["blocking", "async"])
def api(request: pytest.FixtureRequest, addresses: Addresses) -> Iterator[Callable[[str], Api]]:
    """A function from a tenant id to that tenant's Api; the tenant is created on its first use."""
    with opened(request.param, addresses.service) as tenant:
        yield created_once(tenant)


@pytest.fixture
def wire(admin: Admin) -> Iterator[Proxy]:
    """A proxy between the test and the server, which counts round trips and fails on demand."""
    with proxy(admin.host, admin.port) as listening:
        yield listening


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The time zone of the sessions that the test opens: UTC, unless the test is parametrized with others."""
    name: str = getattr(request, "param", "UTC")
    monkeypatch.setenv("PGTZ", name)
    return name


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of migrations/ that a test may change, and that migrate.py reads."""
    copy = tmp_path / "migrations"
    shutil.copytree(queries.folder("migrations"), copy)
    original = queries.folder
    monkeypatch.setattr(queries, "folder", lambda name: copy if name == "migrations" else original(name))
    return copy
