"""Tests a server that fails: it is killed, is a standby, has a full disk or no free connection. It then recovers."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from skilldb.admin import migrate
from skilldb.dev import embedded
from skilldb.errors import DatabaseUnavailableError
from skilldb.repositories import metrics, skills
from skilldb.statement import Statement
from tests.support.database import rows
from tests.support.ledger import Execute, Ledger, ledgers, losses, not_put_back, opened, writing
from tests.support.reliability import FIGURES, record, size
from tests.support.server import TEST_DSN, direct_only, server_folder

pytestmark = [
    direct_only,
    pytest.mark.torture,
    pytest.mark.skipif(TEST_DSN is not None, reason="kills and starts servers of its own"),
]
USE = metrics.increment_skill_uses("s0")
READ = skills.get_skill("s0")


@pytest.fixture(scope="module")
def own(migrated: Path) -> Iterator[Path]:
    """The folder of a migrated server for these tests only."""
    with server_folder(migrated) as made:
        yield made


@pytest.fixture
def folder(own: Path) -> Path:
    """The same folder. The server runs, is empty and has durable commits."""
    admin = embedded.start(own).admin_dsn
    with psycopg.connect(make_conninfo(admin, dbname="skilldb"), autocommit=True) as conn:
        conn.execute("TRUNCATE tenants CASCADE")
        conn.execute("ALTER SYSTEM RESET ALL")
        conn.execute("SELECT pg_reload_conf()")
    kept = ("on", "on")
    assert rows(admin, "SELECT current_setting('fsync'), current_setting('synchronous_commit')") == [kept]
    return own


def apis(quick: str) -> pytest.MarkDecorator:
    """Run on both APIs, or in a short run only on this one."""
    return pytest.mark.parametrize("api", ["blocking", "async"] if FIGURES else [quick])


def kill(folder: Path) -> None:
    """Send SIGKILL to the whole server, like a power failure."""
    postmaster = psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def run_with_kills(
    folder: Path, api: str, kills: int, *, settings: Sequence[str] = ()
) -> tuple[list[str], dict[str, Any]]:
    """Kill the server so often under writers. Returns the losses and the figures."""
    server = embedded.start(folder)
    admin = make_conninfo(server.admin_dsn, dbname="skilldb")
    books = ledgers(server.service_dsn, kills)
    with psycopg.connect(admin, autocommit=True) as conn:
        for setting in settings:
            conn.execute(f"ALTER SYSTEM SET {setting}".encode())
        conn.execute("SELECT pg_reload_conf()")
    lost: list[str] = []
    with opened(api, server.service_dsn, timeout=2, statement_timeout=5, max_size=4) as (execute, _):
        for _ in range(kills):
            with writing(execute, books) as more:
                more(60)
                kill(folder)
                embedded.start(folder)
                more(30)
            lost += losses(admin, execute, books)
    return lost, {
        "kills survived": kills,
        "writes acknowledged": answered(books),
        "calls refused": refused(books),
        "longest call": f"{max(book.longest for book in books):.1f} s",
    }


@apis("blocking")
def test_no_acknowledged_write_is_lost_or_counted_twice_when_the_server_is_killed(api: str, folder: Path) -> None:
    lost, figures = run_with_kills(folder, api, size(1, 10))
    print(*lost[:20], sep="\n")  # shown if the test fails
    record(
        f"Acknowledged writes survive a kill of the server and are stored once ({api})",
        tested="the whole server is killed by SIGKILL under 8 writers; they retry uses with the same ids until "
        "acknowledged",
        ablation="commits do not wait for the log; skills are not locked",
        figures=figures,
        losses=len(lost),
    )


def test_commits_that_do_not_wait_for_the_log_are_found_out(folder: Path) -> None:
    lost, _ = run_with_kills(folder, "blocking", 1, settings=("synchronous_commit = off", "wal_writer_delay = '10s'"))
    assert any(what.startswith("lost:") for what in lost)


def answered(books: list[Ledger]) -> int:
    """How many calls were."""
    return sum(book.answers for book in books)


def refused(books: list[Ledger]) -> int:
    """How many calls were."""
    return sum(book.refusals for book in books)


def until_served(execute: Execute, *statements: Statement[Any]) -> Any:
    """The answer after retries: each connection of the pool may fail once after the server was away."""
    for _ in range(20):
        try:
            return execute(*statements)
        except DatabaseUnavailableError as error:
            refusal = error
    raise refusal


@apis("async")
def test_a_standby_is_read_and_its_promotion_is_noticed_without_a_restart(api: str, folder: Path) -> None:
    server = embedded.start(folder)
    books = ledgers(server.service_dsn, 1)
    admin = make_conninfo(server.admin_dsn, dbname="skilldb")
    with opened(api, server.service_dsn, timeout=5) as (execute, _):
        for book in books:
            book.write(execute)
        embedded.stop(folder)
        (folder / "postgres" / "standby.signal").touch()
        with pytest.raises(DatabaseUnavailableError, match="read-only"):
            embedded.start(folder)  # It runs, but no login can be created on a standby.
        assert until_served(execute, READ).id == "s0"
        refusals = 0
        for statement in (USE, USE):
            with pytest.raises(DatabaseUnavailableError, match="the server is read-only"):
                execute(READ, statement)
            refusals += 1
        with opened(api, server.service_dsn) as (execute_anew, _):
            assert execute_anew(READ).id == "s0"
        assert rows(admin, "SELECT pg_promote()") == [(True,)]
        for book in books:
            book.write(execute)
        lost = losses(admin, execute, books)
    record(
        "A standby answers reads and refuses writes; after its promotion writes work without a restart of the "
        f"service ({api})",
        tested="the server is restarted as a standby under an open pool, then promoted",
        ablation="the error does not say that the server is read-only; a counter moves without an event",
        figures={"writes refused": refusals},
        losses=len(lost),
    )


@apis("blocking")
def test_a_server_that_was_away_for_long_is_noticed_by_the_next_callers(api: str, folder: Path) -> None:
    server = embedded.start(folder)
    ledgers(server.service_dsn, 5)
    with opened(api, server.service_dsn, timeout=1, max_size=1) as (execute, pool):
        execute(READ)
        embedded.stop(folder)
        refusals = 0
        deadline = monotonic() + 120
        while pool.get_stats().get("connections_errors", 0) < 4:
            with pytest.raises(DatabaseUnavailableError):
                execute(READ)
            refusals += 1
            assert monotonic() < deadline, "the pool does not try to connect"
        embedded.start(folder)
        late = 0
        while late < 4:
            with contextlib.suppress(DatabaseUnavailableError):
                assert execute(READ).id == "s0"
                break
            late += 1
    record(
        f"After an outage the next calls reach the server ({api})",
        tested="the server is stopped until the pool has failed to connect four times, and then started",
        ablation="the pool waits longer before each attempt",
        figures={"calls refused in the outage": refusals, "calls refused after it": late},
        losses=int(late == 4),
    )


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """The folder of a server with little space, and a file that fills the rest."""
    disk = Path(tempfile.mkdtemp(prefix="skilldb-tests-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=220m,mode=755", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, timeout=60)
    if mounted.returncode:
        disk.rmdir()
        pytest.skip(f"only root may mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        list(migrate.migrate(embedded.start(disk / "own").owner_dsn))
        yield disk
    finally:
        embedded.stop(disk / "own")
        subprocess.run(["umount", disk], check=True, timeout=60)
        disk.rmdir()


@apis("blocking")
def test_a_full_disk_refuses_writes_and_loses_nothing(api: str, small_disk: Path) -> None:
    folder, ballast = small_disk / "own", small_disk / "ballast"
    server = embedded.start(folder)
    admin = make_conninfo(server.admin_dsn, dbname="skilldb")
    books = ledgers(server.service_dsn, 2)
    with opened(api, server.service_dsn, timeout=2, statement_timeout=5, max_size=4) as (execute, _):
        with writing(execute, books) as more:
            more(20)
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1_000_000))
            said = ""
            for _ in range(200):  # Each has 2 MB: far more than there is space for.
                try:
                    execute(skills.update_skill("s0", {"description": os.urandom(1_000_000).hex()}))
                except DatabaseUnavailableError as error:
                    said = str(error)
                    break
            # Without space for its log, PostgreSQL ends all connections.
            assert re.search("No space left|server closed the connection|the server ended the work", said), said
            ballast.unlink()
            embedded.start(folder)  # Without space for its log, PostgreSQL does not start.
            more(30)
        lost = losses(admin, execute, books)
    record(
        f"On a full disk writes are refused and none is lost ({api})",
        tested="the disk is filled under 8 writers until writes are refused; then space is freed",
        ablation="the error lacks the server's message; a counter moves without an event",
        figures={
            "writes acknowledged": answered(books),
            "calls refused": refused(books) + 1,
        },
        losses=len(lost),
    )


@apis("async")
def test_a_server_without_a_free_connection_says_so_and_the_pool_goes_on(api: str, folder: Path) -> None:
    server = embedded.start(folder)
    books = ledgers(server.service_dsn, 3)
    with contextlib.ExitStack() as crowd, opened(api, server.service_dsn, timeout=1, max_size=4) as (execute, pool):
        execute(READ)
        taken = 0
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                crowd.enter_context(psycopg.connect(server.owner_dsn))
                taken += 1
        with pytest.raises(DatabaseUnavailableError, match=r"connection|client"), opened(api, server.service_dsn):
            pass
        with writing(execute, books) as more:  # Eight writers; some of them get an error and retry.
            more(20)
            crowd.close()
            more(50)
        lost = losses(make_conninfo(server.admin_dsn, dbname="skilldb"), execute, books)
        with opened(api, server.service_dsn) as (execute_anew, _):
            assert execute_anew(READ).id == "s0"
        leaks = len(not_put_back(pool))
    record(
        f"When the server has no free connection, existing connections go on working ({api})",
        tested="other clients take every free connection of the server, and later close them",
        ablation="the refusal is not reported as unavailability; a counter moves without an event",
        figures={"connections of others": taken, "calls refused": refused(books)},
        losses=len(lost),
        leaks=leaks,
    )


def test_a_counter_moved_past_its_events_is_found_out(folder: Path) -> None:
    server = embedded.start(folder)
    books = ledgers(server.service_dsn, 4)
    with opened("blocking", server.service_dsn) as (execute, _):
        execute(USE)
        assert losses(make_conninfo(server.admin_dsn, dbname="skilldb"), execute, books) != []
