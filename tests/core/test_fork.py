"""Tests forks: the child opens its own connections and never uses those of the parent."""

from __future__ import annotations

import asyncio
import copy
import ctypes
import http.client
import multiprocessing
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

import skilldb
from skilldb.admin import migrate
from skilldb.errors import ForkedError
from skilldb.repositories import tenants, users
from skilldb.statement import Statement
from tests.support.database import rows, until
from tests.support.reliability import record, size
from tests.support.server import Addresses, direct_only
from tests.support.waits import ended, running, started

pytestmark = [direct_only, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")]
NAMES = ("acme", "globex")
WHO: Statement[Any] = users.get_user("u1")
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'forking'"


@pytest.fixture
def dsn(addresses: Addresses) -> str:
    """The service's DSN. In each of two organisations the user u1 has the organisation's name."""
    with skilldb.connect(addresses.service) as db:
        for name in NAMES:
            created = tenants.create_tenant(name, name), users.create_user(f"u1@{name}.example", name=name, id="u1")
            db.tenant(name).execute(*created)
    return addresses.service


def forked(work: Callable[[], Any], fork: Callable[[], int] = os.fork) -> Callable[[], Any]:
    """Start `work` in a child of this process. The returned function waits for its result or raises its error."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # From Python 3.12 on, Python warns about fork() with several threads.
        child = fork()
    if child == 0:
        try:
            try:
                answer = (True, work())
            except BaseException as error:
                answer = (False, error)
            os.write(writing, pickle.dumps(answer))
        finally:
            os._exit(0)
    os.close(writing)

    def result() -> Any:
        deadline = time.monotonic() + 60
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise AssertionError("the child hangs")
            time.sleep(0.005)
        with os.fdopen(reading, "rb") as answers:
            done, answer = pickle.loads(answers.read())
        if not done:
            raise answer
        return answer

    return result


class Blocking:
    """Runs many calls on a Database at once. Returns how many answers were another organisation's."""

    def __init__(self, dsn: str, **settings: Any) -> None:
        self.database = skilldb.connect(dsn, application_name="forking", **settings)

    def start(self) -> None:
        self.database.open()

    def calls(self, number: int) -> int:
        def of(name: str) -> int:
            tenant = self.database.tenant(name)
            return sum(tenant.execute(WHO).name != name for _ in range(number // 4))

        with ThreadPoolExecutor(4) as threads:
            return sum(threads.map(of, NAMES * 2))

    def during(self, number: int, work: Callable[[], Any]) -> tuple[int, Any]:
        """Run calls, and run `work` during them."""
        with ThreadPoolExecutor(1) as thread:
            calls = thread.submit(self.calls, number)
            time.sleep(0.02)
            answer = work()
            return calls.result(timeout=60), answer

    def close(self) -> None:
        self.database.close()


class Async(Blocking):
    """Runs calls on an AsyncDatabase, with one event loop per process."""

    def __init__(self, dsn: str, **settings: Any) -> None:
        self.opened = skilldb.connect_async(dsn, application_name="forking", **settings)
        self._runner = asyncio.Runner()
        self._pid = os.getpid()

    def run(self, work: Any) -> Any:
        if os.getpid() == self._pid:
            return self._runner.run(work)
        return asyncio.run(self._closed_afterwards(work))

    async def _closed_afterwards(self, work: Any) -> Any:
        try:
            return await work
        finally:
            await self.opened.close()

    def start(self) -> None:
        self.run(self.opened.open())

    async def _calls(self, number: int) -> int:
        async def of(name: str) -> int:
            tenant, wrong = self.opened.tenant(name), 0
            for _ in range(number // 4):
                wrong += (await tenant.execute(WHO)).name != name
            return wrong

        return sum(await asyncio.gather(*map(of, NAMES * 2)))

    def calls(self, number: int) -> int:
        wrong: int = self.run(self._calls(number))
        return wrong

    def during(self, number: int, work: Callable[[], Any]) -> tuple[int, Any]:
        async def both() -> tuple[int, Any]:
            calls = asyncio.create_task(self._calls(number))
            await asyncio.sleep(0.02)  # Fork here: the child has tasks that wait on inherited sockets.
            answer = work()
            return await calls, answer

        found: tuple[int, Any] = self.run(both())
        return found

    def close(self) -> None:
        self.run(self.opened.close())
        self._runner.close()


API = pytest.mark.parametrize("api", [Blocking, Async], ids=["blocking", "async"])


@contextmanager
def opened(api: type[Blocking], dsn: str, **settings: Any) -> Iterator[Blocking]:
    found = api(dsn, **settings)
    found.start()
    try:
        yield found
    finally:
        found.close()


def extra_sessions(addresses: Addresses, expected: int) -> int:
    """The number of sessions above `expected`, after the server had time to end closed ones."""
    for _ in range(200):
        ((left,),) = rows(addresses.admin, SESSIONS)
        if left <= expected:
            return 0
        time.sleep(0.01)
    return int(left) - expected


@API
@pytest.mark.torture
def test_after_a_fork_parent_and_child_get_their_own_answers(
    api: type[Blocking], dsn: str, addresses: Addresses
) -> None:
    wrong, calls, forks = 0, size(400, 4_000), size(3, 20)
    with opened(api, dsn, min_size=2, max_size=4) as db:
        for _ in range(forks):
            of_parent, result = db.during(calls, lambda: forked(lambda: db.calls(calls)))
            wrong += of_parent + result()
        # A child of the child inherits a second pool.
        if api is Blocking:
            wrong += forked(lambda: db.calls(40) + forked(lambda: db.calls(40))())()
        wrong += db.calls(40)
        left = extra_sessions(addresses, 4)
    left += extra_sessions(addresses, 0)
    record(
        f"A pool used after fork() returns no other organisation's rows ({api.__name__.lower()})",
        tested="a process forks during its own calls; child and parent then call for two organisations at once",
        ablation="the child uses the inherited pool; its sockets are not replaced",
        figures={"forks": forks + 2, "calls": 2 * forks * calls + 120, "extra sessions": left},
        leaks=wrong + left,
    )


@API
def test_a_database_that_was_not_yet_opened_or_was_closed_stays_so(api: type[Blocking], dsn: str) -> None:
    db = api(dsn)
    assert forked(lambda: db.calls(8))() == 0
    assert db.calls(8) == 0
    db.close()
    with pytest.raises(skilldb.DatabaseClosedError):
        forked(lambda: db.calls(8))()


def test_a_transaction_belongs_to_the_parent(dsn: str, addresses: Addresses) -> None:
    with skilldb.connect(dsn, application_name="forking") as db:
        acme = db.tenant("acme")
        with acme.transaction() as tx:
            tx.execute(users.create_user("u2@acme.example", id="u2"))
            with pytest.raises(ForkedError, match="in the parent process alone"):
                forked(lambda: tx.execute(users.create_user("u3@acme.example", id="u3")))()
            assert forked(lambda: acme.execute(users.get_user("u2")))() is None  # The transaction is not committed yet.
            tx.execute(users.create_user("u4@acme.example", id="u4"))
        # The child leaves the block.
        parent = os.getpid()

        def fork_within() -> int | None:
            with acme.transaction() as tx:
                tx.execute(users.create_user("u5@acme.example", id="u5"))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    child = os.fork()
            return child

        try:
            child = fork_within()
        except ForkedError:
            os._exit(0 if os.getpid() != parent else 2)
        except BaseException:
            os._exit(1)
        if os.getpid() != parent:
            os._exit(3)  # The child believes that the block was committed.
        assert os.waitpid(child or 0, 0)[1] == 0
        assert {id for (id,) in rows(addresses.admin, "SELECT id FROM users WHERE tenant_id = 'acme'")} == {
            "u1",
            "u2",
            "u4",
            "u5",
        }
    assert extra_sessions(addresses, 0) == 0


def test_an_async_transaction_belongs_to_the_parent(dsn: str, addresses: Addresses) -> None:
    async def run() -> None:
        async with skilldb.connect_async(dsn, application_name="forking") as db:
            acme = db.tenant("acme")
            async with acme.transaction() as tx:
                await tx.execute(users.create_user("u2@acme.example", id="u2"))

                def write() -> Any:
                    return asyncio.run(tx.execute(users.create_user("u3@acme.example", id="u3")))

                with pytest.raises(ForkedError, match="in the parent process alone"):
                    forked(write)()
                await tx.execute(users.create_user("u4@acme.example", id="u4"))

    asyncio.run(run())
    found = {id for (id,) in rows(addresses.admin, "SELECT id FROM users WHERE tenant_id = 'acme'")}
    assert found == {"u1", "u2", "u4"}
    assert extra_sessions(addresses, 0) == 0


@contextmanager
def forking_at_a_signal(then: Callable[[], Any]) -> Iterator[list[int]]:
    """At SIGUSR1 this process forks, whatever it is doing. The child runs `then` first. Yields the children."""
    children: list[int] = []

    def fork(*_: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            children.append(os.fork())
        if children[-1] == 0:
            then()

    former = signal.signal(signal.SIGUSR1, fork)
    try:
        yield children
    finally:
        signal.signal(signal.SIGUSR1, former)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("then", "raised"), [(int, ForkedError), (interrupt, KeyboardInterrupt)], ids=["waits", "is interrupted"]
)
def test_a_call_in_flight_is_refused_in_the_child_and_answered_in_the_parent(
    then: Callable[[], Any], raised: type[BaseException], dsn: str, addresses: Addresses
) -> None:
    """A signal handler forks while the call waits for a lock. Interrupted in the child, it is not cancelled."""
    parent = os.getpid()
    with (
        forking_at_a_signal(then) as children,
        skilldb.connect(dsn) as db,
        psycopg.connect(addresses.admin) as locker,
    ):
        locker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")

        def release() -> None:
            until(lambda: bool(rows(addresses.admin, "SELECT FROM pg_locks WHERE NOT granted")))
            os.kill(parent, signal.SIGUSR1)
            until(lambda: bool(children))
            os.waitpid(children[0], os.WNOHANG)
            time.sleep(0.3)  # Longer than psycopg's polling interval.
            locker.rollback()

        releasing = started(release)
        try:
            answer = db.tenant("acme").execute(WHO)
        except raised:
            os._exit(0 if os.getpid() != parent else 2)
        except BaseException:
            os._exit(1)
        if os.getpid() != parent:
            os._exit(3)
        ended(releasing)
        assert answer is not None
        assert answer.name == "acme"
        with suppress(ChildProcessError):
            assert os.waitpid(children[0], 0)[1] == 0
        assert db.tenant("globex").execute(WHO).name == "globex"


@API
def test_to_open_is_refused_in_the_child_and_goes_on_in_the_parent(api: type[Blocking], dsn: str) -> None:
    """A signal handler forks while the parent connects to a server that accepts and does not answer yet."""
    parent = os.getpid()
    with forking_at_a_signal(int) as children, socket.create_server(("127.0.0.1", 0)) as server:
        db = api(f"host=127.0.0.1 port={server.getsockname()[1]} user=nobody dbname=none sslmode=disable")

        def answer() -> None:
            accepted, _ = server.accept()
            with accepted:
                accepted.recv(1)
                os.kill(parent, signal.SIGUSR1)
                until(lambda: bool(children))
                status.append(os.waitpid(children[0], 0)[1])
                accepted.sendall(b"E\0\0\0\x1cSFATAL\0C57P03\0Mnot yet\0\0")

        status: list[int] = []
        answering = started(answer)
        try:
            db.start()
        except ForkedError:
            os._exit(0 if os.getpid() != parent else 2)
        except BaseException as error:
            if os.getpid() != parent:
                os._exit(1)
            message = str(error)
        else:
            os._exit(3)
        ended(answering)
        assert (status, message[-7:]) == ([0], "not yet")
        db.close()


@API
def test_a_fork_that_runs_no_hook_of_python_is_noticed(api: type[Blocking], dsn: str, addresses: Addresses) -> None:
    """A fork by a C library runs no Python hooks."""
    with opened(api, dsn, min_size=2, max_size=4) as db:
        fork = ctypes.PyDLL(None).fork
        fork.restype = ctypes.c_int
        assert db.during(200, forked(lambda: db.calls(40), fork)) == (0, 0)
        assert db.calls(40) == 0
        assert extra_sessions(addresses, 4) == 0
    assert extra_sessions(addresses, 0) == 0


_EARLIER = """
import os, sys
work = []
os.register_at_fork(after_in_child=lambda: [print(each(), flush=True) for each in work])
import skilldb
from skilldb.repositories import users

db = skilldb.connect(sys.argv[1], application_name="forking")
calls = lambda: {name: db.tenant(name).execute(users.get_user("u1")).name for name in ("acme", "globex") * 3}
calls()
work.append(calls)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print(calls())
"""


def test_a_hook_that_runs_before_ours_gets_answers_of_its_own(dsn: str, addresses: Addresses) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _EARLIER, dsn], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == f"{ {name: name for name in NAMES} }\n" * 2
    assert extra_sessions(addresses, 0) == 0


def test_a_migration_goes_on_in_the_parent_alone(addresses: Addresses) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA fresh")
    run = migrate.migrate(addresses.owner, schema="fresh")
    done = [next(run)]
    with pytest.raises(ForkedError):
        forked(lambda: next(run))()
    done += run
    states = migrate.status(addresses.owner, schema="fresh")
    assert [(state.id, state.state) for state in states] == [(migration.id, "applied") for migration in done]


def cancelled(call: Any) -> None:
    with suppress(StopIteration, asyncio.CancelledError, ForkedError):
        call.throw(asyncio.CancelledError())


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="needs Linux' /proc")
@pytest.mark.parametrize("end", [lambda call: call.close(), cancelled], ids=["deleted", "cancelled"])
def test_the_child_changes_nothing_in_the_parents_event_loop(
    end: Callable[[Any], None], dsn: str, addresses: Addresses
) -> None:
    """Deleting a waiting task removes its socket from the epoll set, which parent and child share.

    Cancelling one would cancel the parent's query on the server.
    """

    async def run() -> None:
        async with skilldb.connect_async(dsn, max_size=2) as db:
            with psycopg.connect(addresses.admin) as locker:
                locker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
                call = db.tenant("acme").execute(WHO)
                task = asyncio.create_task(call)
                await asyncio.to_thread(
                    until, lambda: bool(rows(addresses.admin, "SELECT FROM pg_locks WHERE NOT granted"))
                )
                selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
                watched = Path(f"/proc/self/fdinfo/{selector.fileno()}")

                def targets() -> set[str]:
                    return set(re.findall(r"^tfd:.*ino:\S+", watched.read_text(), flags=re.MULTILINE))

                before = targets()

                def leave() -> None:
                    end(call)
                    asyncio.run(db.close())

                forked(leave)()
                assert targets() == before
                locker.rollback()
                answer = await task
                assert answer is not None
                assert answer.name == "acme"

    asyncio.run(run())


_EXITS = """
import os, sys, threading
import skilldb
from skilldb.repositories import users

db = skilldb.connect(sys.argv[1], application_name="forking", min_size=3)
acme = db.tenant("acme")
with acme.transaction() as tx:
    tx.execute(users.get_user("u1"))
    child = os.fork()
    if child == 0:
        sys.exit(7)  # Leaves the block, and ends as a whole interpreter does.
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert tx.execute(users.get_user("u1")).name == "acme"
assert acme.execute(users.get_user("u1")).name == "acme"
print(status)
"""


def test_a_child_that_ends_leaves_the_parents_connections_alone(dsn: str, addresses: Addresses) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _EXITS, dsn], capture_output=True, text=True, timeout=60, check=True
    )
    assert (run.stdout, run.stderr) == ("7\n", "")
    assert extra_sessions(addresses, 0) == 0


