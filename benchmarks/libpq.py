"""The three calls that only count: skilldb against bare libpq calls from Python, with the same SQL and settings."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from uuid import UUID

from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, ExecStatus, PGconn

import skilldb
from benchmarks.data import SKILLS, SMALL, USERS
from benchmarks.harness import Bench, Check, Spread, Table, Topic, address, at_most, interleaved, ratio, say, spread
from skilldb.models import NewUsageEvent
from skilldb.query import Query
from skilldb.repositories import metrics, usage, views
from skilldb.statement import Statement

ROUNDS = 25

# Each call: the statement of skilldb, and the values of its parameters as the protocol has them. Both begin with the
# ids of a user and a skill, and a new id for an event.
CALLS: Mapping[str, tuple[Callable[..., Statement[Any]], Callable[..., dict[str, bytes | None]]]] = {
    "increment_skill_uses": (
        lambda user, skill, id: metrics.increment_skill_uses(skill),
        lambda user, skill, id: {"skill_id": skill.encode(), "by": b"1"},
    ),
    "record_skill_view": (
        lambda user, skill, id: views.record_skill_view(user, skill, 3),
        lambda user, skill, id: {"user_id": user.encode(), "skill_id": skill.encode(), "current_version": b"3"},
    ),
    "record_usage_event": (
        lambda user, skill, id: usage.record_usage_event(
            NewUsageEvent(tool_name="editor", skill_id=skill, user_id=user, id=id)
        ),
        lambda user, skill, id: {
            "id": id.encode(),
            "tool_name": b"editor",
            "skill_id": skill.encode(),
            "user_id": user.encode(),
            "metadata": None,
            "created_at": None,
        },
    ),
}
CLIENTS = ("libpq", "skilldb", "libpq in a loop", "skilldb async")
TARGETS = [("skilldb", "libpq", 1.25), ("skilldb async", "libpq in a loop", 1.5)]
SHOWN = [("skilldb", "libpq"), ("skilldb async", "libpq in a loop"), ("skilldb async", "libpq")]

Times = Mapping[str, Mapping[str, list[float]]]


def run(bench: Bench) -> Topic:
    """Measure with synchronous_commit off and on."""
    times = {commit: measure(bench, commit) for commit in ("off", "on")}
    return Topic(
        "Against bare libpq calls",
        "One connection over a Unix socket. The peer calls libpq from Python (psycopg.pq). It sends the same settings "
        "and steps in one pipeline of prepared statements, waits with poll(), and reads one value. It has no pool, no "
        "timeouts, no cancellation and no recovery. The async API is held against the same calls that wait in "
        "asyncio's loop with add_reader(): no async client can avoid that. The last rows compare it with the "
        "blocking peer. With synchronous_commit = on, each call waits until its commit is on the disk; "
        "all other topics have it off.",
        [check for commit, found in times.items() for check in checks(found, commit)],
        [table(found, commit) for commit, found in times.items()],
    )


def checks(times: Times, commit: str) -> list[Check]:
    """For each target the call with the highest ratio: if it meets the target, all do."""
    found = []
    for ours, theirs, target in TARGETS:
        ratios: dict[str, Spread] = {call: ratio(clients[ours], clients[theirs]) for call, clients in times.items()}
        worst = max(ratios, key=lambda call: ratios[call].median)
        work = f"{ours} against {theirs}, synchronous_commit = {commit}, worst call: {worst}"
        found.append(at_most(work, target, ratios[worst], why="Python code between the caller and libpq"))
    return found


def table(times: Times, commit: str) -> Table:
    """Microseconds of each client, and the ratios."""
    rows: list[list[object]] = [
        [f"{client}, microseconds", *(spread(1e6 * seconds for seconds in found[client]) for found in times.values())]
        for client in CLIENTS
    ]
    rows += [
        [f"{ours} / {theirs}", *(ratio(found[ours], found[theirs]) for found in times.values())]
        for ours, theirs in SHOWN
    ]
    return Table(f"One call, synchronous_commit = {commit}", ["", *times], rows)


@contextmanager
def commits(bench: Bench, commit: str) -> Iterator[None]:
    """New connections of the service have this synchronous_commit."""
    user = address(bench.service_dsn)["user"]
    with bench.admin() as conn:
        conn.execute(f"ALTER ROLE {user} SET synchronous_commit = {commit}".encode())
        try:
            yield
        finally:
            conn.execute(f"ALTER ROLE {user} RESET synchronous_commit".encode())


def measure(bench: Bench, commit: str) -> Times:
    """Seconds per call, by call and client, one value per round."""
    count, rounds = bench.size((10, 3), (100, ROUNDS))
    times: dict[str, Mapping[str, list[float]]] = {}
    with (
        commits(bench, commit),
        skilldb.connect(bench.service_dsn, max_size=1) as database,
        asyncio.Runner() as runner,
    ):
        opened = skilldb.connect_async(bench.service_dsn, max_size=1)
        runner.run(opened.open())
        tenant, async_tenant = database.tenant(SMALL), opened.tenant(SMALL)
        peer = Libpq(bench.service_dsn, database._settings.begin)
        for call, (build, encode) in CALLS.items():
            say(f"  {call}, synchronous_commit = {commit}")
            plan = peer.prepared(build("1", "1", str(UUID(int=1))))

            def blocking(work: Callable[..., object]) -> float:
                given = [_ids(bench) for _ in range(count)]
                start = perf_counter()
                for ids in given:
                    work(*ids)
                return (perf_counter() - start) / count

            async def looping(work: Callable[..., Awaitable[object]]) -> float:
                given = [_ids(bench) for _ in range(count)]
                start = perf_counter()
                for ids in given:
                    await work(*ids)
                return (perf_counter() - start) / count

            works: dict[str, Callable[[], float]] = {
                "libpq": lambda plan=plan, encode=encode: blocking(  # type: ignore[misc]
                    lambda *ids: peer.call(plan, encode(*ids))
                ),
                "skilldb": lambda build=build: blocking(lambda *ids: tenant.execute(build(*ids))),  # type: ignore[misc]
                "libpq in a loop": lambda plan=plan, encode=encode: runner.run(  # type: ignore[misc]
                    looping(lambda *ids: peer.call_async(plan, encode(*ids)))
                ),
                "skilldb async": lambda build=build: runner.run(  # type: ignore[misc]
                    looping(lambda *ids: async_tenant.execute(build(*ids)))
                ),
            }
            times[call] = interleaved(works, rounds)
        peer.close()
        runner.run(opened.close())
    return times


def _ids(bench: Bench) -> tuple[str, str, str]:
    event = UUID(int=bench.random.getrandbits(128), version=4)
    return str(bench.random.randint(1, USERS)), str(bench.random.randint(1, SKILLS)), str(event)


Plan = list[tuple[bytes, list[str]]]
"""The name of each step's prepared statement, and the names of its parameters."""


