"""What `skilldb top` shows: how much of the server's time each of our queries takes, from pg_stat_statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from skilldb import connection, guards, queries
from skilldb.errors import SkilldbError
from skilldb.settings import Secret, owner_search_path

_SQL = queries.load("admin/top")

INSTALL = (
    "install PostgreSQL's additional modules on the server (package postgresql-contrib or the like; "
    "the embedded server has none)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryUse:
    """What all calls of a query took together. `name`: as `views.get_user_view`, None for all other statements.

    Times are in milliseconds, of execution on the server. `share`: of all that was run in this database, 0 to 1.
    """

    name: str | None
    calls: int
    total_ms: float
    mean_ms: float
    rows: int
    share: float


def top(dsn: str, *, schema: str | None = None) -> list[QueryUse]:
    """Our queries since the statistics began, the most time first, and the other statements as the last one.

    `dsn` is the owner's; `schema` is by default that of SKILLDB_SCHEMA, or `public`. SkilldbError where
    pg_stat_statements cannot be read; its message says how to get it.
    """
    dsn = Secret(dsn)
    with connection.owned(dsn, schema) as conn, conn.transaction():
        if steps := missing(conn):
            raise SkilldbError("pg_stat_statements is needed. To get it: " + "; then ".join(steps))
        # The extension may be in another schema than skilldb's, in which others may create.
        place = _extension(conn)["schema_name"]
        guards.refuse_on(conn, place, owner=True)
        guards.pin(conn, owner_search_path(place), local=True)
        found = conn.execute(_SQL["list_statements"].sql).fetchall()
    whole = sum(total for _, _, total, _ in found)
    uses = [
        QueryUse(
            name=name,
            calls=calls,
            total_ms=total,
            mean_ms=total / calls if calls else 0.0,
            rows=rows,
            share=total / whole if whole else 0.0,
        )
        for name, calls, total, rows in found
    ]
    return sorted(uses, key=lambda use: use.name is None)


def missing(conn: psycopg.Connection[Any]) -> list[str]:
    """What is to be done, in this order, before the connection's role can read pg_stat_statements. Empty: nothing."""
    found = _extension(conn)
    steps = [] if found["available"] else [INSTALL]
    if not found["loaded"]:
        steps.append("add pg_stat_statements to shared_preload_libraries and restart the server")
    if found["schema_name"] is None:
        steps.append("as a superuser in this database: CREATE EXTENSION pg_stat_statements")
    elif found["version"] < [1, 8]:  # as of PostgreSQL 13; older where an upgraded server kept it
        steps.append("as a superuser in this database: ALTER EXTENSION pg_stat_statements UPDATE")
    if not found["reads_all"]:
        steps.append(f"as a superuser: GRANT pg_read_all_stats TO {found['role']}")
    return steps


def _extension(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    return conn.cursor(row_factory=dict_row).execute(_SQL["get_extension"].sql).fetchall()[0]
