"""Tests the core on both APIs: a call is all or nothing, errors are clear, and the pool stays whole."""

# ruff: noqa: PT012 - what raises is the whole block of a transaction

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import socket
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import skilldb
from skilldb.errors import (
    AlreadyExistsError,
    DatabaseUnavailableError,
    InvalidValueError,
    NotFoundError,
    PermissionDeniedError,
    SchemaMismatchError,
    SkilldbError,
    TenantRequiredError,
)
from skilldb.models import NewSkill, NewUsageEvent
from skilldb.repositories import metrics, ratings, skills, tenants, usage, users, views
from skilldb.settings import settings as make_settings
from skilldb.statement import Statement
from tests.support.api import Api, ask, new_skill, new_user
from tests.support.database import locked, rows, until
from tests.support.server import Addresses, direct_only
from tests.support.waits import ended, started

T = TypeVar("T")
PASSWORD = "geheim"


@dataclasses.dataclass(frozen=True)
class Client:
    """The tenant acme of a database that the test opens itself, blocking or async."""

    execute: Callable[..., Any]
    transaction: Callable[[], AbstractContextManager[Any]]


@pytest.fixture(params=["blocking", "async"])
def client(request: pytest.FixtureRequest, addresses: Addresses) -> Iterator[Callable[..., Client]]:
    """A function from the arguments of connect() to a Client, whose tenant has the user u1 and the skill s1."""
    with skilldb.connect(addresses.service, max_size=1) as database:
        acme = database.tenant("acme")
        acme.execute(tenants.create_tenant("Acme", "acme"))
        new_user(acme, "u1")
        new_skill(acme, "s1")
    with ExitStack() as stack:
        if request.param == "blocking":

            def connect(dsn: str = addresses.service, **settings: Any) -> Client:
                tenant = stack.enter_context(skilldb.connect(dsn, **settings)).tenant("acme")
                return Client(tenant.execute, tenant.transaction)

            yield connect
        else:
            runner = stack.enter_context(asyncio.Runner())

            def run(awaitable: Awaitable[T]) -> T:
                async def awaited() -> T:
                    return await awaitable

                return runner.run(awaited())

            def connect_async(dsn: str = addresses.service, **settings: Any) -> Client:
                database = skilldb.connect_async(dsn, **settings)
                run(database.open())
                stack.callback(lambda: run(database.close()))
                tenant = database.tenant("acme")

                @contextmanager
                def transaction() -> Iterator[Client]:
                    opened = tenant.transaction()
                    tx = run(opened.__aenter__())
                    try:
                        yield Client(lambda *statements: run(tx.execute(*statements)), transaction)
                    except BaseException as error:
                        run(opened.__aexit__(type(error), error, error.__traceback__))
                        raise
                    run(opened.__aexit__(None, None, None))

                return Client(lambda *statements: run(tenant.execute(*statements)), transaction)

            yield connect_async


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the user u1 and the skill s1."""
    tenant = api("acme")
    new_user(tenant, "u1")
    new_skill(tenant, "s1")
    return tenant


PID = ask("SELECT pg_backend_pid()")
USE = metrics.increment_skill_uses("s1")
SLEEP = ask("SELECT pg_sleep(60)")
DIVISION = ask("SELECT 1 / %(by)s::integer", by=0)
SKILL = NewSkill(id="s1", name="S", slug="s1", description="S", category="testing")


def uses(addresses: Addresses) -> Any:
    """The skill's counter."""
    return rows(addresses.admin, "SELECT total_uses FROM skills WHERE id = 's1'")[0][0]


def lock_is_awaited(addresses: Addresses) -> bool:
    waits = "SELECT FROM pg_stat_activity WHERE usename = 'skilldb_service' AND wait_event_type = 'Lock'"
    return bool(rows(addresses.admin, waits))


# Results


def test_results_come_in_the_order_of_the_statements(acme: Api) -> None:
    results = acme.execute(USE, skills.get_skill("none"), USE, users.get_user("u1"), ask("SELECT 'last'"))
    assert type(results) is tuple
    first, none, second, user, last = results
    assert (first, none, second, user.id, last) == (1, None, 2, "u1", "last")


