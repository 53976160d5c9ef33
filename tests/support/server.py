"""Finds the tests' server, and the addresses of a test's database on it."""

from __future__ import annotations

import os
import secrets
import shutil
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
