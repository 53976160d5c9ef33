"""Checks whether the schema isolates tenants, over the service's connection. Each check lists what is wrong.

The checks read PostgreSQL's catalogue, so they cover every new table, grant and policy. The schema is the connection's
current_schema().
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from skilldb import queries
from skilldb.errors import SkilldbError

Conn = psycopg.Connection[tuple[Any, ...]]
Check = Callable[[Conn], list[str]]

APP = "skilldb_app"
IMMUTABLE = {"skill_versions": {"created_by"}}
"""The tables whose rows keep their content, each with the columns that may change all the same."""
NEVER_UPDATED = {"tenant_id", "id", "created_at"}
NEVER_INSERTED = {
    "skills": {
        "metrics_updated_at",
        "total_uses",
        "rating_count",
        "rating_sum",
        "average_rating",
        "total_feedback",
        "thumbs_up_count",
        "thumbs_down_count",
        "positive_feedback_pct",
        "priced_measurement_count",
        "token_cost_sum_microcents",
        "avg_token_cost_microcents",
    }
}
"""The counters and averages: a new row has none. INSERT is granted on the other columns."""
INSERTED_BY_CITUS = {
    "total_uses",
    "rating_count",
    "rating_sum",
    "total_feedback",
    "thumbs_up_count",
    "thumbs_down_count",
    "priced_measurement_count",
    "token_cost_sum_microcents",
}
"""Those that have a default. Citus names them in a shard's INSERT, so `skilldb distribute` grants INSERT on them."""

_SQL = queries.load("admin/isolation")
_GUARDS = queries.load("guards")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a tenant_id, or `tenants` with its id. `enabled`, `forced`: the state of row-level security."""

    oid: int
    schema: str
    name: str
    tenant_column: str
    enabled: bool
    forced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A foreign key. `pairs`: each of its columns with the column that it refers to."""

    name: str
    table: str
    target: str
    pairs: tuple[tuple[str, str], ...]
    validated: bool

    @property
    def own_columns(self) -> list[str]:
        """The columns other than tenant_id."""
        return [column for column, _ in self.pairs if column != "tenant_id"]


def tables(conn: Conn) -> list[Table]:
    """Every table to be isolated. SkilldbError if there is none: every check would pass vacuously."""
    found = conn.cursor(row_factory=class_row(Table)).execute(_SQL["list_isolated_tables"].sql).fetchall()
    if {table.name for table in found} <= {"tenants"}:
        raise SkilldbError("there are no tables of skilldb in this schema. Run: skilldb migrate")
    return found


def keys(conn: Conn) -> list[ForeignKey]:
    """Every foreign key, ordered by name."""
    return [
        ForeignKey(
            name=name,
            table=table,
            target=target,
            pairs=tuple((own, other) for own, other in pairs),
            validated=validated,
        )
        for name, table, validated, target, pairs in conn.execute(_SQL["list_foreign_keys"].sql).fetchall()
    ]


def row_security(conn: Conn) -> list[str]:
    """Row-level security is enabled on every table, and forced on all but tenants, which the owner must list."""
    found = []
    for table in tables(conn):
        if not table.enabled:
            found.append(f"{table.name}: row-level security is not enabled")
        if not table.forced and table.name != "tenants":
            found.append(f"{table.name}: row-level security is not forced")
    return found


def policies(conn: Conn) -> list[str]:
    """Each table has two policies for all commands and roles, one restrictive, one permissive, with one predicate.

    Only `tenants` has more: its policies for SELECT also show the row whose slug find_tenant() names.
    """
    rows = conn.execute(_SQL["list_policies"].sql).fetchall()
    found = []
    for table in tables(conn):
        predicate = f"({table.tenant_column} = current_setting('app.current_tenant_id'::text, true))"
        expected: list[tuple[object, ...]] = [
            ("tenant_isolation", False, "*", [0], predicate, predicate),
            ("tenant_access", True, "*", [0], predicate, predicate),
        ]
        if table.name == "tenants":
            by_slug = "(slug = current_setting('app.current_tenant_slug'::text, true))"
            expected = [
                ("tenant_isolation", False, "r", [0], f"({predicate} OR {by_slug})", None),
                ("tenant_isolation_insert", False, "a", [0], None, predicate),
                ("tenant_isolation_update", False, "w", [0], predicate, predicate),
                ("tenant_isolation_delete", False, "d", [0], predicate, None),
                ("tenant_access", True, "*", [0], predicate, predicate),
                ("tenant_by_slug", True, "r", [0], by_slug, None),
            ]
        actual = [(name, permissive, *rest) for name, permissive, oid, *rest in rows if oid == table.oid]
        found += [f"{table.name}: unexpected policy {policy}" for policy in actual if policy not in expected]
        found += [f"{table.name}: no policy {policy}" for policy in expected if policy not in actual]
    return found