def test_a_statement_sees_what_those_before_it_wrote(acme: Api) -> None:
    _, skill = acme.execute(USE, skills.get_skill("s1"))
    assert skill.total_uses == 1


def test_without_statements_there_are_no_results(acme: Api) -> None:
    assert acme.execute() == ()


def test_a_statement_is_a_value_that_can_run_any_number_of_times(acme: Api) -> None:
    assert [acme.execute(USE) for _ in range(3)] == [1, 2, 3]
    assert acme.execute(USE, USE) == (4, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        USE.steps = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        USE.steps[0] = USE.steps[0]  # type: ignore[index]


# All or nothing

FAILURES = [
    pytest.param(ratings.rate_skill("u1", "s1", 6), InvalidValueError, "rating 6", id="check"),
    pytest.param(users.create_user("u1@example.com"), AlreadyExistsError, "email 'u1@example.com'", id="unique"),
    pytest.param(views.record_skill_view("none", "s1", 1), NotFoundError, "user 'none'", id="foreign key"),
    pytest.param(metrics.increment_skill_uses("none"), NotFoundError, "skill 'none'", id="raised in an expression"),
    pytest.param(metrics.repair_metrics("none"), NotFoundError, "skill 'none'", id="raised by a first step"),
    pytest.param(ask("SELECT 2147483647 + 1 AS more"), InvalidValueError, "out of range", id="overflow"),
    pytest.param(tenants.create_tenant("X", "x", id="other"), PermissionDeniedError, "tenants", id="policy"),
    pytest.param(ask("SELECT nothing"), SchemaMismatchError, "nothing", id="refused by the parser"),
    pytest.param(DIVISION, InvalidValueError, "division by zero", id="evaluation"),
]


@pytest.mark.parametrize(("failing", "error", "named"), FAILURES)
def test_a_failure_is_one_clear_error_and_nothing_is_written(
    failing: Statement[Any],
    error: type[SkilldbError],
    named: str,
    acme: Api,
    addresses: Addresses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pid = acme.execute(PID)
    caplog.set_level(logging.DEBUG)
    create = users.create_user("new@example.com", id="new")
    for statements in ((failing, USE, create), (USE, failing, create), (USE, create, failing)):
        caplog.clear()
        with pytest.raises(SkilldbError) as raised:
            acme.execute(*statements)

        assert type(raised.value) is error
        assert named in str(raised.value)
        assert isinstance(raised.value.__cause__, psycopg.Error)
        assert [record for record in caplog.records if record.levelno > logging.INFO] == []
        assert {record.name for record in caplog.records} <= {"psycopg.pool", "asyncio"}
        assert uses(addresses) == 0
        assert acme.execute(users.get_user("new"), PID) == (None, pid)


def test_a_refusal_that_arrives_while_later_steps_are_still_sent_is_one_clear_error(
    acme: Api, addresses: Addresses, caplog: pytest.LogCaptureFixture
) -> None:
    pid = acme.execute(PID)
    caplog.set_level(logging.INFO)
    long = skills.update_skill("s1", {"description": "x" * 4_000_000})
    with pytest.raises(NotFoundError, match="skill 'none' does not exist"):
        acme.execute(USE, metrics.increment_skill_uses("none"), long, long, long)
    assert caplog.records == []
    assert uses(addresses) == 0
    assert acme.execute(PID) == pid


def test_a_value_refused_while_a_statement_is_built_sends_nothing(acme: Api, addresses: Addresses) -> None:
    with pytest.raises(InvalidValueError, match=r"^skill_id must not contain a NUL byte"):
        acme.execute(USE, metrics.increment_skill_uses("s\0"))
    assert uses(addresses) == 0


class Zone(tzinfo):
    """A time zone that calls a function when psycopg reads it, which happens when it sends a time in this zone."""

    when_read: Callable[[], None] = staticmethod(lambda: None)

    def utcoffset(self, time: datetime | None) -> timedelta:
        self.when_read()
        return timedelta(0)

    def dst(self, time: datetime | None) -> None:
        return None

    def tzname(self, time: datetime | None) -> str:
        return "UTC"


def use_that(when_sent: Callable[[], None]) -> Statement[bool]:
    """A usage event that calls the test's function while its parameters are sent."""
    zone = Zone()
    statement = usage.record_usage_event(
        NewUsageEvent(tool_name="t", skill_id="s1", created_at=datetime(2026, 5, 5, tzinfo=zone))
    )
    zone.when_read = when_sent
    return statement


@pytest.mark.parametrize("error", [psycopg.DataError("no"), ValueError("no"), KeyboardInterrupt(), SystemExit()])
def test_an_interruption_while_steps_are_queued_writes_nothing(
    error: BaseException, client: Callable[..., Client], addresses: Addresses
) -> None:
    acme = client(max_size=1)
    expected = SkilldbError if isinstance(error, psycopg.Error) else type(error)

    def interrupt() -> None:
        raise error

    with pytest.raises(expected):
        acme.execute(USE, use_that(interrupt), USE)
    with pytest.raises(expected), acme.transaction() as tx:
        tx.execute(USE)
        tx.execute(USE, use_that(interrupt), USE)

    assert uses(addresses) == 0
    assert acme.execute(USE) == 1
    with acme.transaction() as tx:
        assert tx.execute(USE) == 2
    assert uses(addresses) == 2


NAMED: list[tuple[tuple[Statement[Any], ...], str]] = [
    ((ratings.rate_skill("u1", "s1", 5), ratings.rate_skill("u1", "s1", 6)), "rating 6 is not"),
    ((ratings.rate_skill("u1", "s1", 7), ratings.rate_skill("u1", "s1", 6)), "rating 7 is not"),
    ((users.create_user("a@x"), users.create_user("b@x"), users.create_user("a@x")), "email 'a@x' is"),
    ((users.create_user("a@x", id="1"), users.create_user("b@x", id="1")), "id '1' is already taken"),
    ((views.record_skill_view("u1", "s1", 1), views.record_skill_view("u1", "s2", 1)), "skill 's2' does"),
    ((views.record_skill_view("u1", "s1", -2), views.record_skill_view("u1", "s2", 1)), "last_viewed_version"),
    ((skills.get_skill("s1"), metrics.increment_skill_uses("s8"), metrics.repair_metrics("s9")), "skill 's8'"),
]


def test_the_value_named_is_that_of_the_statement_that_failed(acme: Api) -> None:
    for _ in range(8):  # From here on the queries are prepared.
        for statements, message in NAMED:
            with pytest.raises(SkilldbError, match=message):
                acme.execute(*statements)


def test_a_query_to_be_prepared_behind_a_failure_works_afterwards(acme: Api) -> None:
    looks = [views.get_user_view("u1", "s1"), views.get_user_views_for_skills("u1", ["s1"])]
    for _ in range(5):
        assert acme.execute(*looks) == (None, {})
    # psycopg would now prepare them, but the server skips everything after the failed step.
    with pytest.raises(NotFoundError):
        acme.execute(metrics.increment_skill_uses("none"), *looks)
    for _ in range(8):
        assert acme.execute(*looks) == (None, {})


@pytest.mark.parametrize(
    "prepare_threshold", [pytest.param(1, marks=direct_only), pytest.param(2, marks=direct_only), None]
)
def test_queries_work_before_and_after_failures_whenever_they_are_prepared(
    prepare_threshold: int | None, client: Callable[..., Client]
) -> None:
    acme = client(max_size=1, prepare_threshold=prepare_threshold)
    for number in range(1, 5):
        with pytest.raises(NotFoundError):
            acme.execute(USE, metrics.increment_skill_uses("none"), skills.get_skill("s1"))
        assert acme.execute(USE, skills.get_skill("s1"))[0] == 2 * number - 1
        assert acme.execute(USE, skills.get_skill("s1"))[0] == 2 * number


@direct_only
def test_statements_that_the_server_has_forgotten_fail_one_call_and_no_other(
    client: Callable[..., Client],
) -> None:
    acme = client(max_size=1, prepare_threshold=1)
    forget = ask("DEALLOCATE ALL")
    for _ in range(3):
        acme.execute(USE, skills.get_skill("s1"))
    acme.execute(forget)
    with pytest.raises(SkilldbError, match="does not exist"):
        acme.execute(USE, skills.get_skill("s1"))
    assert [acme.execute(USE, skills.get_skill("s1"))[0] for _ in range(3)] == [4, 5, 6]


def test_the_setting_and_the_locks_end_with_a_failure(acme: Api, addresses: Addresses) -> None:
    with pytest.raises(NotFoundError):
        acme.execute(metrics.update_skill_rating("s1"), metrics.increment_skill_uses("none"))
    with psycopg.connect(addresses.admin) as conn:
        conn.execute("SELECT 1 FROM skills FOR UPDATE NOWAIT")
    idle = rows(addresses.admin, "SELECT DISTINCT state FROM pg_stat_activity WHERE usename = 'skilldb_service'")
    assert idle == [("idle",)]


# Transactions


def test_a_transaction_commits_at_its_end(client: Callable[..., Client], addresses: Addresses) -> None:
    acme = client(max_size=1)
    with acme.transaction() as tx:
        assert tx.execute(USE) == 1
        assert tx.execute(USE, skills.get_skill("none")) == (2, None)
        assert uses(addresses) == 0
    assert uses(addresses) == 2
    assert acme.execute(USE) == 3


def test_an_exception_rolls_a_transaction_back(client: Callable[..., Client], addresses: Addresses) -> None:
    acme = client(max_size=1)
    with pytest.raises(RuntimeError, match="of the caller"), acme.transaction() as tx:
        tx.execute(USE)
        raise RuntimeError("of the caller")
    assert uses(addresses) == 0
    assert acme.execute(USE) == 1


def test_an_error_caught_in_a_transaction_is_raised_at_its_end(
    client: Callable[..., Client], addresses: Addresses
) -> None:
    acme = client(max_size=1)
    with pytest.raises(NotFoundError, match="skill 'none'") as raised, acme.transaction() as tx:
        tx.execute(USE)
        with pytest.raises(NotFoundError) as first:
            tx.execute(metrics.increment_skill_uses("none"))
        with pytest.raises(NotFoundError) as second:
            tx.execute(USE)
        assert second.value is first.value
    assert raised.value is first.value
    assert uses(addresses) == 0
    assert acme.execute(USE) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_transaction_cannot_be_used_once_it_has_ended(
    fails: bool, client: Callable[..., Client], addresses: Addresses
) -> None:
    acme = client(max_size=1)
    try:
        with acme.transaction() as tx:
            tx.execute(USE)
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    with pytest.raises(SkilldbError, match="the transaction has ended"):
        tx.execute(USE)
    assert uses(addresses) == (0 if fails else 1)


def test_a_transaction_in_which_nothing_happened_leaves_nothing(client: Callable[..., Client]) -> None:
    acme = client(max_size=1)
    with acme.transaction() as tx:
        assert tx.execute() == ()
    assert acme.execute(USE) == 1


def test_a_transaction_sees_its_tenant_only_and_leaves_no_setting(client: Callable[..., Client]) -> None:
    acme = client(max_size=1)
    setting = ask("SELECT current_setting('app.current_tenant_id')")
    with acme.transaction() as tx:
        assert [tx.execute(setting) for _ in range(3)] == ["acme"] * 3
        pid = tx.execute(PID)
    assert acme.execute(setting, PID) == ("acme", pid)


# Causes of an unavailable database


def test_a_statement_that_takes_too_long_is_ended(client: Callable[..., Client], addresses: Addresses) -> None:
    acme = client(max_size=1, statement_timeout=0.1)
    pid = acme.execute(PID)
    with pytest.raises(DatabaseUnavailableError, match="statement_timeout") as raised:
        acme.execute(USE, SLEEP)
    assert isinstance(raised.value.__cause__, psycopg.errors.QueryCanceled)
    assert acme.execute(USE, PID) == (1, pid)


def test_a_wait_for_a_lock_that_takes_too_long_is_ended(client: Callable[..., Client], addresses: Addresses) -> None:
    acme = client(max_size=1, lock_timeout=0.2)
    with locked(addresses), pytest.raises(DatabaseUnavailableError, match="lock_timeout") as raised:
        acme.execute(users.create_user("new@example.com", id="new"), USE)
    assert isinstance(raised.value.__cause__, psycopg.errors.LockNotAvailable)
    assert acme.execute(users.get_user("new"), USE) == (None, 1)


def test_a_pool_that_stays_exhausted_is_an_error(client: Callable[..., Client]) -> None:
    acme = client(max_size=1, timeout=0.1)
    with acme.transaction() as tx:
        tx.execute(USE)
        with pytest.raises(DatabaseUnavailableError) as raised:
            acme.execute(USE)
        assert isinstance(raised.value.__cause__, psycopg.Error)
    assert acme.execute(USE) == 2


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_wrong_address_is_an_error(client: Callable[..., Client], addresses: Addresses) -> None:
    wrong = [
        make_conninfo(host="127.0.0.1", port=free_port(), user="skilldb_service", dbname="none"),
        make_conninfo(addresses.service, host="/nowhere"),
        make_conninfo(addresses.service, dbname="none"),
        make_conninfo(addresses.service, user="none"),
    ]
    for dsn in wrong:
        with pytest.raises(DatabaseUnavailableError) as raised:
            client(dsn, timeout=2)
        assert isinstance(raised.value.__cause__, psycopg.Error)


def test_without_an_address_there_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKILLDB_DSN", raising=False)
    for connect in (skilldb.connect, skilldb.connect_async):
        with pytest.raises(DatabaseUnavailableError, match="SKILLDB_DSN"):
            connect()


def test_the_environment_names_the_address_where_the_caller_does_not(
    client: Callable[..., Client], addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)
    assert client("").execute(USE) == 1


@direct_only
def test_a_backend_that_was_terminated_is_replaced_before_the_next_call(
    client: Callable[..., Client], addresses: Addresses
) -> None:
    acme = client(max_size=1)
    (pid,) = {acme.execute(PID)}
    terminate(addresses, pid)
    used, new_pid = acme.execute(USE, PID)
    assert (used, new_pid != pid) == (1, True)


def test_a_backend_that_is_terminated_during_a_transaction_commits_nothing(
    client: Callable[..., Client], addresses: Addresses
) -> None:
    acme = client(max_size=1)
    with pytest.raises(DatabaseUnavailableError), acme.transaction() as tx:
        _, pid = tx.execute(USE, PID)
        terminate(addresses, pid)
    with pytest.raises(DatabaseUnavailableError), acme.transaction() as tx:
        _, pid = tx.execute(USE, PID)
        terminate(addresses, pid)
        tx.execute(USE)
    assert uses(addresses) == 0
    assert acme.execute(USE) == 1


def terminate(addresses: Addresses, pid: int) -> None:
    """End a server process and wait until it has ended."""
    assert rows(addresses.admin, "SELECT pg_terminate_backend(%s, 10000)", pid) == [(True,)]


# Interruptions while the server works


def test_an_interrupt_while_waiting_for_the_server_writes_nothing(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1) as database:
        acme = database.tenant("acme")
        acme.execute(tenants.create_tenant("Acme", "acme"))
        new_skill(acme, "s1")
        main = threading.get_ident()

        def interrupt() -> None:
            until(lambda: lock_is_awaited(addresses))
            signal.pthread_kill(main, signal.SIGINT)

        with locked(addresses):
            interrupter = started(interrupt)
            with pytest.raises(KeyboardInterrupt):
                acme.execute(users.create_user("new@example.com", id="new"), USE)
        ended(interrupter)
        assert acme.execute(users.get_user("new"), USE) == (None, 1)


@pytest.mark.parametrize("waits_for", ["the lock", "a connection"])
def test_a_cancelled_task_writes_nothing_and_keeps_no_connection(waits_for: str, addresses: Addresses) -> None:
    async def cancel() -> None:
        async with skilldb.connect_async(addresses.service, max_size=1) as database:
            acme = database.tenant("acme")
            await acme.execute(tenants.create_tenant("Acme", "acme"))
            await acme.execute(skills.create_skill(SKILL))
            with locked(addresses):
                waiting = [asyncio.create_task(acme.execute(users.create_user("new@x", id="new"), USE))]
                await asyncio.to_thread(until, lambda: lock_is_awaited(addresses))
                waiting.append(asyncio.create_task(acme.execute(USE)))
                await asyncio.sleep(0)
                cancelled = waiting.pop(0 if waits_for == "the lock" else 1)
                cancelled.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await cancelled
            await waiting[0]
            user, used = await acme.execute(users.get_user("new"), USE)
            assert (user is None, used) == (waits_for == "the lock", 2)

    asyncio.run(cancel())


def test_a_task_cancelled_while_it_queues_steps_writes_nothing(addresses: Addresses) -> None:
    def cancel_task() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def cancel() -> None:
        async with skilldb.connect_async(addresses.service, max_size=1) as database:
            acme = database.tenant("acme")
            await acme.execute(tenants.create_tenant("Acme", "acme"))
            await acme.execute(skills.create_skill(SKILL))
            long = skills.update_skill("s1", {"description": "x" * 4_000_000})
            task = asyncio.create_task(acme.execute(USE, use_that(cancel_task), long, long, USE))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await acme.execute(USE) == 1

    asyncio.run(cancel())


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, asyncio.CancelledError])
def test_a_failure_while_an_interrupt_is_handled_is_that_failure(interrupt: type[BaseException], acme: Api) -> None:
    pid = acme.execute(PID)
    try:
        raise interrupt
    except interrupt:
        with pytest.raises(NotFoundError):
            acme.execute(metrics.increment_skill_uses("none"))
    assert acme.execute(PID) == pid


