"""Lists how much of the server's time each query takes, from pg_stat_statements, for `skilldb top`."""

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
    """The totals of a query. `name`: such as `views.get_user_view`; None is the sum of all other statements.

    Times are milliseconds of execution on the server. `share`, 0 to 1: the query's part of the time of this database.
    """

    name: str | None
    calls: int
    total_ms: float
    mean_ms: float
    rows: int
    share: float


def top(dsn: str | Secret, *, schema: str | None = None) -> list[QueryUse]:
    """skilldb's queries since the statistics began, longest total time first. The other statements are the last item.

    `dsn` is the owner's. `schema`: default SKILLDB_SCHEMA, else `public`. SkilldbError: pg_stat_statements cannot be
    read; the message says how to install it.
    """
    dsn = Secret(dsn)
    with connection.owned(dsn, schema) as conn, conn.transaction():
        if steps := missing(conn):
            raise SkilldbError("pg_stat_statements is needed. To get it: " + "; then ".join(steps))
        # The extension may be in another schema, where other roles may create.
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
    """The steps, in order, until the connection's role can read pg_stat_statements. Empty if it can already."""
    found = _extension(conn)
    steps = [] if found["available"] else [INSTALL]
    if not found["loaded"]:
        steps.append("add pg_stat_statements to shared_preload_libraries and restart the server")
    if found["schema_name"] is None:
        steps.append("as a superuser in this database: CREATE EXTENSION pg_stat_statements")
    elif found["version"] < [1, 8]:  # PostgreSQL 13 has 1.8. An upgraded server may have kept an older version.
        steps.append("as a superuser in this database: ALTER EXTENSION pg_stat_statements UPDATE")
    if not found["reads_all"]:
        steps.append(f"as a superuser: GRANT pg_read_all_stats TO {found['role']}")
    return steps


def _extension(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    return conn.cursor(row_factory=dict_row).execute(_SQL["get_extension"].sql).fetchall()[0]
