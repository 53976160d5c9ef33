"""Finds faults in the isolation between tenants, over the service's connection. Without a fault a list is empty.

skilldb/admin/isolation.py, which `skilldb doctor` also runs, reads the structure from the catalogue. This module tries
the behaviour. Both find the tables in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql

from skilldb.admin import isolation
from skilldb.admin.isolation import STRUCTURE as STRUCTURE
from skilldb.admin.isolation import Check, Conn, ForeignKey

# Tenants, and the ids of their rows: the row of tenant A has the id A. They are UUIDs, because usage_events needs
# UUIDs. They have one length, so that error texts differ only in the id.
A = "00000000-0000-4000-8000-00000000000a"
B = "00000000-0000-4000-8000-00000000000b"
PEER = "00000000-0000-4000-8000-00000000000c"
NOWHERE = "00000000-0000-4000-8000-00000000000d"
NEW = "00000000-0000-4000-8000-00000000000e"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`required`: an INSERT must name it. `choice`: a value that its CHECK lists, or None without such a CHECK."""

    name: str
    type: str
    required: bool
    updatable: bool
    choice: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(isolation.Table):
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def tables(conn: Conn) -> list[Table]:
    """Every table with a tenant_id, and the table tenants, from the catalogue."""
    found = isolation.tables(conn)
    keys = isolation.keys(conn)
    names = {table.name for table in found} - {"tenants"}
    return [
        Table(
            **asdict(table),
            columns=_columns(conn, table.oid),
            foreign_keys=tuple(key for key in keys if key.table == table.name and key.target in names),
        )
        for table in found
    ]


def _columns(conn: Conn, table: int) -> tuple[Column, ...]:
    found = conn.execute(
        r"""
        SELECT
            a.attname,
            format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL),
            a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
            has_column_privilege(a.attrelid, a.attnum, 'UPDATE'),
            (
                SELECT (regexp_match(pg_get_constraintdef(k.oid), 'ANY \(+ARRAY\[''([^'']*)'''))[1]
                FROM pg_constraint AS k
                WHERE
                    k.contype = 'c'
                    AND (k.contypid = t.oid OR (k.conrelid = a.attrelid AND k.conkey = ARRAY[a.attnum]))
                LIMIT 1
            )
        FROM pg_attribute AS a
        INNER JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        ORDER BY a.attnum
        """,
        [table],
    ).fetchall()
    return tuple(
        Column(name=name, type=type, required=required, updatable=updatable, choice=choice)
        for name, type, required, updatable, choice in found
    )


# The behaviour, on a seeded database.


ONE_ROW = {"tenants", "horizons"}
"""The tables with one row for each organisation."""


def seed(conn: Conn, *, shared: bool = True) -> None:
    """As the superuser, write to each table a row of A, one of PEER, one of B and, if `shared`, one of B with A's id.

    Deletes the previous rows.
    """
    with conn.transaction():
        # Skills and versions refer to each other, so no order of INSERTs passes the foreign-key checks.
        conn.execute("SET LOCAL session_replication_role = replica")
        for table in tables(conn):
            conn.execute(sql.SQL("DELETE FROM {}").format(table.identifier))
            for tenant, id in [(A, A), (PEER, PEER), (B, B), (B, A)]:
                if (tenant, id) != (B, A) or (shared and table.name not in ONE_ROW):
                    values = row(table, tenant=tenant, id=id, parent=id)
                    conn.execute(insertion(table, values), values)