# Handles and arguments


def test_a_tenant_id_is_required_before_anything_is_sent(db: skilldb.Database) -> None:
    not_open = skilldb.connect_async("host=/nowhere")
    missing: list[Any] = ["", None, "a\0b", "\0", 5, b"acme", "\ud800"]
    for tenant_id in missing:
        for database in (db, not_open):
            with pytest.raises(TenantRequiredError):
                database.tenant(tenant_id)


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_size": 2, "max_size": 1},
        {"min_size": -1},
        {"min_size": 0, "max_size": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"statement_timeout": -0.001},
        {"statement_timeout": 3_000_000},
        {"lock_timeout": -1},
        {"lock_timeout": float("nan")},
        {"prepare_threshold": 0},
        {"prepare_threshold": -1},
        {"application_name": "a\0b"},
        {"dsn": "no connection string"},
        {"dsn": "hots=/tmp"},
        {"dsn": "host=/tmp\0"},
        {"dsn": "postgresql://[::1/db"},
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(arguments: dict[str, Any]) -> None:
    for connect in (skilldb.connect, skilldb.connect_async):
        with pytest.raises(InvalidValueError):
            connect(**{"dsn": "host=/nowhere", **arguments})


@direct_only
def test_connections_name_themselves_and_keep_to_their_timeouts(
    client: Callable[..., Client], addresses: Addresses
) -> None:
    dsn = make_conninfo(addresses.service, options="-c work_mem=12MB -c DateStyle=SQL,DMY", client_encoding="UTF8")
    acme = client(dsn, application_name="the demo's", statement_timeout=1.5, lock_timeout=0)
    settings = ["application_name", "statement_timeout", "lock_timeout", "work_mem"]
    found = acme.execute(*(ask("SELECT current_setting(%(name)s)", name=name) for name in settings))
    assert found == ("the demo's", "1500ms", "0", "12MB")
    names = rows(
        addresses.admin, "SELECT DISTINCT application_name FROM pg_stat_activity WHERE usename = 'skilldb_service'"
    )
    assert names == [("the demo's",)]


