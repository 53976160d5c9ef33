"""Distributes the tables over a Citus cluster, each organisation's rows on one node, for `skilldb distribute`."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg
from psycopg import sql

from skilldb import connection, queries
from skilldb.admin import migrate
from skilldb.errors import SkilldbError
from skilldb.settings import Secret

_SQL = queries.load("admin/distribute")
_TENANTS = "tenants"
Conn = psycopg.Connection[tuple[Any, ...]]


class DistributionError(SkilldbError):
    """The tables cannot be distributed as things are. The message says what to do first."""


def plan(dsn: str | Secret, *, schema: str | None = None, shards: int | None = None) -> list[str]:
    """The SQL that distribute() would run, in one transaction. Writes nothing.

    `dsn` is the owner's, on the coordinator. `schema`: default SKILLDB_SCHEMA, else `public`. `shards`: in how many
    parts the tables are cut when they are distributed; default: the server's `citus.shard_count`.

    DistributionError: there is no cluster, a migration is pending, a node lacks a role, or the owner is subject to
    policies.
    """
    with connection.owned(Secret(dsn), schema) as conn:
        return _planned(conn, shards)


def distribute(dsn: str | Secret, *, schema: str | None = None, shards: int | None = None) -> list[str]:
    """Distribute the tables, in one transaction, and return the SQL that ran. Arguments and errors as plan().

    Rows stay what they are. `tenants` becomes a reference table; each table with a tenant_id is distributed by it, all
    co-located. It can be run again, after a migration made a table or a node was added: grants and functions are then
    repeated on each node.

    DistributionError also while a service is connected that may not know the cluster yet.
    """
    with connection.owned(Secret(dsn), schema) as conn, conn.transaction():
        statements = _planned(conn, shards)
        if not _placed(conn):
            _refuse_sessions(conn)
        for statement in statements:
            conn.execute(statement.encode())
        return statements


def _planned(conn: Conn, shards: int | None) -> list[str]:
    _refuse_unsuitable(conn)
    _refuse_pending(conn)
    _refuse_missing_roles(conn)
    placed = _placed(conn)
    to_place = {
        name: has_tenant_id
        for name, has_tenant_id in conn.execute(_SQL["list_tables_to_place"].sql)
        if name not in placed
    }
    keys = conn.execute(_SQL["list_keys_of_tables"].sql, {"tables": list(to_place)}).fetchall()
    functions = [name for (name,) in conn.execute(_SQL["list_undistributed_functions"].sql)]
    grants = [statement for (statement,) in conn.execute(_SQL["list_grants_to_repeat"].sql)]
    first = ["SET LOCAL lock_timeout = '5s'"]
    if to_place:
        # A foreign key between distributed tables must be added over one connection to each node.
        first.append("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
        if shards is not None:
            first.append(f"SET LOCAL citus.shard_count = {int(shards)}")
    emptied = [_TENANTS] if _TENANTS in to_place else list(to_place)
    return [
        *first,
        *(removal for removal, _ in keys),
        *_placements(conn, to_place, placed),
        *(addition for _, addition in keys),
        # The old rows would stay on the coordinator's disk. The function also empties what refers to the table.
        *(f"SELECT truncate_local_data_after_distributing_table({_name(conn, name)})" for name in emptied),
        *(f"SELECT create_distributed_function({_literal(conn, name)})" for name in functions),
        *grants,
    ]


def _placements(conn: Conn, to_place: dict[str, bool], placed: dict[str, bool]) -> list[str]:
    found = [f"SELECT create_reference_table({_name(conn, name)})" for name, has in to_place.items() if not has]
    anchor = next((name for name, is_distributed in placed.items() if is_distributed), None)
    for name, has_tenant_id in to_place.items():
        if has_tenant_id:
            beside = "'none'" if anchor is None else _name(conn, anchor)
            found.append(
                f"SELECT create_distributed_table({_name(conn, name)}, 'tenant_id', colocate_with => {beside})"
            )
            anchor = anchor or name
    return found


def _placed(conn: Conn) -> dict[str, bool]:
    """The tables that Citus holds already, each with whether it is distributed."""
    return dict(conn.execute(_SQL["list_placed_tables"].sql).fetchall())


def _refuse_unsuitable(conn: Conn) -> None:
    ((role, is_cluster, bypasses),) = conn.execute(_SQL["get_cluster"].sql).fetchall()
    if not is_cluster:
        raise DistributionError(
            "the database is not on a Citus cluster. As a superuser run CREATE EXTENSION citus in this database on "
            "each node, then on the coordinator SELECT citus_set_coordinator_host(...), and for each worker "
            "SELECT citus_add_node(...)"
        )
    if not bypasses:
        raise DistributionError(
            f"role {role} has no BYPASSRLS. Citus copies the rows as this role, and row-level security refuses that. "
            f"As a superuser run ALTER ROLE {role} BYPASSRLS on each node"
        )
    nodes = conn.execute(_SQL["list_nodes"].sql).fetchall()
    if not nodes:
        raise DistributionError("the cluster has no worker. As a superuser run: SELECT citus_add_node('host', 5432)")
    if away := [node for is_active, node in nodes if not is_active]:
        raise DistributionError(
            f"node {', '.join(away)} is not active. As a superuser run citus_activate_node(), or citus_remove_node()"
        )


def _refuse_pending(conn: Conn) -> None:
    pending = [each.id for each in migrate.status_on(conn) if each.state == "pending"]
    if pending:
        raise DistributionError(f"{len(pending)} migrations are pending, {pending[0]} first. Run: skilldb migrate")


def _refuse_sessions(conn: Conn) -> None:
    sessions = conn.execute(_SQL["list_service_sessions"].sql).fetchall()
    if sessions:
        listed = ", ".join(f"{count} of {role}" for role, count in sessions)
        raise DistributionError(
            f"services are connected ({listed}). A connection that was made before Citus was installed would read no "
            "rows from then on, without an error. Stop the services, distribute, and start them again"
        )


def _refuse_missing_roles(conn: Conn) -> None:
    """Refuse if a node lacks a role or a membership, with the statements that a superuser runs there."""
    names = [name for (name,) in conn.execute(_SQL["list_roles_to_share"].sql)]
    query = _SQL["get_shared_roles"]
    ((here,),) = conn.execute(query.sql, {"names": names}).fetchall()
    command = psycopg.ClientCursor(conn).mogrify(query.sql.decode(), {"names": names})
    remedies = []
    for success, result, node in conn.execute(_SQL["ask_nodes"].sql, {"command": command}).fetchall():
        if not success:
            raise DistributionError(f"node {node} cannot be asked as role {conn.info.user}: {result}")
        there = json.loads(result)
        statements = [text for name in names for text in _repair(conn, name, here[name], there.get(name))]
        if statements:
            remedies.append(f"on node {node}: {'; '.join(statements)}")
    if remedies:
        raise DistributionError(
            f"nodes lack roles, which belong to each server. As a superuser run {'. Then '.join(remedies)}"
        )


def _repair(conn: Conn, name: str, here: list[Any], there: list[Any] | None) -> list[str]:
    """The statements that make a node's role like the coordinator's. Passwords cannot be read."""
    role = sql.Identifier(name).as_string(conn)
    login, bypasses, groups = here
    statements = []
    options = f"{'LOGIN' if login else 'NOLOGIN'} {'BYPASSRLS' if bypasses else 'NOBYPASSRLS'}"
    if there is None:
        statements.append(f"CREATE ROLE {role} {options}")
    elif there[:2] != here[:2]:
        statements.append(f"ALTER ROLE {role} {options}")
    missing = [group for group in groups if there is None or group not in there[2]]
    return [*statements, *(f"GRANT {sql.Identifier(group).as_string(conn)} TO {role}" for group in missing)]


def _name(conn: Conn, table: str) -> str:
    """The table's name as an argument of a function of Citus."""
    is_plain = re.fullmatch(r"[a-z_][a-z0-9_]*", table)
    return _literal(conn, table if is_plain else sql.Identifier(table).as_string(conn))


def _literal(conn: Conn, text: str) -> str:
    return sql.Literal(text).as_string(conn)