class Libpq:
    """One connection, and the libpq calls that a call needs at least."""

    def __init__(self, dsn: str, begin: Query) -> None:
        self.pgconn = PGconn.connect(make_conninfo(dsn, client_encoding="utf8").encode())
        assert self.pgconn.status == ConnStatus.OK, self.pgconn.error_message
        self.begin = self._prepare(begin)
        self.readable = select.poll()
        self.readable.register(self.pgconn.socket, select.POLLIN)

    def prepared(self, statement: Statement[Any]) -> Plan:
        """Prepare the statement's steps."""
        return [(self._prepare(step.query), list(step.query.types)) for step in statement.steps]

    def _prepare(self, query: Query) -> bytes:
        name = query.name.encode()
        self.pgconn.nonblocking = 0
        assert self.pgconn.prepare(name, query.numbered).status == ExecStatus.COMMAND_OK
        self.pgconn.nonblocking = 1
        return name

    def call(self, plan: Plan, values: dict[str, bytes | None]) -> bytes | None:
        """Run the steps in one transaction and one round trip, and return the first value."""
        self._send(plan, values)
        while self.pgconn.is_busy():
            self.readable.poll()
            self.pgconn.consume_input()
        return self._read(len(plan))

    async def call_async(self, plan: Plan, values: dict[str, bytes | None]) -> bytes | None:
        """The same; the event loop waits."""
        self._send(plan, values)
        loop = asyncio.get_running_loop()
        while self.pgconn.is_busy():
            came = loop.create_future()
            loop.add_reader(self.pgconn.socket, came.set_result, None)
            await came
            loop.remove_reader(self.pgconn.socket)
            self.pgconn.consume_input()
        return self._read(len(plan))

    def _send(self, plan: Plan, values: dict[str, bytes | None]) -> None:
        values["tenant_id"] = SMALL.encode()
        self.pgconn.enter_pipeline_mode()
        self.pgconn.send_query_prepared(self.begin, [values["tenant_id"]])
        for name, parameters in plan:
            self.pgconn.send_query_prepared(name, [values[parameter] for parameter in parameters])
        self.pgconn.pipeline_sync()

    def _read(self, steps: int) -> bytes | None:
        """The server sends all answers of a short pipeline at once."""
        pgconn, value = self.pgconn, None
        for _ in range(steps + 1):
            answer = pgconn.get_result()
            assert answer is not None
            assert answer.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK), answer.error_message
            value = answer.get_value(0, 0) if answer.ntuples else None
            assert pgconn.get_result() is None
        end = pgconn.get_result()
        assert end is not None
        assert end.status == ExecStatus.PIPELINE_SYNC
        pgconn.exit_pipeline_mode()
        return value

    def close(self) -> None:
        """Close the connection."""
        self.pgconn.finish()
