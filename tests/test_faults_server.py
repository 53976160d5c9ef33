"""The server fails: it is killed, is a standby, has a full disk or no place left; and comes back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from skilldb import embedded, migrate
from skilldb.repositories import metrics, skills
from tests.conftest import TEST_DSN, rows
from tests.ledger import ledgers, losses, opened, writing
from tests.reliability import record, size

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(TEST_DSN is not None, reason="kills and starts servers of its own"),
]
USE = metrics.increment_skill_uses("s1")
READ = skills.get_skill("s1")


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a server of the test's own, migrated, which keeps what it has acknowledged."""
    made = tmp_path_factory.mktemp("own")
    server = embedded.start(made)
    list(migrate.migrate(server.owner_dsn))
    assert rows(server.admin_dsn, "SELECT current_setting('fsync'), current_setting('synchronous_commit')") == [
        ("on", "on")
    ]
    yield made
    embedded.stop(made)


def kill(folder: Path) -> None:
    """SIGKILL for the whole server, as where the power fails."""
    postmaster = psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def run_with_kills(
    folder: Path, face: str, kills: int, *, settings: Sequence[str] = ()
) -> tuple[list[str], dict[str, Any]]:
    """What was lost under writers whose server is killed so often, and the figures."""
    server = embedded.start(folder)
    admin = make_conninfo(server.admin_dsn, dbname="skilldb")
    books = ledgers(server.service_dsn, kills)
    with psycopg.connect(admin, autocommit=True) as conn:
        for setting in settings:
            conn.execute(f"ALTER SYSTEM SET {setting}".encode())
        conn.execute("SELECT pg_reload_conf()")
    lost: list[str] = []
    with opened(face, server.service_dsn, timeout=2, statement_timeout=5, max_size=4) as (execute, _):
        for _ in range(kills):
            with writing(execute, books) as more:
                more(60)
                kill(folder)
                embedded.start(folder)
                more(30)
            lost += losses(admin, execute, books)
    return lost, {
        "kills survived": kills,
        "writes acknowledged": sum(book.answers for book in books),
        "calls refused": sum(book.refusals for book in books),
        "longest call": f"{max(book.longest for book in books):.1f} s",
    }


@pytest.mark.parametrize("face", ["blocking", "async"])
def test_no_acknowledged_write_is_lost_or_counted_twice_when_the_server_is_killed(face: str, folder: Path) -> None:
    lost, figures = run_with_kills(folder, face, size(1, 10))
    print(*lost[:20], sep="\n")  # for whoever reads a failure
    record(
        f"What was acknowledged survives the server's death, once ({face})",
        tested="SIGKILL of the whole server under 8 writers; uses tried again by their ids until acknowledged",
        ablation="commits that do not wait for the log",
        figures=figures,
        losses=len(lost),
    )


def test_commits_that_do_not_wait_for_the_log_are_found_out(folder: Path) -> None:
    lost, _ = run_with_kills(folder, "blocking", 1, settings=("synchronous_commit = off", "wal_writer_delay = '10s'"))
    assert any(what.startswith("lost:") for what in lost)
