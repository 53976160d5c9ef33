"""Tests the errors when the database is unavailable, and that no work goes on afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb import queries
from skilldb.dev import embedded
from skilldb.errors import (
    ConnectionLostError,
    DatabaseClosedError,
    DatabaseUnavailableError,
    DeadlockError,
    LockTimeoutError,
    NotFoundError,
    PoolTimeoutError,
    ReadOnlyError,
    SerializationError,
    ServerUnavailableError,
    SkilldbError,
    StatementTimeoutError,
    UnsafeRoleError,
)
from skilldb.models import NewSkillVersion
from skilldb.repositories import metrics, skills, tenants, users, views
from skilldb.statement import NOTHING, Statement
from tests.support.api import APIS, ask, new_skill
from tests.support.database import rows, until, until_rows
from tests.support.ledger import opened
from tests.support.proxy import Fault, Proxy, through
from tests.support.reliability import record
from tests.support.server import Addresses, direct_only, server_folder
from tests.support.waits import ended, started

READ = skills.get_skill("s1")
USE = metrics.increment_skill_uses("s1")
PID = ask("SELECT pg_backend_pid()")
BACKENDS = "FROM pg_stat_activity WHERE usename = 'skilldb_service' AND datname = current_database()"


@pytest.fixture
def folder(migrated: Path) -> Iterator[Path]:
    """The folder of a migrated server of the test's own, which does not run yet."""
    with server_folder(migrated) as made:
        yield made