_ORPHANS = """
import os, signal, sys, time
import skilldb

db = skilldb.connect(sys.argv[1], application_name="forking", min_size=3)
db.open()
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
signal.pause()
"""


def test_a_child_does_not_keep_the_sessions_of_a_parent_that_was_killed(dsn: str, addresses: Addresses) -> None:
    command = [sys.executable, "-W", "ignore", "-c", _ORPHANS, dsn]
    with running(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert rows(addresses.admin, SESSIONS) == [(3,)]
        parent.kill()
        assert extra_sessions(addresses, 0) == 0
        assert child.is_running()
        child.kill()


_WORKER = """
import os
import skilldb
from skilldb.repositories import users

db = skilldb.connect(os.environ["FORKING_DSN"], application_name="forking")
db.open()
HANDLES = [db.tenant(name) for name in ("acme", "globex")]


def wrong(number):
    return sum(tenant.execute(users.get_user("u1")).name != tenant.id for _ in range(number) for tenant in HANDLES)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_of_multiprocessing_get_their_own_answers(
    method: str, dsn: str, addresses: Addresses, tmp_path: Path
) -> None:
    """With forkserver the fork server loads the module that connects, and each worker is a fork of it."""
    (tmp_path / "forking_worker.py").write_text(_WORKER)
    script = f"""
import multiprocessing, sys
sys.path.insert(0, {str(tmp_path)!r})
if __name__ == "__main__":
    import forking_worker
    context = multiprocessing.get_context({method!r})
    if {method!r} == "forkserver":
        context.set_forkserver_preload(["forking_worker"])
    with context.Pool(3) as pool:
        results = [pool.apply_async(forking_worker.wrong, (200,)) for _ in range(6)]
        print(sum(result.get(60) for result in results) + forking_worker.wrong(20))
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "FORKING_DSN": dsn, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout == "0\n", run.stderr
    assert extra_sessions(addresses, 0) == 0


_APP = """
import os
import skilldb
from skilldb.repositories import users

db = skilldb.connect(os.environ["FORKING_DSN"], application_name="forking", max_size=4)
db.open()
assert db.tenant("acme").execute(users.get_user("u1")).name == "acme"


def app(environ, start_response):
    user = db.tenant(environ["PATH_INFO"].strip("/")).execute(users.get_user("u1"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{user.name} {os.getpid()}".encode()]
"""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def _answers(path: Path) -> bool:
    """Whether the server listens. The socket's file exists before that."""
    with closing(_UnixConnection(path)) as client, suppress(FileNotFoundError, ConnectionRefusedError):
        client.connect()
        return True
    return False


@pytest.mark.torture
def test_gunicorn_with_preload_answers_everybody_with_their_own(dsn: str, addresses: Addresses, tmp_path: Path) -> None:
    (tmp_path / "forking_app.py").write_text(_APP)
    path, workers, calls = tmp_path / "sock", 2, size(1_200, 8_000)
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(workers), "--threads", "4"]
    command += ["--bind", f"unix:{path}", "--chdir", str(tmp_path), "--log-level", "error", "forking_app:app"]
    with running(command, env={**os.environ, "FORKING_DSN": dsn}) as server:
        try:
            until(lambda: _answers(path))

            def call(thread: int) -> list[tuple[str, str, str]]:
                found = []
                for number in range(calls // 8):
                    name = NAMES[(thread + number) % 2]
                    with closing(_UnixConnection(path)) as client:
                        client.request("GET", f"/{name}")
                        body = client.getresponse().read().decode()
                    found.append((name, *body.split()))
                return found  # type: ignore[return-value]

            with ThreadPoolExecutor(8) as threads:
                answers = [answer for found in threads.map(call, range(8)) for answer in found]
        finally:
            server.terminate()
            server.wait(timeout=60)
    wrong = sum(expected != actual for expected, actual, _ in answers)
    assert len({pid for _, _, pid in answers}) == workers
    record(
        "gunicorn --preload with a database opened at import returns only the caller's rows",
        tested="eight clients call two worker processes, for two organisations in turn",
        ablation="the workers use the inherited pool",
        figures={"answers": len(answers), "extra sessions": extra_sessions(addresses, 0)},
        leaks=wrong + extra_sessions(addresses, 0),
    )


def test_what_belongs_to_a_process_cannot_be_pickled_or_copied(dsn: str) -> None:
    refused = []

    def note(*handles: Any) -> None:
        for handle in handles:
            for take in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(
                    TypeError, match=rf"cannot pickle or copy a {type(handle).__name__}: connect in the"
                ):
                    take(handle)
            refused.append(type(handle))

    async def run() -> None:
        async with skilldb.connect_async(dsn) as db, db.tenant("acme").transaction() as tx:
            note(db, db.tenant("acme"), tx)

    with skilldb.connect(dsn) as database, database.tenant("acme").transaction() as transaction:
        note(database, database.tenant("acme"), transaction)
        with pytest.raises(TypeError, match="connect in the process that uses it"):
            multiprocessing.get_context("spawn").Process(target=print, args=(database,)).start()
    asyncio.run(run())
    assert len(set(refused)) == 6