def foreign_keys(conn: Conn) -> list[str]:
    """Foreign keys pair the tables' tenant_ids, each table's tenant_id refers to tenants, and all are validated."""
    names = {table.name for table in tables(conn)} - {"tenants"}
    found = []
    for key in keys(conn):
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
    bound = {key.table for key in keys(conn) if key.target == "tenants"}
    return found + [f"{name}: its tenant_id does not refer to tenants" for name in sorted(names - bound)]


def unique_keys(conn: Conn) -> list[str]:
    """Unique keys contain tenant_id: a conflict must not reveal another tenant's value. Primary keys begin with it."""
    rows = conn.execute(_SQL["list_unique_keys"].sql).fetchall()
    found = []
    for table in tables(conn):
        if table.name == "tenants":
            continue
        own = [(name, primary, key) for primary, oid, name, key in rows if oid == table.oid]
        found += [f"{table.name}: {name} is unique across tenants" for name, _, key in own if "tenant_id" not in key]
        if [key[0] for _, primary, key in own if primary] != ["tenant_id"]:
            found.append(f"{table.name}: its primary key does not begin with tenant_id")
    return found


def triggers(conn: Conn) -> list[str]:
    """The only triggers are those of foreign keys, all of them are on, and there are no rules."""
    oids = [table.oid for table in tables(conn)]
    rows = conn.execute(_SQL["list_triggers"].sql, {"tables": oids}).fetchall()
    return [f"{table}: {kind} {name}" for table, kind, name in rows]


def privileges(conn: Conn) -> list[str]:
    """The service has no more privileges than its work needs, and has them through skilldb_app alone.

    It has none on relations that are not isolated, such as views.
    """
    isolated = {table.name for table in tables(conn)}
    ((_, _, is_cluster),) = conn.execute(_GUARDS["get_server_kind"].sql).fetchall()
    needed = INSERTED_BY_CITUS if is_cluster else set()
    found = []
    for kind, name, column, privilege, grantable, grantee in conn.execute(_SQL["list_grants"].sql).fetchall():
        match kind:
            case "relation" if name not in isolated:
                allowed = False
            case "relation" if column is not None and privilege == "INSERT":
                allowed = column not in NEVER_INSERTED.get(name, set()) - needed
            case "relation" if column is not None:
                changes = column not in NEVER_UPDATED and column in IMMUTABLE.get(name, {column})
                allowed = privilege == "UPDATE" and changes
            case "relation" if privilege == "INSERT":
                allowed = name not in NEVER_INSERTED
            case "relation":
                allowed = privilege == "SELECT" or (privilege == "DELETE" and name not in IMMUTABLE)
            case "function":
                allowed = privilege == "EXECUTE"
            # Every role needs these to connect and to use the schema.
            case "schema" if privilege == "USAGE":
                allowed, grantee = True, APP
            case "database" if privilege == "CONNECT":
                allowed, grantee = True, APP
            case _:
                allowed = False
        if not allowed or grantee != APP or grantable:
            option = " with grant option" if grantable else ""
            found.append(f"{kind} {name}{f'.{column}' if column else ''}: {privilege} for {grantee}{option}")
    return found


def functions(conn: Conn) -> list[str]:
    """No function runs as its owner, and none is LEAKPROOF, which would let it see rows before the policies apply."""
    return [f"function {name}: {reason}" for name, reason in conn.execute(_SQL["list_unsafe_functions"].sql).fetchall()]


def roles(conn: Conn) -> list[str]:
    """The service is a member of skilldb_app alone. Neither role has attributes, owns objects or presets a tenant."""
    found = []
    known_roles = set()
    for name, known, powers in conn.execute(_SQL["list_roles"].sql).fetchall():
        known_roles.add(name)
        found += [f"role {name}: {power}" for power in powers]
        if not known:
            found.append(f"role {name}: the service is a member")
    if APP not in known_roles:
        found.append(f"role {APP}: the service is no member")
    for name, possession in conn.execute(_SQL["list_possessions"].sql).fetchall():
        found.append(f"role {name}: owns {possession}")
    for name, group in conn.execute(_SQL["list_admin_options"].sql).fetchall():
        found.append(f"role {name}: ADMIN OPTION on {group}")
    for setting, name in conn.execute(_SQL["list_preset_tenants"].sql).fetchall():
        found.append(f"{name}: begins with {setting}")
    return found


def opening(conn: Conn) -> list[str]:
    """skilldb's own check at opening accepts the role."""
    return [reason for (reason,) in conn.execute(_GUARDS["list_unsafe_roles"].sql).fetchall()]


def creators(conn: Conn) -> list[str]:
    """No untrusted role may create in the schema or the database, or owns an object in the schema."""
    ((schema,),) = conn.execute(_SQL["get_schema"].sql).fetchall()
    return [f"{reason}: {remedy}" for reason, remedy in conn.execute(_GUARDS["list_creators"].sql, {"schema": schema})]


STRUCTURE: tuple[Check, ...] = (
    opening,
    creators,
    roles,
    row_security,
    policies,
    foreign_keys,
    unique_keys,
    triggers,
    functions,
    privileges,
)
