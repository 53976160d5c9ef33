"""Tests poolers: one that shares prepared statements between clients is refused, all others work."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

import skilldb
from skilldb import guards
from skilldb.errors import (
    ConnectionLostError,
    DatabaseUnavailableError,
    ServerUnavailableError,
    SkilldbError,
    UnsafePoolerError,
)
from skilldb.repositories import skills, tenants
from tests.support.api import APIS, ask, new_skill
from tests.support.database import locked, rows, until, until_rows
from tests.support.ledger import opened
from tests.support.pooler import PROGRAM, pooler
from tests.support.reliability import record
from tests.support.server import Addresses, Admin
from tests.support.waits import ended, started

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed: make test-pgbouncer does that"),
]
READ = skills.get_skill("s1")
Pooled = Callable[[str], str]


@pytest.fixture
def pooled(admin: Admin, addresses: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooled]:
    """The DSN through a pgbouncer in that mode."""
    folder: Path = tmp_path_factory.mktemp("pgbouncer")
    service = admin.dsn(str(psycopg.conninfo.conninfo_to_dict(addresses.admin)["dbname"]), "skilldb_service")
    with skilldb.connect(service, prepare_threshold=None) as database:
        acme = database.tenant("acme")
        acme.execute(tenants.create_tenant("Acme", "acme"))
        new_skill(acme, "s1")
    with pooler(folder, admin.host, admin.port) as port:
        ports = {"transaction": port}
        with pooler(tmp_path_factory.mktemp("pgbouncer"), admin.host, admin.port, pool_mode="session") as port:
            ports["session"] = port
            yield lambda mode: make_conninfo(service, host="127.0.0.1", port=ports[mode])


@contextmanager
def two(dsn: str) -> Iterator[tuple[psycopg.Connection[tuple[str]], psycopg.Connection[tuple[str]]]]:
    with psycopg.connect(dsn, autocommit=True) as one, psycopg.connect(dsn, autocommit=True) as other:
        yield one, other


def test_a_pooler_runs_another_clients_prepared_statement_and_says_nothing(pooled: Pooled) -> None:
    mine, yours = "SELECT 'mine: ' || %s::text", "SELECT 'yours: ' || %s::text"
    with two(pooled("transaction")) as (one, other):
        assert one.execute(mine, ["a"], prepare=True).fetchone() == ("mine: a",)
        with one.transaction():
            one.execute("SELECT 1", prepare=False)
            # The other transaction has another server process, on which the first prepared statement has the same name.
            assert other.execute(yours, ["b"], prepare=True).fetchone() == ("yours: b",)
        with other.transaction():
            other.execute("SELECT 1", prepare=False)
            assert one.execute(mine, ["a"], prepare=True).fetchone() == ("yours: a",)


@APIS
def test_prepared_statements_behind_a_transaction_pooler_are_refused(api: str, pooled: Pooled) -> None:
    with (
        pytest.raises(UnsafePoolerError, match="prepare_threshold=None"),
        opened(api, pooled("transaction"), prepare_threshold=5),
    ):
        pass
    record(
        f"Prepared statements are refused behind a pooler that shares connections ({api})",
        tested="pgbouncer runs in transaction mode; a test shows that one client runs another's statement",
        ablation="the database is opened without the check",
        figures={"refusals": 1},
    )


@APIS
def test_a_database_opened_without_the_check_is_found_out(
    api: str, pooled: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchecked(pgconn: PGconn, name: bytes, word: bytes) -> PQGen[None]:
        yield from ()

    monkeypatch.setattr(guards, "refuse_shared_statements", unchecked)
    dsn = pooled("transaction")
    with opened(api, dsn, prepare_threshold=1) as (one, _), opened(api, dsn, prepare_threshold=1) as (other, _):
        one(READ, READ)
        with pytest.raises(SkilldbError, match="prepared statement"):
            other(READ, READ)


@APIS
@pytest.mark.parametrize(("mode", "prepare_threshold"), [("session", 1), ("session", None), ("transaction", None)])
def test_a_pooler_that_mixes_up_nothing_is_as_good_as_none(
    api: str, mode: str, prepare_threshold: int | None, pooled: Pooled, addresses: Addresses
) -> None:
    given = {"prepare_threshold": prepare_threshold, "max_size": 2}
    with opened(api, pooled(mode), lock_timeout=0.2, statement_timeout=7, **given) as (execute, _):
        for _ in range(5):
            assert execute(READ).id == "s1"
        assert execute(ask("SELECT current_setting('statement_timeout')")) == "7s"
        with locked(addresses), pytest.raises(DatabaseUnavailableError, match="lock_timeout"):
            execute(skills.update_skill("s1", {"description": "new"}))
        assert execute(READ).description != "new"


@APIS
def test_a_call_that_was_given_up_ends_behind_a_pooler_too(api: str, pooled: Pooled, addresses: Addresses) -> None:
    slow = [ask("SELECT pg_sleep(0.4)")] * 200
    with opened(api, pooled("transaction"), max_size=2, prepare_threshold=None, timeout=0.2, statement_timeout=0.5) as (
        execute,
        _,
    ):
        for _ in range(4):
            with pytest.raises(ConnectionLostError):
                execute(*slow)
        active = (
            "SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT /* test.ask */ pg_sleep(0.4)' AND state = 'active'"
        )
        until_rows(addresses.admin, active, [], seconds=20)


@pytest.fixture
def narrow(admin: Admin, addresses: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address by way of a pgbouncer in session mode with one server connection: a second client waits for it."""
    folder: Path = tmp_path_factory.mktemp("pgbouncer")
    dbname = str(psycopg.conninfo.conninfo_to_dict(addresses.admin)["dbname"])
    with pooler(folder, admin.host, admin.port, pool_mode="session", default_pool_size=1) as port:
        yield make_conninfo(admin.dsn(dbname, "skilldb_service"), host="127.0.0.1", port=port)


@APIS
def test_the_check_keeps_to_the_timeout_where_the_pooler_has_one_connection(api: str, narrow: str) -> None:
    """pgbouncer itself would let the second client wait for 120 seconds."""
    with (
        pytest.raises(ServerUnavailableError, match=r"did not answer within 1 .*prepare_threshold=None"),
        opened(api, narrow, timeout=1),
    ):
        pass
    with opened(api, narrow, timeout=1, max_size=1, prepare_threshold=None) as (execute, _):
        assert execute(READ) is None


def test_the_check_can_be_cancelled(narrow: str) -> None:
    async def run() -> None:
        async with asyncio.timeout(0.5):
            await skilldb.connect_async(narrow, timeout=100).open()

    with pytest.raises(TimeoutError):
        asyncio.run(run())


def test_the_check_can_be_interrupted(narrow: str, admin: Admin) -> None:
    waiting = "SELECT FROM pg_stat_activity WHERE usename = 'skilldb_service' AND query LIKE 'SELECT ''first''%'"
    database = skilldb.connect(narrow, timeout=100)
    main = threading.get_ident()

    def interrupt() -> None:
        until(lambda: rows(admin.dsn("postgres"), waiting) != [])
        signal.pthread_kill(main, signal.SIGINT)

    thread = started(interrupt)
    with pytest.raises(KeyboardInterrupt):
        database.open()
    ended(thread)
