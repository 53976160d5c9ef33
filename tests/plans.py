"""Reads plans: what they scan, by which index and condition, and how many rows they throw away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skilldb import explain, queries
from tests import scaled
from tests.conftest import Addresses, rows

BIG_TABLE = 10_000
"""Rows from which on a table must not be read from end to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a query ran for a tenant."""

    query: str
    tenant: str | None
    generic: bool
    top: dict[str, Any]

    def __str__(self) -> str:
        who = "the owner" if self.tenant is None else self.tenant
        return f"{self.query} for {who}, {'generic' if self.generic else 'custom'} plan"

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node of the plan."""
        waiting = [self.top]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            yield node

    def indexes(self) -> Iterator[str]:
        """The indexes it scans, and those by which it finds conflicts."""
        for node in self.nodes():
            if "Index Name" in node:
                yield node["Index Name"]
            yield from node.get("Conflict Arbiter Indexes", [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What a plan is judged by: each table's rows, and the column of the tenant of each index's table."""

    rows: Mapping[str, int]
    tenant_columns: Mapping[str, str]

    @staticmethod
    def of(dsn: str) -> Catalogue:
        tables = "SELECT relname, reltuples::bigint FROM pg_class WHERE relkind = 'r'"
        columns = """
        SELECT i.indexrelid::regclass::text, a.attname
        FROM pg_index AS i
        INNER JOIN pg_class AS c ON c.oid = i.indrelid
        INNER JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relrowsecurity AND a.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END
        """
        return Catalogue(rows=dict(rows(dsn, tables)), tenant_columns=dict(rows(dsn, columns)))


def run(addresses: Addresses, tenants: list[str], names: list[str] | None = None) -> list[Plan]:
    """The custom and the generic plan of every query that has one, for each tenant, or for the owner."""
    found = []
    examples: dict[str, dict[str, Any]] = {}
    for name, query in queries.load_all().items():
        if (names is not None and name not in names) or not explain.has_plan(query):
            continue
        owners = explain.is_owners(query)
        dsn = addresses.owner if owners else addresses.service
        for tenant in [None] if owners else tenants:
            if tenant is not None and tenant not in examples:
                examples[tenant] = explain.find_examples(dsn, tenant)
            for generic in (False, True):
                done = explain.explain(
                    dsn, name, tenant, generic=generic, as_json=True, examples=examples.get(tenant or "")
                )
                found.append(Plan(query=name, tenant=tenant, generic=generic, top=done.plan["Plan"]))
    return found


def index_uses(plans: list[Plan]) -> dict[str, list[str]]:
    """The queries that use each index, by its name, both sorted."""
    uses: dict[str, set[str]] = {}
    for plan in plans:
        for index in plan.indexes():
            uses.setdefault(index, set()).add(plan.query)
    return {index: sorted(uses[index]) for index in sorted(uses)}
