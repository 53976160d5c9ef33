"""Lists the organisations as the owner, and finds and repairs drift of counters and searches as the service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import psycopg

from skilldb import connection, queries
from skilldb.database import Tenant
from skilldb.errors import NotFoundError
from skilldb.models import MetricDrift
from skilldb.repositories import metrics, search
from skilldb.settings import Secret

_SQL = queries.load("admin/drift")


def list_tenants(owner_dsn: str | Secret, *, schema: str | None = None) -> list[tuple[str, str]]:
    """Id and name of every organisation, ordered by id. PermissionDeniedError: the role is not the owner."""
    owner_dsn = Secret(owner_dsn)
    with connection.owned(owner_dsn, schema) as conn:
        return tenants_on(conn)


def tenants_on(conn: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """The same on a connection of connection.owned()."""
    with conn.transaction():
        conn.execute(_SQL["see_all_rows"].sql)
        return conn.execute(_SQL["list_tenants"].sql).fetchall()


def check(tenants: Iterable[Tenant], *, repair: bool = False) -> Iterator[tuple[str, MetricDrift]]:
    """Each counter that has drifted, with its organisation's id. With `repair`, it is repaired before it is yielded."""
    for tenant in tenants:
        found = tenant.execute(metrics.find_metric_drift())
        if repair:
            for skill_id in sorted({drift.skill_id for drift in found}):
                with suppress(NotFoundError):  # The skill was deleted meanwhile.
                    tenant.execute(metrics.repair_metrics(skill_id))
        for drift in found:
            yield tenant.id, drift


def check_search(tenant: Tenant, *, repair: bool = False) -> list[str]:
    """The ids of the skills that searches do not find by their present words. With `repair`, they are then found."""
    found = tenant.execute(search.find_search_drift())
    for skill_id in found if repair else ():
        with suppress(NotFoundError):  # The skill was deleted meanwhile.
            tenant.execute(search.repair_search([skill_id]))
    return found
