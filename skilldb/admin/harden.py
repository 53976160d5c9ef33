"""Makes the tenant of a transaction write-once, for `skilldb harden`: an optional hardening against injected SQL."""

from __future__ import annotations

from skilldb import connection, guards, queries
from skilldb.errors import SkilldbError
from skilldb.settings import Secret, quoted, schema_name

_SQL = queries.load("admin/harden")
_STEPS = (
    "create_setter_role",
    "create_setter_schema",
    "create_setter",
    "own_setter",
    "revoke_setter",
    "grant_setter_schema",
    "grant_setter",
    "grant_set_config",
)


def statements(dsn: str | Secret, *, schema: str | None = None) -> list[str]:
    """The SQL that hardens the database, one statement each, for a superuser. Writes nothing.

    `schema`: default SKILLDB_SCHEMA, else `public`. SkilldbError: the database is on a Citus cluster, whose workers
    would not see the tenant.
    """
    schema = schema_name(schema)
    with connection.connected(dsn) as conn:
        guards.require_schema(conn, schema)
        if conn.execute(_SQL["has_citus"].sql).fetchone() == (True,):
            raise SkilldbError("a Citus cluster cannot be hardened: the setter's values do not reach the workers")
        users = conn.execute(_SQL["list_set_config_users"].sql, {"schema": schema}).fetchall()
    grants = [f"GRANT EXECUTE ON FUNCTION pg_catalog.set_config TO {quoted(name)}" for (name,) in users]
    steps = [_SQL[name].sql.decode() for name in _STEPS]
    # The last statement closes the door: until then the service goes on as before.
    return [*steps, *grants, _SQL["revoke_set_config"].sql.decode()]


def apply(dsn: str | Secret, *, schema: str | None = None) -> int:
    """Run the statements in one transaction, as a superuser. Returns their number. May be run again.

    Services that are running replace their connections at the next call. SkilldbError: the role is not a superuser.
    """
    found = statements(dsn, schema=schema)
    with connection.connected(dsn) as conn:
        if conn.execute(_SQL["is_superuser"].sql).fetchone() != (True,):
            raise SkilldbError(
                f"role {conn.info.user} is not a superuser, and only a superuser may harden a database. "
                "Run `skilldb harden` without --apply, and let a superuser run what it prints"
            )
        with conn.transaction():
            for statement in found:
                conn.execute(statement.encode())
    return len(found)
