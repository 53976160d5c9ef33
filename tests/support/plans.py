"""Reads plans: their scans, indexes and conditions, and the rows that they discard."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from skilldb import queries
from skilldb.admin import explain
from skilldb.query import Query

BIG_TABLE = 10_000
"""A table with more rows must not be read from end to end."""

REMOVED = 1_000
REMOVED_PER_ROW = 10
"""The rows that a plan may discard, and how many more for each returned row.

A query may read all views of one user or all feedback items of one skill; the first number allows that. An organisation
or a table has far more rows: a query that reads them for a few rows lacks an index.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a query ran for a tenant, or for the owner; `reads_all` as in its header."""

    query: str
    tenant: str | None
    generic: bool
    reads_all: str | None
    top: dict[str, Any]

    def __str__(self) -> str:
        who = "the owner" if self.tenant is None else self.tenant
        return f"the {'generic' if self.generic else 'custom'} plan of {self.query} for {who}"

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node of the plan."""
        waiting = [self.top]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            yield node

    def indexes(self) -> Iterator[str]:
        """The indexes that it scans, and those that find conflicts."""
        for node in self.nodes():
            if "Index Name" in node:
                yield node["Index Name"]
            yield from node.get("Conflict Arbiter Indexes", [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The numbers of rows of each table, and the tenant's column of each index."""

    rows: Mapping[str, int]
    tenant_columns: Mapping[str, str]

    @staticmethod
    def of(conn: psycopg.Connection[Any]) -> Catalogue:
        tables = conn.execute("SELECT relname, reltuples::bigint FROM pg_class WHERE relkind IN ('r', 'p')")
        columns = conn.execute("""
            SELECT i.indexrelid::regclass::text, a.attname
            FROM pg_index AS i
            INNER JOIN pg_class AS c ON c.oid = i.indrelid
            INNER JOIN pg_attribute AS a ON a.attrelid = c.oid
            WHERE c.relrowsecurity AND a.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END
            """)
        return Catalogue(rows=dict(tables.fetchall()), tenant_columns=dict(columns.fetchall()))


EXTENSIONS = (b"FROM pg_stat_statements", b"FROM pg_dist_", b"FROM run_command_on_workers")


def planned() -> dict[str, Query]:
    """Every query with a plan, by name. Those that need an extension are left out, because few test servers have it."""
    return {
        name: query
        for name, query in queries.load_all().items()
        if explain.has_plan(query) and not any(extension in query.sql for extension in EXTENSIONS)
    }


def run(owner_dsn: str, service_dsn: str, tenants: list[str]) -> list[Plan]:
    """The custom and the generic plan of every query, for each tenant or for the owner."""
    found = []
    examples = {tenant: explain.find_examples(service_dsn, tenant) for tenant in tenants}
    for name, query in planned().items():
        owners = explain.is_owners(query)
        for tenant in [None] if owners else tenants:
            for generic in (False, True):
                done = explain.explain(
                    owner_dsn if owners else service_dsn,
                    name,
                    tenant,
                    generic=generic,
                    as_json=True,
                    examples=examples.get(tenant or ""),
                )
                found.append(
                    Plan(query=name, tenant=tenant, generic=generic, reads_all=query.reads_all, top=done.plan["Plan"])
                )
    return found


def violations(plan: Plan, catalogue: Catalogue) -> list[str]:
    """The faults of the plan, one sentence each.

    A query with `Reads all` in its header may read big tables, or all of the organisation, from end to end, and may
    discard their rows.
    """
    wrong = []
    removed = 0.0
    for node in plan.nodes():
        # PostgreSQL 16 plans a scan for `skill_id = NULL`, and never runs it.
        ran = node["Actual Loops"] > 0
        whole = ran and node["Node Type"] == "Seq Scan" and catalogue.rows.get(node["Relation Name"], 0) > BIG_TABLE
        if whole and not plan.reads_all:
            wrong.append(
                f"{plan} reads the whole of {node['Relation Name']}: add a condition that an index serves, or a line "
                "`-- Reads all:` with the reason to its header"
            )
        index = node.get("Index Name")
        column = catalogue.tenant_columns.get(index or "")
        condition = node.get("Index Cond", "")
        if column and not re.search(rf"\b{column} = ", condition):
            wrong.append(f"{plan} scans {index} by {condition or 'no condition'}, without {column}")
        # No index can serve a VALUES list or a function scan, and we cannot add indexes to PostgreSQL's catalogue.
        foreign = node["Node Type"] in ("Values Scan", "Function Scan") or node.get("Relation Name", "").startswith(
            "pg_"
        )
        if not plan.reads_all and not foreign:
            removed += node["Actual Loops"] * sum(n for name, n in node.items() if name.startswith("Rows Removed by "))
    returned = plan.top["Actual Rows"] * plan.top["Actual Loops"]
    if removed > REMOVED + REMOVED_PER_ROW * returned:
        wrong.append(f"{plan} discards {removed:.0f} rows to return {returned:.0f}")
    return wrong


def index_uses(plans: list[Plan]) -> dict[str, list[str]]:
    """The queries that use each index, by its name, both sorted."""
    uses: dict[str, set[str]] = {}
    for plan in plans:
        for index in plan.indexes():
            uses.setdefault(index, set()).add(plan.query)
    return {index: sorted(uses[index]) for index in sorted(uses)}


def useless_indexes(conn: psycopg.Connection[Any], uses: Mapping[str, list[str]]) -> list[str]:
    """The indexes that no query's plan uses and whose comment gives no reason. Keys are left out."""
    found = conn.execute("""
        SELECT i.indexrelid::regclass::text
        FROM pg_index AS i
        INNER JOIN pg_class AS c ON c.oid = i.indrelid
        WHERE c.relrowsecurity AND NOT i.indisunique AND obj_description(i.indexrelid, 'pg_class') IS NULL
        ORDER BY 1
        """)
    return [index for (index,) in found if index not in uses]
