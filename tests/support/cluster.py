"""Makes databases on the Citus cluster of SKILLDB_TEST_CITUS_DSN, with SQL alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from skilldb import queries
from tests.support.server import Addresses

CITUS_DSN = os.environ.get("SKILLDB_TEST_CITUS_DSN")
MISSING = (
    "needs a Citus cluster: set SKILLDB_TEST_CITUS_DSN to a superuser's address of a coordinator with at least two "
    "workers, in a database that has the extension. The workers must be reachable from here under the names of "
    "pg_dist_node, and the roles skilldb_owner and skilldb_service must be able to log in without a password"
)
OWNER, SERVICE = "skilldb_owner", "skilldb_service"


@dataclass(frozen=True)
class Cluster:
    """The nodes, the coordinator first, each with the superuser's address of one database."""

    nodes: tuple[str, ...]
    coordinator: tuple[str, int]
    workers: tuple[tuple[str, int], ...]

    def dsn(self, node: int, dbname: str, user: str | None = None) -> str:
        """The address of a database on the node of that number."""
        chosen: dict[str, Any] = {"user": user, "password": None} if user else {}
        return make_conninfo(self.nodes[node], dbname=dbname, **chosen)

    def addresses(self, dbname: str, node: int = 0) -> Addresses:
        """The addresses of a database on the coordinator, or on another node."""
        return Addresses(
            admin=self.dsn(node, dbname), owner=self.dsn(node, dbname, OWNER), service=self.dsn(node, dbname, SERVICE)
        )

    def run(self, node: int, dbname: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run the statements as the superuser. Returns the rows of the last one."""
        with psycopg.connect(self.dsn(node, dbname), autocommit=True) as conn:
            for statement in statements:
                done = conn.execute(statement.encode())
            return done.fetchall() if done.description else []


def found() -> Cluster:
    """The cluster of SKILLDB_TEST_CITUS_DSN. Creates the two logins on each node."""
    assert CITUS_DSN
    with psycopg.connect(CITUS_DSN, autocommit=True) as conn:
        rows = conn.execute(
            "SELECT nodename, nodeport, groupid = 0 FROM pg_dist_node WHERE noderole = 'primary' AND isactive "
            "ORDER BY groupid"
        ).fetchall()
        workers = tuple((host, port) for host, port, is_coordinator in rows if not is_coordinator)
        assert len(workers) >= 2, MISSING
        here = [(host, port) for host, port, is_coordinator in rows if is_coordinator]
        coordinator = here[0] if here else (conn.info.host, conn.info.port)
    dsns = (CITUS_DSN, *(make_conninfo(CITUS_DSN, host=host, port=port) for host, port in workers))
    for dsn in dsns:
        with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as conn:
            conn.execute(queries.load("admin/embedded")["create_logins"].sql)
    return Cluster(dsns, coordinator, workers)


@contextmanager
def database(cluster: Cluster, dbname: str, *, workers: int | None = None) -> Iterator[str]:
    """An empty database of the owner on every node, with the extension, which knows the first `workers` of them."""
    name = sql.Identifier(dbname).as_string()
    try:
        for node in range(len(cluster.nodes)):
            cluster.run(node, "postgres", f"CREATE DATABASE {name} TEMPLATE template0 OWNER {OWNER}")
        install(cluster, dbname)
        for number in range(len(cluster.workers) if workers is None else workers):
            add_worker(cluster, dbname, number)
        yield dbname
    finally:
        for node in range(len(cluster.nodes)):  # The coordinator first: its sessions use the workers.
            cluster.run(node, "postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def install(cluster: Cluster, dbname: str) -> None:
    """Create the extension on every node."""
    for node in range(len(cluster.nodes)):
        cluster.run(node, dbname, "CREATE EXTENSION IF NOT EXISTS citus")
    host, port = cluster.coordinator
    cluster.run(0, dbname, f"SELECT citus_set_coordinator_host('{host}', {port})")


def add_worker(cluster: Cluster, dbname: str, number: int) -> None:
    """Let the database know the worker of that number."""
    host, port = cluster.workers[number]
    cluster.run(0, dbname, f"SELECT citus_add_node('{host}', {port})")


def clear(cluster: Cluster, dbname: str) -> None:
    """Delete every organisation and its rows."""
    cluster.run(0, dbname, "TRUNCATE tenants CASCADE")