def test_the_address_may_name_the_connections_too(client: Callable[..., Client], addresses: Addresses) -> None:
    name = ask("SELECT current_setting('application_name')")
    assert client().execute(name) == "skilldb"
    dsn = make_conninfo(addresses.service, application_name="of the address")
    assert client(dsn).execute(name) == "of the address"
    assert client(dsn, application_name="of the caller").execute(name) == "of the caller"


def test_timeouts_have_sane_defaults_and_no_small_one_is_none(client: Callable[..., Client]) -> None:
    timeouts = [ask("SELECT current_setting(%(name)s)", name=name) for name in ("statement_timeout", "lock_timeout")]
    assert client().execute(*timeouts) == ("30s", "10s")
    assert client(lock_timeout=0.0001).execute(*timeouts) == ("30s", "1ms")


@pytest.mark.parametrize(
    "dsn",
    [
        f"host=127.0.0.1 port=1 dbname=none user=u password={PASSWORD}",
        f"postgresql://u:{PASSWORD}@127.0.0.1:1/none",
        f"postgresql://u:{PASSWORD}@127.0.0.1:nonsense/none",
        f"postgresql://u:{PASSWORD}@[::1/none",
        f"postgresql://u:{PASSWORD}%zz@127.0.0.1:1/none",
        # libpq reads a password that is not percent-encoded as a port.
        f"postgresql://u:{PASSWORD}/more@127.0.0.1:1/none",
        f"host=127.0.0.1 password='{PASSWORD}",
        f"passwort={PASSWORD}",
    ],
)
def test_a_password_shows_in_no_error(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def open_async() -> None:
        await skilldb.connect_async(dsn, timeout=1).open()

    def open_blocking() -> None:
        skilldb.connect(dsn, timeout=1).open()

    for opened in (open_blocking, lambda: asyncio.run(open_async())):
        with pytest.raises(SkilldbError) as raised:
            opened()
        assert PASSWORD not in "".join(traceback.format_exception(raised.value))
        assert PASSWORD not in repr(raised.value)
    assert PASSWORD not in caplog.text


def test_a_password_shows_in_no_repr(addresses: Addresses) -> None:
    dsn = make_conninfo(addresses.service, password=PASSWORD)
    with skilldb.connect(dsn) as database:
        shown = [repr(database), repr(database.tenant("acme")), repr(skilldb.connect_async(dsn))]
    settings = make_settings(
        dsn,
        schema=None,
        min_size=1,
        max_size=1,
        timeout=1,
        statement_timeout=1,
        lock_timeout=1,
        application_name="skilldb",
        prepare_threshold=None,
    )
    assert PASSWORD not in "".join([*shown, repr(settings)])


@direct_only
def test_after_a_cancelled_wait_every_query_can_be_prepared(addresses: Addresses, acme: Api) -> None:
    """The step after the waiting one is due for preparation. The server skips that after the cancel."""

    async def cancel_and_call() -> Any:
        async with skilldb.connect_async(addresses.service, max_size=1, prepare_threshold=2) as opened:
            tenant = opened.tenant(acme.id)
            for _ in range(2):
                await tenant.execute(users.get_user("u1"))
            waiting = asyncio.create_task(tenant.execute(metrics.increment_skill_uses("s1"), users.get_user("u1")))
            await asyncio.to_thread(until, lambda: lock_is_awaited(addresses))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            return [await tenant.execute(users.get_user("u1")) for _ in range(3)]

    with locked(addresses):
        found = asyncio.run(cancel_and_call())
    assert [user.id for user in found] == ["u1"] * 3