def row(table: Table, *, tenant: str, id: str, parent: str, number: int = 1) -> dict[str, Any]:
    """A valid row of the table: every key refers to `parent`, every text is the id, every number is `number`."""
    samples: Mapping[str, Any] = {
        "text": id,
        "uuid": id,
        "integer": number,
        "bigint": number,
        "boolean": True,
        "date": "2026-01-01",
        "text[]": [],
        "bigint[]": "{}",
        "tsvector": "",
        "jsonb": "{}",
        "timestamp with time zone": "2026-01-01 00:00:00+00",
    }
    references = {column for key in table.foreign_keys for column in key.own_columns}
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.name == table.tenant_column:
            values[column.name] = tenant
        elif column.name in references:
            values[column.name] = parent
        elif column.name == "id":
            values[column.name] = id
        elif column.name == "slug":
            values[column.name] = slug_of(id)
        elif column.name == "content_hash":
            values[column.name] = "0" * 64
        elif column.required:
            assert column.type in samples, f"{table.name}.{column.name}: no sample of type {column.type}"
            values[column.name] = column.choice or samples[column.type]
    if table.name == "tenants":
        values |= {"name": tenant, "slug": slug_of(tenant)}
    if table.name == "skill_feedback":  # Only implemented feedback may refer to implemented_version_id.
        values["status"] = "implemented"
    return values


def slug_of(tenant: str) -> str:
    """The slug of the row of tenants."""
    return f"slug of {tenant}"


