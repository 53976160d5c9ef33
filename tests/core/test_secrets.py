"""Tests that no password shows in a repr, an error, a traceback with variables, a log line or a command line."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import logging
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import typer
from packaging.requirements import Requirement
from psycopg.conninfo import make_conninfo

import skilldb
from skilldb import aio, cli, connection, database, settings
from skilldb.admin import migrate
from skilldb.dev import embedded
from skilldb.errors import SkilldbError
from skilldb.repositories import tenants
from tests.support.reliability import record
from tests.support.server import server_folder
from tests.support.waits import running

pytestmark = pytest.mark.torture
PASSWORD = "Geheim-5d0e4b39"
SKILLDB = Path(sys.executable).with_name("skilldb")


@pytest.fixture(scope="module")
def server_dsn(initialised: Path) -> Iterator[str]:
    """The superuser's DSN of a server whose login `locked` needs a password."""
    with server_folder(initialised) as folder:
        dsn = embedded.start(folder).admin_dsn
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'".encode())
            hba = Path(conn.execute("SHOW hba_file").fetchall()[0][0])
            hba.write_text(f"local all locked scram-sha-256\n{hba.read_text()}")
            conn.execute("SELECT pg_reload_conf()")
        yield dsn


def blocking(dsn: str) -> None:
    with skilldb.connect(dsn, timeout=1) as db:
        db.tenant("acme").execute(tenants.get_tenant())


def nonblocking(dsn: str) -> None:
    async def run() -> None:
        async with skilldb.connect_async(dsn, timeout=1) as db:
            await db.tenant("acme").execute(tenants.get_tenant())

    asyncio.run(run())


def maintenance(dsn: str) -> None:
    with connection.connected(dsn) as conn:
        conn.execute("SELECT FROM missing")


def migrating(dsn: str) -> None:
    list(migrate.migrate(dsn, wait=0))


def rolling_back(dsn: str) -> None:
    list(migrate.rollback(dsn, wait=0))


def of_migrations(dsn: str) -> None:
    migrate.status(dsn)
    if lock := migrate.get_lock(dsn):
        migrate.unlock(dsn, lock)
    migrate.plan(dsn)
    raise SkilldbError("all went well")


