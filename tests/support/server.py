"""Finds the tests' server, and the addresses of a test's database on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from skilldb.dev import embedded

CHECKOUT = Path(__file__).parent.parent.parent
# Another server. The superuser creates databases and logins on it. The logins connect without a password.
TEST_DSN = os.environ.get("SKILLDB_TEST_DSN")
# If it is set, the service's connections go through a pgbouncer in transaction mode.
POOLER = os.environ.get("SKILLDB_TEST_POOLER")
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


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """The DSNs of the test's own database, for the superuser, the owner and the service."""

    admin: str
    owner: str
    service: str


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for an embedded server. Unlike pytest's folders, a server started by root can enter it."""
    folder = Path(tempfile.mkdtemp(prefix="skilldb-tests-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        embedded.stop(folder)
        for link in folder.rglob("sockets"):
            shutil.rmtree(os.readlink(link), ignore_errors=True)
        shutil.rmtree(folder)
