"""What is wrong with the isolation between tenants: checks over the service's connection, empty where all is well.

The structure is read from the catalogue, the behaviour is tried out. The tables are discovered, never listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from skilldb import connection

Conn = psycopg.Connection[tuple[Any, ...]]
Check = Callable[[Conn], list[str]]

# Tenants, and the ids of rows: the row of tenant A has the id A. UUIDs, since usage_events wants them, of one length,
# so that an error's text differs in nothing else.
A = "00000000-0000-4000-8000-00000000000a"
B = "00000000-0000-4000-8000-00000000000b"
PEER = "00000000-0000-4000-8000-00000000000c"
NOWHERE = "00000000-0000-4000-8000-00000000000d"
NEW = "00000000-0000-4000-8000-00000000000e"

APP = "skilldb_app"
IMMUTABLE = {"skill_versions"}
NEVER_UPDATED = {"tenant_id", "id", "created_at"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`required`: an INSERT must name it. `choice`: a value that its CHECK lists, None without such a CHECK."""

    name: str
    type: str
    required: bool
    updatable: bool
    choice: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    name: str
    table: str
    target: str
    pairs: tuple[tuple[str, str], ...]
    validated: bool

    @property
    def own_columns(self) -> list[str]:
        """Those that say which of the tenant's rows is meant."""
        return [column for column, _ in self.pairs if column != "tenant_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a tenant_id, or tenants itself, whose id is the tenant's."""

    oid: int
    schema: str
    name: str
    tenant_column: str
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def tables(conn: Conn) -> list[Table]:
    """Every table with a tenant_id, and tenants, as the catalogue knows them."""
    found = conn.execute(
        """
        SELECT c.oid::bigint, n.nspname, c.relname, coalesce(a.attname, 'id')
        FROM pg_class AS c
        INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname !~ '^pg_' AND (a.attname IS NOT NULL OR c.relname = 'tenants')
        ORDER BY n.nspname, c.relname
        """
    ).fetchall()
    keys = _foreign_keys(conn)
    names = {name for _, _, name, _ in found} - {"tenants"}
    assert names, "no table has a tenant_id"
    return [
        Table(
            oid=oid,
            schema=schema,
            name=name,
            tenant_column=tenant_column,
            columns=_columns(conn, oid),
            foreign_keys=tuple(key for key in keys if key.table == name and key.target in names),
        )
        for oid, schema, name, tenant_column in found
    ]


def _columns(conn: Conn, table: int) -> tuple[Column, ...]:
    found = conn.execute(
        r"""
        SELECT
            a.attname,
            format_type(a.atttypid, NULL),
            a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
            has_column_privilege(a.attrelid, a.attnum, 'UPDATE'),
            (
                SELECT (regexp_match(pg_get_constraintdef(k.oid), 'ANY \(+ARRAY\[''([^'']*)'''))[1]
                FROM pg_constraint AS k
                WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
                LIMIT 1
            )
        FROM pg_attribute AS a
        WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        ORDER BY a.attnum
        """,
        [table],
    ).fetchall()
    return tuple(
        Column(name=name, type=type, required=required, updatable=updatable, choice=choice)
        for name, type, required, updatable, choice in found
    )


def _foreign_keys(conn: Conn) -> list[ForeignKey]:
    found = conn.execute(
        """
        SELECT
            k.conname,
            c.relname,
            f.relname,
            (
                SELECT array_agg(ARRAY[a.attname, b.attname] ORDER BY p.n)
                FROM unnest(k.conkey, k.confkey) WITH ORDINALITY AS p (own, other, n)
                INNER JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = p.own
                INNER JOIN pg_attribute AS b ON b.attrelid = k.confrelid AND b.attnum = p.other
            )::text[],
            k.convalidated
        FROM pg_constraint AS k
        INNER JOIN pg_class AS c ON c.oid = k.conrelid
        INNER JOIN pg_class AS f ON f.oid = k.confrelid
        WHERE k.contype = 'f'
        ORDER BY k.conname
        """
    ).fetchall()
    return [
        ForeignKey(
            name=name,
            table=table,
            target=target,
            pairs=tuple((own, other) for own, other in pairs),
            validated=validated,
        )
        for name, table, target, pairs, validated in found
    ]


# The structure.


def row_security(conn: Conn) -> list[str]:
    """Enabled everywhere; forced on all but tenants, which the owner lists for maintenance."""
    found = []
    for table in tables(conn):
        row = conn.execute(
            "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s", [table.oid]
        ).fetchone()
        assert row is not None
        if not row[0]:
            found.append(f"{table.name}: row-level security is not enabled")
        if not row[1] and table.name != "tenants":
            found.append(f"{table.name}: row-level security is not forced")
    return found


def policies(conn: Conn) -> list[str]:
    """Two on each table, restrictive and permissive, for all commands and roles, with one predicate in both clauses."""
    found = []
    for table in tables(conn):
        predicate = f"({table.tenant_column} = current_setting('app.current_tenant_id'::text, true))"
        expected = [
            ("tenant_isolation", False, "*", [0], predicate, predicate),
            ("tenant_access", True, "*", [0], predicate, predicate),
        ]
        actual = conn.execute(
            """
            SELECT
                polname, polpermissive, polcmd::text, polroles::bigint[],
                pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
            FROM pg_policy
            WHERE polrelid = %s
            """,
            [table.oid],
        ).fetchall()
        found += [f"{table.name}: unexpected policy {policy}" for policy in actual if policy not in expected]
        found += [f"{table.name}: no policy {policy}" for policy in expected if policy not in actual]
    return found


def foreign_keys(conn: Conn) -> list[str]:
    """A key between two tables pairs their tenant_ids; each table's tenant_id refers to tenants; all are validated."""
    names = {table.name for table in tables(conn)} - {"tenants"}
    keys = _foreign_keys(conn)
    found = []
    for key in keys:
        if key.target == "tenants":
            sound = key.pairs == (("tenant_id", "id"),)
        elif key.target in names:
            sound = key.table in names and ("tenant_id", "tenant_id") in key.pairs
        else:
            sound = key.table not in names
        if not sound:
            found.append(f"{key.table}: {key.name} refers to {key.target} by {key.pairs}, across tenants")
        if not key.validated:
            found.append(f"{key.table}: {key.name} was never validated")
    bound = {key.table for key in keys if key.target == "tenants"}
    return found + [f"{name}: its tenant_id does not refer to tenants" for name in sorted(names - bound)]


def unique_keys(conn: Conn) -> list[str]:
    """What is unique is so within a tenant: another tenant's value would show as a conflict. The key is the pair."""
    found = []
    for table in tables(conn):
        if table.name == "tenants":
            continue
        keys = conn.execute(
            """
            SELECT
                i.indexrelid::regclass::text,
                i.indisprimary,
                ARRAY(
                    SELECT coalesce(a.attname, 'an expression')
                    FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, n)
                    LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                    WHERE k.n <= i.indnkeyatts
                    ORDER BY k.n
                )::text[]
            FROM pg_index AS i
            WHERE i.indrelid = %s AND (i.indisunique OR i.indisexclusion)
            """,
            [table.oid],
        ).fetchall()
        found += [f"{table.name}: {name} is unique across tenants" for name, _, key in keys if "tenant_id" not in key]
        if [key for _, primary, key in keys if primary] != [["tenant_id", "id"]]:
            found.append(f"{table.name}: its primary key is not (tenant_id, id)")
    return found


def triggers(conn: Conn) -> list[str]:
    """None but those of foreign keys, which are all switched on; no rules."""
    oids = [table.oid for table in tables(conn)]
    return [
        f"{table}: {kind} {name}"
        for table, kind, name in conn.execute(
            """
            SELECT c.relname, CASE WHEN t.tgisinternal THEN 'switched off' ELSE 'trigger' END, t.tgname
            FROM pg_trigger AS t
            INNER JOIN pg_class AS c ON c.oid = t.tgrelid
            WHERE t.tgrelid = ANY(%(oids)s::oid[]) AND (NOT t.tgisinternal OR t.tgenabled <> 'O')
            UNION ALL
            SELECT c.relname, 'rule', r.rulename
            FROM pg_rewrite AS r
            INNER JOIN pg_class AS c ON c.oid = r.ev_class
            WHERE r.ev_class = ANY(%(oids)s::oid[])
            """,
            {"oids": oids},
        ).fetchall()
    ]


def privileges(conn: Conn) -> list[str]:
    """What the service was granted, by whatever way, is no more than its work needs, and was granted to skilldb_app.

    Relations that are not isolated, views among them, are not for the service at all.
    """
    isolated = {table.name for table in tables(conn)}
    found = []
    for kind, name, column, grantee, privilege, grantable in conn.execute(_GRANTS).fetchall():
        match kind:
            case "relation" if name not in isolated:
                allowed = False
            case "relation" if column is not None:
                allowed = privilege == "UPDATE" and column not in NEVER_UPDATED and name not in IMMUTABLE
            case "relation":
                allowed = privilege in ({"SELECT", "INSERT"} if name in IMMUTABLE else {"SELECT", "INSERT", "DELETE"})
            case "function":
                allowed = privilege == "EXECUTE"
            # What every role has of a database and a schema, so that it can enter.
            case "schema":
                allowed, grantee = privilege == "USAGE", APP
            case "database":
                allowed, grantee = privilege in {"CONNECT", "TEMPORARY"}, APP
            case _:
                allowed = False
        if not allowed or grantee != APP or grantable:
            option = " with grant option" if grantable else ""
            found.append(f"{kind} {name}{f'.{column}' if column else ''}: {privilege} for {grantee}{option}")
    return found


_GRANTS = """
WITH granted (kind, name, part, acl) AS (
    SELECT 'relation', c.relname, NULL::name, coalesce(
        c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)
    )
    FROM pg_class AS c
    WHERE
        c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'relation', c.relname, a.attname, a.attacl
    FROM pg_attribute AS a
    INNER JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'function', p.proname, NULL, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p
    WHERE p.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'schema', n.nspname, NULL, coalesce(n.nspacl, acldefault('n', n.nspowner))
    FROM pg_namespace AS n
    UNION ALL
    SELECT 'database', d.datname, NULL, coalesce(d.datacl, acldefault('d', d.datdba))
    FROM pg_database AS d
    WHERE d.datname = current_database()
    UNION ALL
    SELECT 'parameter', p.parname, NULL, p.paracl
    FROM pg_parameter_acl AS p
    UNION ALL
    SELECT 'default', d.defaclobjtype::text, NULL, d.defaclacl
    FROM pg_default_acl AS d
)

SELECT
    g.kind,
    g.name,
    g.part,
    CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END,
    x.privilege_type,
    x.is_grantable
FROM granted AS g
CROSS JOIN LATERAL aclexplode(g.acl) AS x
WHERE x.grantee = 0 OR pg_has_role(current_user, x.grantee, 'MEMBER')
"""


def functions(conn: Conn) -> list[str]:
    """None that runs as its owner, none that may see rows before the policies do."""
    return [
        f"function {name}: {'SECURITY DEFINER' if definer else 'LEAKPROOF'}"
        for name, definer in conn.execute(
            """
            SELECT p.proname, p.prosecdef
            FROM pg_proc AS p
            WHERE
                p.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
                AND has_function_privilege(p.oid, 'EXECUTE')
                AND (p.prosecdef OR p.proleakproof)
            """
        ).fetchall()
    ]


def roles(conn: Conn) -> list[str]:
    """The service is a member of skilldb_app and of nothing else; neither has an attribute, a table or a tenant set."""
    found = []
    for name, known, powers in conn.execute(
        """
        SELECT
            r.rolname,
            r.rolname IN (current_user, 'skilldb_app'),
            array_remove(ARRAY[
                CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
                CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
                CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
                CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                CASE WHEN r.rolreplication THEN 'REPLICATION' END,
                CASE WHEN r.rolcanlogin AND r.rolname = 'skilldb_app' THEN 'LOGIN' END
            ], NULL)
        FROM pg_roles AS r
        WHERE pg_has_role(current_user, r.oid, 'MEMBER')
        """
    ).fetchall():
        found += [f"role {name}: {power}" for power in powers]
        if not known:
            found.append(f"role {name}: the service is a member")
    for name, thing in conn.execute(
        """
        SELECT r.rolname, coalesce(pg_describe_object(d.classid, d.objid, d.objsubid), 'something')
        FROM pg_shdepend AS d
        INNER JOIN pg_roles AS r ON r.oid = d.refobjid
        WHERE
            d.refclassid = 'pg_authid'::regclass
            AND d.deptype = 'o'
            AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND r.rolname IN (current_user, 'skilldb_app')
        """
    ).fetchall():
        found.append(f"role {name}: owns {thing}")
    for name, group in conn.execute(
        """
        SELECT m.member::regrole::text, m.roleid::regrole::text
        FROM pg_auth_members AS m
        WHERE m.admin_option AND pg_has_role(current_user, m.member, 'MEMBER')
        """
    ).fetchall():
        found.append(f"role {name}: ADMIN OPTION on {group}")
    for name, setting in conn.execute(
        """
        SELECT coalesce(r.rolname, d.datname), s.setting
        FROM pg_db_role_setting AS c
        CROSS JOIN LATERAL unnest(c.setconfig) AS s (setting)
        LEFT JOIN pg_roles AS r ON r.oid = c.setrole
        LEFT JOIN pg_database AS d ON d.oid = c.setdatabase
        WHERE s.setting LIKE 'app.current_tenant_id=%%'
        """,
        (),
    ).fetchall():
        found.append(f"{name}: begins with {setting}")
    return found


def opening(conn: Conn) -> list[str]:
    """What skilldb itself looks for before it opens."""
    return [reason for (reason,) in conn.execute(connection.ROLE_CHECK).fetchall()]


# The behaviour, on a seeded database.


def seed(conn: Conn, *, shared: bool = True) -> None:
    """As the superuser: in each table a row of A, one of PEER, one of B and, where shared, one of B with A's id too.

    Rows that were there are gone.
    """
    with conn.transaction():
        # Rows refer to rows of the same id, skills and versions to each other: no order would do.
        conn.execute("SET LOCAL session_replication_role = replica")
        for table in tables(conn):
            conn.execute(sql.SQL("DELETE FROM {}").format(table.identifier))
            for tenant, id in [(A, A), (PEER, PEER), (B, B), (B, A)]:
                if (tenant, id) != (B, A) or (shared and table.name != "tenants"):
                    values = row(table, tenant=tenant, id=id, parent=id)
                    conn.execute(_insertion(table, values), values)


def row(table: Table, *, tenant: str, id: str, parent: str, number: int = 1) -> dict[str, Any]:
    """A row that the table takes: all keys to `parent`, texts that are the id, numbers that are `number`."""
    samples: Mapping[str, Any] = {
        "text": id,
        "uuid": id,
        "integer": number,
        "bigint": number,
        "boolean": True,
        "text[]": [],
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
        elif column.name == "content_hash":
            values[column.name] = "0" * 64
        elif column.required:
            assert column.type in samples, f"{table.name}.{column.name}: no sample of type {column.type}"
            values[column.name] = column.choice or samples[column.type]
    if table.name == "tenants":
        values |= {"name": tenant, "slug": tenant}
    return values


def rows_of(conn: Conn, tenant: str) -> dict[str, list[str]]:
    """As the superuser: everything that a tenant has, as text."""
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
    """What became of an attempt, which was undone: an error, or the rows that it met."""

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
    """Delete what can be seen of the table, unless other rows still need it or the service may not."""
    try:
        with conn.transaction():
            conn.execute(sql.SQL("DELETE FROM {}").format(table.identifier))
    except (psycopg.IntegrityError, psycopg.errors.InsufficientPrivilege):
        pass


def _insertion(table: Table, values: Mapping[str, Any]) -> sql.Composed:
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        table.identifier,
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
    )


def _update(table: Table) -> sql.Composed | None:
    """Every column that the service may update, to what it is."""
    columns = [sql.Identifier(column.name) for column in table.columns if column.updatable]
    changes = sql.SQL(", ").join(sql.SQL("{0} = {0}").format(column) for column in columns)
    return sql.SQL("UPDATE {} SET {}").format(table.identifier, changes) if columns else None


@contextmanager
def acting_for(conn: Conn, tenant: str) -> Iterator[None]:
    """With the tenant set; whatever is done is undone."""
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT set_config('app.current_tenant_id', %s, true)", [tenant])
        yield


def closed_without_tenant(conn: Conn) -> list[str]:
    """Without a tenant nothing is visible, and nothing can be written. On a new connection: never set, and empty."""
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
            inserted = attempt(conn, _insertion(table, values), values)
            # The empty tenant passes the policy while it is set, and fails because no such tenant can exist.
            if inserted.sqlstate is None or (tenant and inserted.sqlstate != "42501"):
                found.append(f"{table.name}: {inserted} on insert for {tenant!r} with the tenant {state}")
    return found


def closed_to_others(conn: Conn) -> list[str]:
    """For A, what is not A's cannot be read, changed, deleted or added, nor can a row change its tenant."""
    with acting_for(conn, A):
        return [violation for table in tables(conn) for violation in _closed_to_others(conn, table)]


def _closed_to_others(conn: Conn, table: Table) -> Iterator[str]:
    tenant = sql.Identifier(table.tenant_column)
    seen = attempt(conn, sql.SQL("SELECT FROM {}").format(table.identifier))
    own = attempt(conn, sql.SQL("SELECT FROM {} WHERE {} = %(a)s").format(table.identifier, tenant), {"a": A})
    if own.rowcount != 1 or seen != own:
        yield f"{table.name}: sees {seen}, of which own {own}"
    others = sql.SQL(" WHERE {} <> %(a)s").format(tenant)
    if update := _update(table):
        if attempt(conn, update + others, {"a": A}) != Outcome():
            yield f"{table.name}: changes rows of others"
        if attempt(conn, update) != Outcome(rowcount=1):
            yield f"{table.name}: changes other rows than its own, or not even that"
    deleted = attempt(conn, sql.SQL("DELETE FROM {}").format(table.identifier) + others, {"a": A})
    if deleted.sqlstate != "42501" and deleted != Outcome():
        yield f"{table.name}: deletes rows of others"
    emptied = attempt(conn, sql.SQL("TRUNCATE {} CASCADE").format(table.identifier))
    if emptied.sqlstate != "42501":
        yield f"{table.name}: can be truncated"
    for column in {table.tenant_column, "id"}:
        moved = attempt(
            conn, sql.SQL("UPDATE {} SET {} = %(b)s").format(table.identifier, sql.Identifier(column)), {"b": B}
        )
        if moved.sqlstate != "42501":
            yield f"{table.name}: {column} can be changed"
    added = {}
    for other in (B, NOWHERE):
        values = row(table, tenant=other, id=NEW, parent=other)
        added[other] = attempt(conn, _insertion(table, values), values)
    if added[B].sqlstate != "42501" or added[B].without(B) != added[NOWHERE].without(NOWHERE):
        yield f"{table.name}: {added} on insert for others"


def undetected(conn: Conn) -> list[str]:
    """For A, an id of B cannot be referred to, gives the error of an id that exists nowhere, and stays free."""
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
            inserts[other] = attempt(conn, _insertion(table, values), values)
            changes = sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder(column)) for column in reference
            )
            updates[other] = attempt(conn, sql.SQL("UPDATE {} SET {}").format(table.identifier, changes), reference)
        for outcomes, expected in (
            (inserts, "23503"),
            (updates, "23503" if updatable.issuperset(key.own_columns) else "42501"),
        ):
            if outcomes[B].sqlstate != expected or outcomes[B].without(B) != outcomes[NOWHERE].without(NOWHERE):
                yield f"{table.name}: {key.name} tells {outcomes}"
    values = row(table, tenant=A, id=B, parent=A, number=2)
    taken = attempt(conn, _insertion(table, values), values)
    if taken.sqlstate == "23505":
        # The conflict may be with A's own row, whose parents are the same.
        with acting_for(conn, A):
            delete_all(conn, table)
            taken = attempt(conn, _insertion(table, values), values)
    if taken != Outcome(rowcount=1):
        yield f"{table.name}: {taken} on taking what B has too"


STRUCTURE: tuple[Check, ...] = (
    row_security,
    policies,
    foreign_keys,
    unique_keys,
    triggers,
    privileges,
    functions,
    roles,
    opening,
)
BEHAVIOUR: tuple[Check, ...] = (closed_without_tenant, closed_to_others, undetected)