def written(error: BaseException) -> str:
    """The traceback with the variables of each frame of the package and of the frames below."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    link: traceback.TracebackException | None = shown
    while link is not None:
        # The frames of this module hold the password, because the test passes it.
        link.stack = traceback.StackSummary.from_list([f for f in link.stack if f.filename != __file__])
        link = link.__cause__ or link.__context__
    return "".join(shown.format()) + repr(error)


def test_a_password_shows_in_no_error_traceback_or_log_line(server_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    ways: list[Callable[[str], None]] = [
        blocking,
        nonblocking,
        maintenance,
        migrating,
        rolling_back,
        of_migrations,
    ]
    caplog.set_level(logging.DEBUG)
    right = {"user": "locked", "password": PASSWORD}
    tried = [
        make_conninfo(server_dsn, user="locked", password=f"{PASSWORD}!"),
        make_conninfo(server_dsn, dbname="missing", **right),
        make_conninfo(server_dsn, host="/nowhere", **right),
        make_conninfo(server_dsn, host="127.0.0.1", port=1, **right),
        make_conninfo(server_dsn, sslmode="require", host="127.0.0.1", port=1, **right),
        # The login succeeds, but there is no table.
        make_conninfo(server_dsn, **right),
        f"postgresql://locked:{PASSWORD}@127.0.0.1:nonsense/none",
        f"passwort={PASSWORD}",
    ]
    for dsn, connect in itertools.product(tried, ways):
        with pytest.raises(SkilldbError) as raised:
            connect(dsn)
        assert PASSWORD not in written(raised.value), (dsn, connect)
    assert PASSWORD not in caplog.text
    record(
        "No error, traceback with variables, repr, log line or command line shows a password",
        tested="the password, host, port, database or syntax is wrong, with all loggers at DEBUG; a pool cannot "
        "reconnect; the repr of every class; the process of psql",
        ablation="a connection string has a plain repr; psycopg's error keeps its frames; psql's DSN contains the "
        "password",
        figures={"attempts": len(tried) * len(ways)},
    )


def test_a_pool_that_reconnects_in_vain_logs_no_password(server_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        psycopg.connect(server_dsn, autocommit=True) as admin,
        skilldb.connect(make_conninfo(server_dsn, user="locked", password=PASSWORD), timeout=2) as db,
    ):
        admin.execute("ALTER ROLE locked NOLOGIN")
        try:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'locked'")
            for _ in range(2):
                with pytest.raises(SkilldbError) as raised:
                    db.tenant("acme").execute(tenants.get_tenant())
                assert PASSWORD not in written(raised.value)
        finally:
            admin.execute("ALTER ROLE locked LOGIN")
    assert "psycopg.pool" in {line.name for line in caplog.records}
    assert PASSWORD not in caplog.text


def test_a_password_shows_in_no_repr(server_dsn: str) -> None:
    dsn = make_conninfo(server_dsn, user="locked", password=PASSWORD)
    shown: dict[type, str] = {}

    def note(*made: Any) -> None:
        shown.update({type(one): f"{one!r} {one}" for one in made if type(one) is not settings.Secret})
        shown.update({type(one): repr(one) for one in made if type(one) is settings.Secret})

    async def run() -> None:
        async with skilldb.connect_async(dsn) as db, db.tenant("acme").transaction() as tx:
            note(db, db._pool, db._settings, db._settings.conninfo, db.tenant("acme"), tx, tx._conn, aio._Loan(db))

    asyncio.run(run())
    with skilldb.connect(dsn) as db, db.tenant("acme").transaction() as tx:
        note(db, db._pool, db.tenant("acme"), tx, tx._conn, database._Loan(db))
    with connection.connected(dsn) as conn:
        note(conn)
    with migrate._opened(server_dsn, None) as backend:
        note(backend)
    assert PASSWORD not in "".join(shown.values())
    holders = {c for c in classes() if any(word in inspect.getsource(c) for word in ("conninfo", "_pool", "_conn"))}
    assert holders - shown.keys() == set(), "classes that may hold an address"


def classes() -> set[type]:
    names = [module.name for module in pkgutil.walk_packages(skilldb.__path__, "skilldb.")]
    modules = [importlib.import_module(name) for name in names]
    found = [c for module in modules for _, c in inspect.getmembers(module, inspect.isclass)]
    return {c for c in found if c.__module__.startswith("skilldb.")}


def test_no_command_takes_an_address() -> None:
    """Every user of the machine can see the command lines of other users."""
    group = typer.main.get_command(cli.app)
    commands = group.commands  # type: ignore[attr-defined]
    assert commands
    for name, command in commands.items():
        options = {option for parameter in command.params for option in (*parameter.opts, parameter.name)}
        assert not any(word in option for option in options for word in ("dsn", "url", "host", "pass", "addr")), name


def test_a_password_shows_in_no_command_line_of_psql(server_dsn: str, tmp_path: Path) -> None:
    waiting = tmp_path / "psql"
    waiting.write_text("#!/bin/sh\necho ready\nread line\n")
    waiting.chmod(0o755)
    dsn = make_conninfo(server_dsn, user="locked", password=PASSWORD)
    env = {"SKILLDB_DSN": dsn, "SKILLDB_OWNER_DSN": dsn, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    with running([SKILLDB, "psql"], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        process = psutil.Process(run.pid)
        assert "user=locked" in " ".join(process.cmdline())
        assert PASSWORD not in " ".join(process.cmdline())
        assert process.environ()["PGPASSWORD"] == PASSWORD
        run.stdin.close()


@pytest.mark.parametrize("name", sorted(cli.admin.SECRETS))
def test_what_psql_takes_in_its_command_line_only_is_refused(
    name: str, server_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.encode() not in {option.keyword for option in psycopg.pq.Conninfo.get_defaults()}:
        pytest.skip(f"this libpq has no {name}")
    for variable in ("SKILLDB_DSN", "SKILLDB_OWNER_DSN"):
        monkeypatch.setenv(variable, make_conninfo(server_dsn, **{name: PASSWORD}))
    with pytest.raises(SkilldbError, match=name) as raised:
        cli.admin.psql(tenant=None, owner=False)
    assert PASSWORD not in str(raised.value)


def test_every_dependency_has_bounds_which_the_installed_one_keeps() -> None:
    wanted = [Requirement(text) for text in requires("skilldb") or []]
    assert {"psycopg", "typer"} <= {requirement.name for requirement in wanted}
    for requirement in wanted:
        if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in ("embedded", "cli", "")):
            continue
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, requirement
        assert requirement.specifier.contains(version(requirement.name)), requirement
