"""Starts a pgbouncer in front of the tests' server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from tests.support.database import until
from tests.support.waits import running

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
USERS = ("postgres", "skilldb_owner", "skilldb_service")


@contextmanager
def pooler(folder: Path, host: str, port: int, **settings: str | int) -> Iterator[int]:
    """Start a pgbouncer in transaction mode, or in the mode of `settings`. Yields its port on 127.0.0.1."""
    assert PROGRAM is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen_port: int = free.getsockname()[1]
    given = {
        "listen_addr": "127.0.0.1",
        "listen_port": listen_port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users",
        "pool_mode": "transaction",
        "default_pool_size": 40,
        "max_client_conn": 1000,
    } | settings
    lines = [f"{name} = {value}" for name, value in given.items()]
    (folder / "users").write_text("".join(f'"{user}" ""\n' for user in USERS))
    (folder / "ini").write_text("\n".join(["[databases]", f"* = host={host} port={port}", "[pgbouncer]", *lines, ""]))
    user = []
    if os.geteuid() == 0:  # pgbouncer refuses to run as root. Only its owner can use the embedded server's socket.
        owner = Path(host).owner() if host.startswith("/") else "nobody"
        user = ["-u", owner]
        for path in (folder, *folder.glob("*")):
            shutil.chown(path, owner)
    dsn = make_conninfo(host="127.0.0.1", port=listen_port, user="postgres", dbname="postgres", sslmode="disable")
    command = [PROGRAM, "-q", *user, folder / "ini"]
    with (folder / "log").open("w") as log, running(command, stdout=log, stderr=log) as process:
        until(lambda: _listens(process, dsn, folder / "log"))
        yield listen_port


def _listens(process: subprocess.Popen[bytes], dsn: str, log: Path) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except psycopg.OperationalError:
        assert process.poll() is None, log.read_text()
        return False
    return True
