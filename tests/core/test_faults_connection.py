"""Tests connections that fail: the server ends them, or the network cuts, stalls or slows them."""

from __future__ import annotations

import contextlib
import random
from time import monotonic
from typing import Any

import pytest

import skilldb
from skilldb import connection
from skilldb.errors import DatabaseUnavailableError
from skilldb.models import NewUsageEvent
from skilldb.repositories import metrics, skills, tenants, usage
from skilldb.statement import Statement
from tests.support.api import APIS, new_skill
from tests.support.database import rows
from tests.support.ledger import Execute, ledgers, losses, not_put_back, opened, writing
from tests.support.proxy import Fault, Proxy, through
from tests.support.reliability import record, size
from tests.support.server import Addresses, direct_only

pytestmark = pytest.mark.torture
READ = skills.get_skill("s1")
USE = metrics.increment_skill_uses("s1")


@pytest.fixture
def acme(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        for tenant in ("acme", "globex"):
            database.tenant(tenant).execute(tenants.create_tenant(tenant.title(), tenant))
        new_skill(database.tenant("acme"), "s1")


def event(number: int) -> Statement[bool]:
    return usage.record_usage_event(NewUsageEvent(id=f"{number:032x}", tool_name="t", skill_id="s1"))


def uses(addresses: Addresses) -> Any:
    """The counter, and the number of events."""
    return rows(
        addresses.admin, "SELECT total_uses, (SELECT count(*) FROM usage_events)::integer FROM skills WHERE id = 's1'"
    )[0]


# The service's sessions in this database.
BACKENDS = "FROM pg_stat_activity WHERE usename = 'skilldb_service' AND datname = current_database()"


FAULTS = [
    Fault(of, share, then)  # type: ignore[arg-type]
    for of, shares in (("request", (0, 0.5)), ("answer", (0, 0.5, 1)))
    for share in shares
    for then in ("cut", "stall", "delay", "crawl")
    if not (share == 1 and then != "cut")
]


@APIS
@direct_only
def test_whatever_the_network_does_a_use_is_counted_once_and_the_pool_stays_whole(
    api: str, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    number = wrong = leaks = 0
    dice = random.Random(1)
    with opened(api, through(wire, addresses.service), max_size=1, timeout=0.5, statement_timeout=0.5) as (
        execute,
        pool,
    ):
        for _ in range(size(1, 20)):
            for fault in dice.sample(FAULTS, len(FAULTS)):
                number += 1
                execute(READ)
                wire.faults = [fault]
                failed = False
                try:
                    recorded = execute(READ, event(number), READ)[1]
                except DatabaseUnavailableError as error:
                    failed = True
                    silent = "did not answer within" in str(error)
                    wrong += silent != (fault.then == "stall")
                else:
                    wrong += recorded is not True
                if fault.share < 1:
                    wrong += failed == (fault.then in ("delay", "crawl"))
                else:  # The connection is lost after the answer, so the next caller gets the error.
                    with contextlib.suppress(DatabaseUnavailableError):
                        execute(READ)
                again = execute(event(number))
                wrong += again != (fault.of == "request" and failed)
                wrong += uses(addresses) != (number, number)
                leaks += len(not_put_back(pool))
    record(
        f"Whatever fault the network has, nothing is lost and nothing is counted twice ({api})",
        tested="a proxy cuts, stalls, delays or slows the connection before, within and after request and answer; "
        "uses are retried",
        ablation="uses are retried without their ids; the wait for an answer has no limit, ten times the limit, or a "
        "limit of zero",
        figures={"faults": number},
        losses=wrong,
        leaks=leaks,
    )


@direct_only
def test_a_use_tried_again_without_its_id_is_found_out(acme: None, addresses: Addresses, wire: Proxy) -> None:
    statement = usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1"))
    with opened("blocking", through(wire, addresses.service), max_size=1) as (execute, _):
        wire.faults = [Fault("answer", 0, "cut")]
        with pytest.raises(DatabaseUnavailableError):
            execute(statement)
        execute(statement)
    assert uses(addresses) == (2, 2)


@APIS
@direct_only
@pytest.mark.parametrize("bound", [True, False])
def test_a_silent_server_is_given_up_after_the_timeouts_of_the_caller(
    api: str, bound: bool, acme: None, addresses: Addresses, wire: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not bound:
        monkeypatch.setattr(connection, "refuse_late", lambda conn, limit: None)
        wire.wait_timeout = 1
    with opened(api, through(wire, addresses.service), max_size=1, timeout=0.2, statement_timeout=0.3) as (execute, _):
        wire.faults = [Fault("answer", 0, "stall")]
        with pytest.raises(DatabaseUnavailableError) as raised:
            execute(READ)
        assert ("did not answer within 0.5 seconds" in str(raised.value)) == bound
        assert execute(READ).id == "s1"


@APIS
@direct_only
@pytest.mark.parametrize(("then", "passed"), [("stall", 201), ("trickle", 201), ("delay", 199)])
def test_an_answer_is_waited_for_as_long_as_the_timeouts_say_and_no_longer(
    api: str, then: Any, passed: int, acme: None, addresses: Addresses, wire: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two timeouts are 200 seconds together. A faked clock advances while the proxy holds the answer back."""
    begun = monotonic()
    clock = [begun]
    monkeypatch.setattr(connection, "monotonic", lambda: clock[0])
    wire.when_stalled = lambda: clock.__setitem__(0, begun + passed)
    with opened(api, through(wire, addresses.service), max_size=1, timeout=150, statement_timeout=50) as (execute, _):
        wire.faults = [Fault("answer", 0, then)]
        if then == "delay":
            assert execute(READ).id == "s1"
        else:
            with pytest.raises(DatabaseUnavailableError, match="did not answer within 200 seconds"):
                execute(READ)
        clock[0] = begun
        assert execute(READ).id == "s1"
    if then == "trickle":
        record(
            f"A call ends in its time although the answer trickles in ({api})",
            tested="a proxy passes the answer byte by byte; a faked clock passes the two timeouts",
            ablation="a clock that is read only while nothing comes",
            figures={"calls": 1},
        )


@direct_only
@pytest.mark.parametrize("then", ["cut", "stall"])
@pytest.mark.parametrize("of", ["request", "answer"])
@pytest.mark.parametrize("trip", [0, 1, 2])
def test_a_transaction_that_the_network_ends_is_wholly_there_or_not_at_all(
    trip: int, of: Any, then: Any, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    dsn = through(wire, addresses.service)
    with skilldb.connect(dsn, max_size=1, timeout=0.3, statement_timeout=0.3) as database:
        tenant = database.tenant("acme")
        wire.faults = [*[None] * trip, Fault(of, 0.5 if of == "request" else 0, then)]
        with pytest.raises(DatabaseUnavailableError), tenant.transaction() as tx:  # noqa: PT012
            tx.execute(event(1))
            tx.execute(event(2))
        assert database.tenant("globex").execute(READ) is None
        assert uses(addresses) in ([(2, 2)] if (trip, of) == (2, "answer") else [(0, 0)])
        assert tenant.execute(event(3)) is True


@direct_only
@APIS
@pytest.mark.parametrize("then", ["cut", "stall"])
def test_a_server_that_falls_silent_while_it_is_opened_is_unavailable(
    api: str, then: Any, acme: None, addresses: Addresses, wire: Proxy
) -> None:
    wire.faults = [Fault("answer", 0.5, then)]
    with (
        pytest.raises(DatabaseUnavailableError),
        opened(api, through(wire, addresses.service), timeout=0.3, statement_timeout=0.3),
    ):
        pass


@APIS
def test_backends_terminated_at_random_lose_nothing(api: str, addresses: Addresses) -> None:
    lost, leaks, figures = run_with_terminations(addresses, api, size(25, 250))
    record(
        f"A lost connection loses no acknowledged write ({api})",
        tested="pg_terminate_backend ends random connections of 8 writers; they retry uses with the same ids until "
        "acknowledged",
        ablation="a failed write is counted as done",
        figures=figures,
        losses=len(lost),
        leaks=len(leaks),
    )


def test_a_failed_write_that_is_taken_for_done_is_found_out(addresses: Addresses) -> None:
    def careless(execute: Execute) -> Execute:
        def execute_and_hope(*statements: Statement[Any]) -> Any:
            with contextlib.suppress(DatabaseUnavailableError):
                return execute(*statements)

        return execute_and_hope

    lost, _, _ = run_with_terminations(addresses, "blocking", 25, careless)
    assert lost != []


def run_with_terminations(
    addresses: Addresses, api: str, number: int, spoilt: Any = lambda execute: execute
) -> tuple[list[str], list[Any], dict[str, Any]]:
    """End connections of writers so often. Returns the losses, the leaks and the figures."""
    books = ledgers(addresses.service, number)
    dice = random.Random(number)
    ended = 0
    with opened(api, addresses.service, max_size=4, timeout=5) as (execute, pool):
        with writing(spoilt(execute), books) as more:
            deadline = monotonic() + 240
            while ended < number:
                assert monotonic() < deadline, f"only {ended} connections were ended"
                more(dice.randrange(12))
                if pids := rows(addresses.admin, f"SELECT pid {BACKENDS}"):
                    ended += rows(addresses.admin, "SELECT pg_terminate_backend(%s)", *dice.choice(pids)) == [(True,)]
            more(20)
        lost = losses(addresses.admin, execute, books)
        open_still = rows(addresses.admin, f"SELECT pid {BACKENDS} AND state LIKE 'idle in%%'")
        execute(*[READ] * 2)
        leaks = [*open_still, *not_put_back(pool)]
    return (
        lost,
        leaks,
        {
            "connections ended": ended,
            "writes acknowledged": sum(book.answers for book in books),
            "calls refused": sum(book.refusals for book in books),
        },
    )