@pytest.fixture
def acme(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        tenant = database.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"), users.create_user("ann@example.com", id="ann"))
        new_skill(tenant, "s1")


def failing(code: str) -> Statement[None]:
    """A statement that PostgreSQL ends with this SQLSTATE."""
    sql = f"-- name: fail()\nDO $$ BEGIN RAISE 'on purpose' USING ERRCODE = '{code}'; END $$;"
    return Statement(NOTHING, queries.parse(sql, "test")["fail"]())


# Kinds


KINDS: dict[str, tuple[type[DatabaseUnavailableError], bool]] = {
    "25006": (ReadOnlyError, True),
    "25P03": (ServerUnavailableError, True),
    "40001": (SerializationError, True),
    "40P01": (DeadlockError, True),
    "53100": (ServerUnavailableError, True),
    "53300": (ServerUnavailableError, True),
    "55P03": (LockTimeoutError, True),
    "57014": (StatementTimeoutError, False),
    "57P01": (ServerUnavailableError, True),
    "57P03": (ServerUnavailableError, True),
    "58030": (ServerUnavailableError, True),
}


@APIS
@pytest.mark.parametrize("code", KINDS)
def test_an_error_has_the_class_of_its_kind(api: str, code: str, acme: None, addresses: Addresses) -> None:
    kind, retryable = KINDS[code]
    with opened(api, addresses.service, max_size=1) as (execute, _):
        with pytest.raises(kind, match="on purpose") as raised:
            execute(USE, failing(code))
        assert type(raised.value) is kind
        assert (raised.value.outcome, raised.value.retryable) == ("not applied", retryable)
        assert execute(USE) == 1


@pytest.mark.parametrize("code", KINDS)
def test_an_error_keeps_its_kind_in_a_transaction(code: str, acme: None, addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        tenant = database.tenant("acme")
        with pytest.raises(KINDS[code][0]) as raised, tenant.transaction() as tx:  # noqa: PT012
            tx.execute(USE)
            tx.execute(failing(code))
        assert raised.value.outcome == "not applied"
        assert tenant.execute(USE) == 1


@direct_only
@APIS
@pytest.mark.parametrize("then", ["cut", "stall"])
def test_a_lost_answer_leaves_the_outcome_open(
    api: str, then: Any, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    with opened(api, through(wire, addresses.service), max_size=1, timeout=0.3, statement_timeout=0.3) as (execute, _):
        wire.faults = [Fault("answer", 0, then)]
        with pytest.raises(ConnectionLostError) as raised:
            execute(USE)
        assert (raised.value.outcome, raised.value.retryable) == ("unknown", True)
        assert execute(USE) == 2


@direct_only
def test_only_a_lost_commit_leaves_the_outcome_of_a_transaction_open(
    acme: None, addresses: Addresses, wire: Proxy
) -> None:
    with skilldb.connect(through(wire, addresses.service), max_size=1) as database:
        for trip, outcome in ((0, "not applied"), (1, "unknown")):
            database.tenant("acme").execute(READ)
            wire.faults = [*[None] * trip, Fault("answer", 0, "cut")]
            with pytest.raises(ConnectionLostError) as raised, database.tenant("acme").transaction() as tx:
                tx.execute(USE)
            assert raised.value.outcome == outcome


@direct_only
@APIS
@pytest.mark.parametrize("then", ["cut", "stall"])
def test_a_connection_that_is_lost_while_it_is_checked_leaves_nothing_open(
    api: str, then: Any, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    wire.faults = [Fault("answer", 0, then)] * 50
    with (
        pytest.raises(DatabaseUnavailableError) as raised,
        opened(api, through(wire, addresses.service), timeout=0.5, statement_timeout=0.5),
    ):
        pass
    assert raised.value.outcome == "not applied"


@direct_only
def test_a_transaction_whose_call_was_given_up_was_not_applied(acme: None, addresses: Addresses, wire: Proxy) -> None:
    dsn = through(wire, addresses.service)
    with skilldb.connect(dsn, max_size=1, timeout=0.3, statement_timeout=0.3) as database:
        tenant = database.tenant("acme")
        wire.faults = [None, Fault("answer", 0, "stall")]
        with pytest.raises(ConnectionLostError) as raised, tenant.transaction() as tx:  # noqa: PT012
            tx.execute(USE)
            with contextlib.suppress(ConnectionLostError):
                tx.execute(USE)
        assert raised.value.outcome == "not applied"
        assert tenant.execute(USE) == 1


def test_the_callers_own_error_is_not_replaced_by_that_of_a_dead_connection(acme: None, addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1) as database:
        tenant = database.tenant("acme")
        with pytest.raises(ValueError, match="the caller's"), tenant.transaction() as tx:  # noqa: PT012
            pid = tx.execute(PID)
            rows(addresses.admin, "SELECT pg_terminate_backend(%s, 10000)", pid)
            raise ValueError("the caller's")
        assert tenant.execute(USE) == 1


@APIS
def test_opening_names_the_servers_reason(api: str, acme: None, addresses: Addresses) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute("ALTER ROLE skilldb_service CONNECTION LIMIT 1")
        try:
            with (
                pytest.raises(ServerUnavailableError, match="too many connections for role"),
                opened(api, addresses.service, min_size=2, timeout=1),
            ):
                pass
        finally:
            admin.execute("ALTER ROLE skilldb_service CONNECTION LIMIT -1")


@APIS
def test_json_that_is_too_deep_to_read_is_named(api: str, acme: None, addresses: Addresses) -> None:
    version = NewSkillVersion(content_url="u", content_hash="a" * 64, metadata={})
    with opened(api, addresses.service) as (execute, _):
        execute(skills.publish_skill_version("s1", version))
        with psycopg.connect(addresses.admin, autocommit=True) as admin:
            admin.execute(
                "UPDATE skill_versions SET metadata = (repeat('{\"a\":', 1500) || '1' || repeat('}', 1500))::jsonb"
            )
        with pytest.raises(SkilldbError, match="JSON that is too deep"):
            execute(skills.list_skill_versions("s1"))


def test_errors_of_every_kind_can_be_pickled() -> None:
    for error in (ConnectionLostError("lost", "not applied"), PoolTimeoutError("busy")):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.outcome) == (type(error), str(error), error.outcome)


@APIS
def test_a_full_pool_says_so(api: str, acme: None, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1, timeout=0.2) as (execute, pool), taken(pool):
        with pytest.raises(PoolTimeoutError, match="all 1 connections of the pool are in use") as raised:
            execute(READ)
        assert raised.value.outcome == "not applied"


@contextmanager
def taken(pool: Any) -> Iterator[None]:
    """The pool's only connection is in use."""
    free = list(pool._pool)
    pool._pool.clear()
    try:
        yield
    finally:
        pool._pool.extend(free)


@APIS
def test_a_server_that_is_away_is_named_with_the_reason(api: str, folder: Path) -> None:
    server = embedded.start(folder)
    fill(server)
    with opened(api, server.service_dsn, max_size=1, timeout=1) as (execute, _):
        execute(READ)
        embedded.stop(folder)
        with pytest.raises(ServerUnavailableError, match=r"No such file or directory|refused") as raised:
            execute(READ)
        assert (raised.value.outcome, raised.value.retryable) == ("not applied", True)


def fill(server: embedded.Server) -> None:
    with skilldb.connect(server.service_dsn) as database:
        tenant = database.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"))
        new_skill(tenant, "s1")


# The commit


DEFER = "ALTER TABLE user_skill_views ALTER CONSTRAINT user_skill_views_skill_fk DEFERRABLE INITIALLY DEFERRED"


@APIS
def test_an_error_at_the_commit_has_its_meaning_and_costs_no_connection(
    api: str, acme: None, addresses: Addresses
) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as owner:
        owner.execute(DEFER)
    with opened(api, addresses.service, max_size=1) as (execute, _):
        pid = execute(PID)
        with pytest.raises(NotFoundError, match="skill 'nowhere' does not exist"):
            execute(USE, views.record_skill_view("ann", "nowhere", 1))
        assert execute(PID, USE) == (pid, 1)


def test_an_error_at_the_end_of_a_transaction_has_its_meaning(acme: None, addresses: Addresses) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as owner:
        owner.execute(DEFER)
    with skilldb.connect(addresses.service, max_size=1) as database:
        tenant = database.tenant("acme")
        pid = tenant.execute(PID)
        with pytest.raises(NotFoundError, match="skill"), tenant.transaction() as tx:
            tx.execute(USE, views.record_skill_view("ann", "nowhere", 1))
        assert tenant.execute(PID, USE) == (pid, 1)


def test_a_transaction_that_was_idle_for_too_long_says_so(acme: None, addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1) as database:
        tenant = database.tenant("acme")
        with pytest.raises(DatabaseUnavailableError, match="idle-in-transaction") as raised:  # noqa: PT012, SIM117
            with tenant.transaction() as tx:
                (pid, _) = tx.execute(PID, ask("SELECT set_config('idle_in_transaction_session_timeout', '1', true)"))
                gone = "SELECT FROM pg_stat_activity WHERE pid = %s"
                until_rows(addresses.admin, gone, [], pid)
                tx.execute(USE)
        assert raised.value.outcome == "not applied"
        assert tenant.execute(USE) == 1


# Calls that reached their timeout


@direct_only
@APIS
@pytest.mark.torture
def test_a_call_that_was_given_up_ends_on_the_server_too(api: str, acme: None, addresses: Addresses) -> None:
    slow = [ask("SELECT pg_sleep(0.4)")] * 200
    calls = 5
    with opened(api, addresses.service, max_size=2, timeout=0.2, statement_timeout=0.5) as (execute, _):
        for _ in range(calls):
            with pytest.raises(ConnectionLostError, match=r"did not answer within 0\.7"):
                execute(USE, *slow)
        # Without the cancel request each query runs for 80 seconds.
        until_rows(addresses.admin, f"SELECT count(*) {BACKENDS} AND state = 'active'", [(0,)])
        assert rows(addresses.admin, f"SELECT count(*) <= 2 {BACKENDS}") == [(True,)]
        uses = execute(USE)
    until_rows(addresses.admin, f"SELECT count(*) {BACKENDS}", [(0,)])
    record(
        f"Calls that reached their timeout also end on the server ({api})",
        tested="calls of 80 seconds reach their timeout after 0.7 seconds; the service's sessions are counted",
        ablation="no cancel request is sent",
        figures={"calls": calls},
        losses=uses - 1,
    )


# Connections that were lost while they were idle


@direct_only
@APIS
@pytest.mark.torture
def test_no_call_fails_after_the_server_was_restarted(api: str, folder: Path) -> None:
    server = embedded.start(folder)
    fill(server)
    failed = 0
    with opened(api, server.service_dsn, min_size=4, max_size=4) as (execute, pool):
        until(lambda: pool.get_stats()["pool_available"] == 4)
        embedded.stop(folder)
        embedded.start(folder)
        for number in range(8):
            try:
                assert execute(USE) == number + 1
            except DatabaseUnavailableError:
                failed += 1
    record(
        f"No call fails after a restart of the server ({api})",
        tested="the server is restarted under a pool of four idle connections; eight calls follow",
        ablation="an idle connection is not checked before use",
        figures={"calls": 8},
        losses=failed,
    )


@direct_only
@APIS
@pytest.mark.torture
def test_a_connection_that_was_dropped_silently_is_replaced_before_it_is_used(
    api: str, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    with opened(api, through(wire, addresses.service), max_size=1, timeout=1) as (execute, pool):
        pid = execute(PID)
        (conn,) = pool._pool
        conn.session.used_at -= 3600
        wire.faults = [Fault("request", 0, "stall")]
        uses, other = execute(USE, PID)
    record(
        f"No call fails because the network dropped an idle connection ({api})",
        tested="a connection has been idle for an hour by a faked clock and then gets no answers; a use follows",
        ablation="a connection that was idle for long is not checked",
        figures={"calls": 1},
        losses=int(uses != 1 or other == pid),
    )


@direct_only
@APIS
def test_a_busy_connection_is_used_without_another_round_trip(
    api: str, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    with opened(api, through(wire, addresses.service), max_size=1) as (execute, pool):
        execute(READ)
        before = wire.round_trips
        execute(READ)
        assert wire.round_trips == before + 1
        (conn,) = pool._pool
        conn.session.used_at -= 3600
        execute(READ)
        assert wire.round_trips == before + 3


# A server that has become read-only


@direct_only
@APIS
@pytest.mark.torture
def test_a_connection_to_a_read_only_server_is_replaced(api: str, acme: None, addresses: Addresses) -> None:
    """After a failover the DSN leads to another server. In this test it still leads to the same one."""
    with opened(api, addresses.service, max_size=1) as (execute, _):
        pids = set()
        for _ in range(3):
            pids.add(execute(PID))
            with pytest.raises(ReadOnlyError):
                execute(failing("25006"))
        uses = execute(USE)
    record(
        f"A pool does not keep connections to a read-only server ({api})",
        tested="three calls are refused with 25006; each time the next call has another server session",
        ablation="a connection is kept after 25006",
        figures={"refusals": 3},
        losses=3 - len(pids) + (uses - 1),
    )


# Opening


@pytest.fixture
def silent() -> Iterator[tuple[str, list[socket.socket]]]:
    """The address of a server that accepts connections and says nothing, and those that it has accepted."""
    accepted: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted.append(listening.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = started(accept)
        host, port = listening.getsockname()
        try:
            yield f"host={host} port={port} dbname=skilldb user=skilldb_service sslmode=disable", accepted
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            ended(thread)
            for each in accepted:
                each.close()


def test_callers_share_one_attempt_to_open(silent: tuple[str, list[socket.socket]]) -> None:
    dsn, accepted = silent
    database = skilldb.connect(dsn, timeout=2)
    barrier = threading.Barrier(5)

    def call(_: int) -> SkilldbError | None:
        barrier.wait(timeout=30)
        try:
            database.tenant("acme").execute(READ)
        except SkilldbError as error:
            return error
        return None

    with ThreadPoolExecutor(5) as threads:
        errors = list(threads.map(call, range(5)))
    assert [type(error) for error in errors] == [ConnectionLostError] * 5
    assert len(accepted) == 1


def test_tasks_share_one_attempt_to_open(silent: tuple[str, list[socket.socket]]) -> None:
    dsn, accepted = silent

    async def run() -> list[Any]:
        tenant = skilldb.connect_async(dsn, timeout=2).tenant("acme")
        return await asyncio.gather(*(tenant.execute(READ) for _ in range(5)), return_exceptions=True)

    assert [type(error) for error in asyncio.run(run())] == [ConnectionLostError] * 5
    assert len(accepted) == 1


def test_close_does_not_wait_for_an_attempt_to_open(silent: tuple[str, list[socket.socket]]) -> None:
    dsn, accepted = silent
    database = skilldb.connect(dsn, timeout=2)
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(database.open)
        until(lambda: len(accepted) == 1)
        database.close()
        assert not opening.done()
        assert isinstance(opening.exception(timeout=60), SkilldbError)
    with pytest.raises(DatabaseClosedError):
        database.open()


@APIS
def test_a_database_that_is_closed_while_it_is_opened_stays_closed(
    api: str, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    begun, going_on = threading.Event(), threading.Event()

    def pause() -> None:
        begun.set()
        assert going_on.wait(30)

    wire.when_stalled = pause
    wire.faults = [Fault("answer", 0, "delay")]
    dsn = through(wire, addresses.service)
    with ThreadPoolExecutor(1) as threads:
        if api == "blocking":
            database = skilldb.connect(dsn)
            opening = threads.submit(database.open)
            assert begun.wait(30)
            database.close()
            going_on.set()
        else:

            async def run() -> None:
                opened = skilldb.connect_async(dsn)
                task = asyncio.create_task(opened.open())
                assert await asyncio.to_thread(begun.wait, 30)
                await opened.close()
                going_on.set()
                await task

            opening = threads.submit(asyncio.run, run())
        assert isinstance(opening.exception(timeout=60), DatabaseClosedError)
    until_rows(addresses.admin, f"SELECT count(*) {BACKENDS}", [(0,)])


@APIS
def test_an_outage_after_a_refused_role_is_told_as_an_outage(api: str, folder: Path) -> None:
    server = embedded.start(folder)
    fill(server)
    with opened(api, server.service_dsn, max_size=1, timeout=1) as (execute, _):
        with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
            admin.execute("ALTER ROLE skilldb_service BYPASSRLS")
            admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE 'skilldb%'")
            with pytest.raises(UnsafeRoleError):
                execute(READ)
            admin.execute("ALTER ROLE skilldb_service NOBYPASSRLS")
        embedded.stop(folder)
        until(lambda: isinstance(refusal(execute), ServerUnavailableError))


def refusal(execute: Any) -> SkilldbError | None:
    try:
        execute(READ)
    except SkilldbError as error:
        return error
    return None