def rows_of(conn: Conn, tenant: str) -> dict[str, list[str]]:
    """As the superuser: all rows of a tenant, as text."""
    return {
        table.name: [
            text
            for (text,) in conn.execute(
                sql.SQL("SELECT t::text FROM {} AS t WHERE {} = %s ORDER BY 1").format(
                    table.identifier, sql.Identifier(table.tenant_column)
                ),
                [tenant],
            ).fetchall()
        ]
        for table in tables(conn)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of an attempt, which is rolled back: an error or the number of rows."""

    sqlstate: str | None = None
    text: str = ""
    rowcount: int = 0

    def without(self, id: str) -> tuple[str | None, str, int]:
        return self.sqlstate, self.text.replace(id, "?"), self.rowcount


def attempt(conn: Conn, query: sql.Composed, params: Mapping[str, Any] | None = None) -> Outcome:
    try:
        with conn.transaction(force_rollback=True):
            return Outcome(rowcount=conn.execute(query, params).rowcount)
    except psycopg.Error as error:
        return Outcome(sqlstate=error.sqlstate, text=f"{error.diag.message_primary} ({error.diag.message_detail})")


def delete_all(conn: Conn, table: Table) -> None:
    """Delete the visible rows of the table, if the service may and no other row refers to them."""
    try:
        with conn.transaction():
            conn.execute(sql.SQL("DELETE FROM {}").format(table.identifier))
    except (psycopg.IntegrityError, psycopg.errors.InsufficientPrivilege):
        pass


def insertion(table: Table, values: Mapping[str, Any]) -> sql.Composed:
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        table.identifier,
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
    )


def _update(table: Table) -> sql.Composed | None:
    """Set every column that the service may update to its current value."""
    columns = [sql.Identifier(column.name) for column in table.columns if column.updatable]
    changes = sql.SQL(", ").join(sql.SQL("{0} = {0}").format(column) for column in columns)
    return sql.SQL("UPDATE {} SET {}").format(table.identifier, changes) if columns else None


@contextmanager
def acting_for(conn: Conn, tenant: str) -> Iterator[None]:
    """Run a transaction with the tenant set, and roll it back."""
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT set_config('app.current_tenant_id', %s, true)", [tenant])
        yield


def closed_without_tenant(conn: Conn) -> list[str]:
    """Without a tenant (never set, or empty) nothing is visible and nothing can be written."""
    setting = conn.execute("SELECT current_setting('app.current_tenant_id', true)").fetchone()
    assert setting == (None,), "the tenant was set on this connection before"
    found = _without_tenant(conn, "unset")
    with acting_for(conn, ""):
        return found + _without_tenant(conn, "empty")


def _without_tenant(conn: Conn, state: str) -> list[str]:
    found = []
    for table in tables(conn):
        seen = attempt(conn, sql.SQL("SELECT FROM {}").format(table.identifier))
        if seen.sqlstate is not None or seen.rowcount:
            found.append(f"{table.name}: {seen} seen with the tenant {state}")
        if (update := _update(table)) and attempt(conn, update) != Outcome():
            found.append(f"{table.name}: updated with the tenant {state}")
        deleted = attempt(conn, sql.SQL("DELETE FROM {}").format(table.identifier))
        if deleted.sqlstate != "42501" and deleted != Outcome():
            found.append(f"{table.name}: deleted with the tenant {state}")
        for tenant in (A, ""):
            values = row(table, tenant=tenant, id=NEW, parent=A)
            inserted = attempt(conn, insertion(table, values), values)
            # The empty tenant passes the policy while it is set, and fails because no such tenant can exist.
            if inserted.sqlstate is None or (tenant and inserted.sqlstate != "42501"):
                found.append(f"{table.name}: {inserted} on insert for {tenant!r} with the tenant {state}")
    return found


def closed_to_others(conn: Conn) -> list[str]:
    """A cannot read, change, delete or add rows of other tenants, and cannot move a row to another tenant."""
    with acting_for(conn, A):
        return [violation for table in tables(conn) for violation in _closed_to_others(conn, table)]


def _closed_to_others(conn: Conn, table: Table) -> Iterator[str]:
    tenant = sql.Identifier(table.tenant_column)
    seen = attempt(conn, sql.SQL("SELECT FROM {}").format(table.identifier))
    own = attempt(conn, sql.SQL("SELECT FROM {} WHERE {} = %(a)s").format(table.identifier, tenant), {"a": A})
    if own.rowcount != 1 or seen != own:
        yield f"{table.name}: sees {seen}; its own rows are {own}"
    others = sql.SQL(" WHERE {} <> %(a)s").format(tenant)
    if update := _update(table):
        if attempt(conn, update + others, {"a": A}) != Outcome():
            yield f"{table.name}: changes rows of others"
        if attempt(conn, update) != Outcome(rowcount=1):
            yield f"{table.name}: an UPDATE without a condition does not change exactly its own row"
    deleted = attempt(conn, sql.SQL("DELETE FROM {}").format(table.identifier) + others, {"a": A})
    if deleted.sqlstate != "42501" and deleted != Outcome():
        yield f"{table.name}: deletes rows of others"
    emptied = attempt(conn, sql.SQL("TRUNCATE {} CASCADE").format(table.identifier))
    if emptied.sqlstate != "42501":
        yield f"{table.name}: can be truncated"
    for column in {table.tenant_column, "id"} & {column.name for column in table.columns}:
        moved = attempt(
            conn, sql.SQL("UPDATE {} SET {} = %(b)s").format(table.identifier, sql.Identifier(column)), {"b": B}
        )
        if moved.sqlstate != "42501":
            yield f"{table.name}: {column} can be changed"
    added = {}
    for other in (B, NOWHERE):
        values = row(table, tenant=other, id=NEW, parent=other)
        added[other] = attempt(conn, insertion(table, values), values)
    if added[B].sqlstate != "42501" or added[B].without(B) != added[NOWHERE].without(NOWHERE):
        yield f"{table.name}: {added} on insert for others"


def undetected(conn: Conn) -> list[str]:
    """A cannot refer to an id of B, gets the error of an unknown id, and can use that id itself."""
    with acting_for(conn, A):
        return [
            violation for table in tables(conn) if table.name != "tenants" for violation in _undetected(conn, table)
        ]


def _undetected(conn: Conn, table: Table) -> Iterator[str]:
    updatable = {column.name for column in table.columns if column.updatable}
    for key in table.foreign_keys:
        inserts, updates = {}, {}
        for other in (B, NOWHERE):
            reference = dict.fromkeys(key.own_columns, other)
            values = row(table, tenant=A, id=NEW, parent=A, number=2) | reference
            inserts[other] = attempt(conn, insertion(table, values), values)
            changes = sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder(column)) for column in reference
            )
            updates[other] = attempt(conn, sql.SQL("UPDATE {} SET {}").format(table.identifier, changes), reference)
        for outcomes, expected in (
            (inserts, "23503"),
            (updates, "23503" if updatable.issuperset(key.own_columns) else "42501"),
        ):
            if outcomes[B].sqlstate != expected or outcomes[B].without(B) != outcomes[NOWHERE].without(NOWHERE):
                yield f"{table.name}: {key.name} gives different outcomes {outcomes}"
    values = row(table, tenant=A, id=B, parent=A, number=2)
    taken = attempt(conn, insertion(table, values), values)
    if taken.sqlstate == "23505":
        # The conflict may be with A's own row, which has the same parents.
        with acting_for(conn, A):
            delete_all(conn, table)
            taken = attempt(conn, insertion(table, values), values)
    if taken != Outcome(rowcount=1):
        yield f"{table.name}: {taken} on inserting an id that B has too"


def shown_by_slug(conn: Conn) -> list[str]:
    """Who names a slug in place of a tenant reads the row of that slug, and nothing else. It can lock or write nothing.

    So does a call of A that names B's slug as well, except for A's own rows.
    """
    found: list[str] = []
    with _naming(conn, "", slug_of(B)):
        for table in tables(conn):
            expected = 1 if table.name == "tenants" else 0
            found += _only_read(conn, table, {slug_of(B)} if expected else set(), expected)
    for tenant in ("", A):
        for slug in ("", "slug of", slug_of(NOWHERE), slug_of(A)[:-1], "%", slug_of(A).upper()):
            with _naming(conn, tenant, slug):
                for table in tables(conn):
                    seen = attempt(conn, sql.SQL("SELECT FROM {}").format(table.identifier))
                    if seen != Outcome(rowcount=1 if tenant else 0):
                        found.append(f"{table.name}: {seen} seen with the tenant {tenant!r} and the slug {slug!r}")
    with _naming(conn, A, slug_of(B)):
        for table in tables(conn):
            if table.name == "tenants":
                found += _only_read(conn, table, {slug_of(A), slug_of(B)}, 2, own=1)
            else:
                seen = attempt(conn, sql.SQL("SELECT FROM {}").format(table.identifier))
                found += [] if seen == Outcome(rowcount=1) else [f"{table.name}: {seen} seen beside a slug"]
    return found


@contextmanager
def _naming(conn: Conn, tenant: str, slug: str) -> Iterator[None]:
    with acting_for(conn, tenant):
        conn.execute("SELECT set_config('app.current_tenant_slug', %s, true)", [slug])
        yield


def _only_read(conn: Conn, table: Table, slugs: set[str], rows: int, own: int = 0) -> Iterator[str]:
    """The rows are read, and of them only those of the tenant that is set are locked or written."""
    seen = attempt(conn, sql.SQL("SELECT FROM {}").format(table.identifier))
    if seen != Outcome(rowcount=rows):
        yield f"{table.name}: {seen} seen by a slug, not {rows} rows"
    if slugs and {slug for (slug,) in conn.execute("SELECT slug FROM tenants")} != slugs:
        yield f"{table.name}: other rows than {slugs} seen by a slug"
    for lock in ("KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"):
        locked = attempt(conn, sql.SQL("SELECT FROM {} FOR {}").format(table.identifier, sql.SQL(lock)))
        if locked != Outcome(rowcount=own) and locked.sqlstate != "42501":
            yield f"{table.name}: {locked} locked FOR {lock} by a slug"
    if (update := _update(table)) and (updated := attempt(conn, update)) != Outcome(rowcount=own):
        yield f"{table.name}: {updated} updated by a slug"
    deleted = attempt(
        conn,
        sql.SQL("DELETE FROM {} WHERE {} <> %(a)s").format(table.identifier, sql.Identifier(table.tenant_column)),
        {"a": A},
    )
    if deleted.sqlstate != "42501" and deleted != Outcome():
        yield f"{table.name}: {deleted} deleted by a slug"
    values = row(table, tenant=B, id=NEW, parent=B) | ({"id": NEW} if table.name == "tenants" else {})
    inserted = attempt(conn, insertion(table, values), values)
    if inserted.sqlstate != "42501":
        yield f"{table.name}: {inserted} on insert by a slug"


BEHAVIOUR: tuple[Check, ...] = (closed_without_tenant, closed_to_others, undetected, shown_by_slug)
