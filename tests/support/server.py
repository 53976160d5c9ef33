"""Finds the tests' server, and the addresses of a test's database on it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from skilldb.dev import embedded

RUN = secrets.token_hex(4)
"""In the name of each database of this process: other runs may use the same server at the same time."""
CHECKOUT = Path(__file__).parent.parent.parent
# Another server. The superuser creates databases and logins on it. The logins connect without a password.
TEST_DSN = os.environ.get("SKILLDB_TEST_DSN")
# If it is set, the service's connections go through a pgbouncer in transaction mode.
POOLER = os.environ.get("SKILLDB_TEST_POOLER")
SUBJECT_OWNER = "skilldb_subject_owner"
"""An owner without BYPASSRLS, which is subject to the policies."""
_MEMORY, _PLENTY = Path("/dev/shm"), 4 << 30
"""A folder whose files Linux keeps in memory, and from how many free bytes on the tests' servers use it."""
direct_only = pytest.mark.skipif(bool(POOLER), reason="is about connections that no pooler shares")


@dataclass(frozen=True, kw_only=True)
class Admin:
    """The superuser's DSN, with the attribute names of pytest-postgresql's executors."""

    host: str
    port: int
    user: str
    password: str | None
    options: str = ""
    dbname: str = "postgres"
    maintenance_dbname: str = "postgres"
    template_dbname: str | None = None

    def dsn(self, dbname: str, user: str | None = None) -> str:
        password = self.password if user is None else None
        return make_conninfo(host=self.host, port=self.port, user=user or self.user, password=password, dbname=dbname)

    def addresses(self, dbname: str, entrance: Admin | None = None) -> Addresses:
        """The addresses of a database of this server; `entrance`: the service's way to it."""
        return Addresses(
            admin=self.dsn(dbname),
            owner=self.dsn(dbname, "skilldb_owner"),
            service=(entrance or self).dsn(dbname, "skilldb_service"),
        )


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """The DSNs of the test's own database, for the superuser, the owner and the service."""

    admin: str
    owner: str
    service: str


@contextmanager
def created(dsn: str, dbname: str, template: str = "template1") -> Iterator[None]:
    """The owner's database of this name, which is dropped at the end of the block. `dsn`: a superuser's."""
    name = sql.Identifier(dbname)
    try:
        with psycopg.connect(dsn, autocommit=True) as conn:
            made = sql.SQL("CREATE DATABASE {} OWNER skilldb_owner TEMPLATE {}")
            conn.execute(made.format(name, sql.Identifier(template)))
        yield
    finally:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


@contextmanager
def server_folder(like: Path | None = None) -> Iterator[Path]:
    """A folder for an embedded server, with a copy of the data of a stopped server in the folder `like`.

    Unlike pytest's folders, a server started by root can enter it.
    """
    folder = Path(tempfile.mkdtemp(prefix="skilldb-tests-", dir=_MEMORY if _memory_is_free() else None))
    folder.chmod(0o711)
    try:
        if like:  # Much faster than initdb.
            command = ["cp", "-a", str(like / "postgres"), str(folder)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        yield folder
    finally:
        embedded.stop(folder)
        for link in folder.rglob("sockets"):
            shutil.rmtree(os.readlink(link), ignore_errors=True)
        shutil.rmtree(folder)


def _memory_is_free() -> bool:
    """Whether servers can have their data in memory: there is plenty, and programs that are copied there may run."""
    if not _MEMORY.is_dir():
        return False
    status = os.statvfs(_MEMORY)
    return status.f_bavail * status.f_frsize >= _PLENTY and not status.f_flag & os.ST_NOEXEC
