"""Reuses one migrated database for many tests: clears its rows, and copies it anew if a test changed more than rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from tests.support.server import Admin

# A changed catalogue row gets a new xmin. VACUUM and ANALYZE update in place and keep it.
_CATALOGUES = (
    "pg_attrdef",
    "pg_attribute",
    "pg_cast",
    "pg_class",
    "pg_constraint",
    "pg_conversion",
    "pg_default_acl",
    "pg_description",
    "pg_event_trigger",
    "pg_extension",
    "pg_index",
    "pg_language",
    "pg_namespace",
    "pg_operator",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_rewrite",
    "pg_statistic",
    "pg_statistic_ext",
    "pg_trigger",
    "pg_type",
)
_SHARED = {
    "pg_database": "datname = current_database()",
    "pg_db_role_setting": "setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
}


KEPT = "skilldb tests, kept"
"""The application_name of sessions that outlive a test."""
_SMALL = 1 << 20
"""Up to this size in bytes of all tables with rows, DELETE is faster than TRUNCATE."""


class Reused:
    """The database of one worker. `template` is a migrated database with only the rows of the migrations."""

    def __init__(self, admin: Admin, template: str, name: str) -> None:
        self._admin, self._template, self.name = admin, template, name
        self._kept: psycopg.Connection[tuple[str, ...]] | None = None
        """The superuser's connection. It stays open between tests: a new one reads the catalogues from the start."""
        self._newest = self._before = ""
        """The transaction from which on a row is newer than the copy, and the fingerprint of the copy."""
        self.copies = 0
        """How often it was copied again. Each copy ends all sessions."""
        with self._connected(template) as conn:
            tables = conn.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            ).fetchall()
            self._tables = sorted(name for (name,) in tables)
            self._filled = self._with_rows(conn)

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The name of the database, in its state after migrating."""
        if not self._before:
            self._copy()
        try:
            yield self.name
        finally:
            try:
                conn = self._open()
                self._end_sessions(conn)
                conn.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(self.name)))
                if self._fingerprint(conn) == self._before:
                    self._clear(conn)
                else:
                    self._before = ""
            except psycopg.Error:
                self._before = ""

    def drop(self) -> None:
        """Drop it, after the last test."""
        if self._kept:
            self._kept.close()
        with self._connected("postgres") as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))

    def _connected(self, dbname: str) -> psycopg.Connection[tuple[str, ...]]:
        return psycopg.connect(self._admin.dsn(dbname), autocommit=True, application_name=KEPT)

    def _open(self) -> psycopg.Connection[tuple[str, ...]]:
        """The kept connection, or a new one if a test has ended it."""
        if self._kept is None or self._kept.closed or not _answers(self._kept):
            self._kept = self._connected(self.name)
            # A test may have set these for the database.
            self._kept.execute("SET default_transaction_read_only = off")
        return self._kept

    def _copy(self) -> None:
        self.copies += 1
        self.drop()
        name, template = sql.Identifier(self.name), sql.Identifier(self._template)
        with self._connected("postgres") as conn:
            # CREATE DATABASE does not copy the privileges on the original.
            conn.execute(sql.SQL("CREATE DATABASE {} OWNER skilldb_owner TEMPLATE {}").format(name, template))
            conn.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
        self._remember(self._open())

    def _remember(self, conn: psycopg.Connection[tuple[str, ...]]) -> None:
        ((self._newest,),) = conn.execute("SELECT pg_current_xact_id()::xid::text").fetchall()
        self._before = self._fingerprint(conn)

    def _end_sessions(self, conn: psycopg.Connection[tuple[str, ...]]) -> None:
        conn.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' "
            "AND application_name <> %s",
            [KEPT],
        )

    def _with_rows(self, conn: psycopg.Connection[tuple[str, ...]]) -> set[str]:
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(table, sql.Identifier(table))
            for table in self._tables
        )
        return {name for (name,) in conn.execute(query)}

    def _clear(self, conn: psycopg.Connection[tuple[str, ...]]) -> None:
        if written := self._with_rows(conn) - self._filled:
            tables = sorted(written)
            ((size,),) = conn.execute(
                "SELECT sum(pg_relation_size(t::regclass)) FROM unnest(%s::text[]) AS t", [tables]
            )
            if int(size) > _SMALL:
                conn.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(", ").join(map(sql.Identifier, tables))))
                self._remember(conn)
            else:  # TRUNCATE takes 50 ms, whatever the tables contain.
                deletes = [sql.SQL("DELETE FROM {};").format(sql.Identifier(table)) for table in tables]
                # As a replica, PostgreSQL checks no foreign keys, so all rows can be deleted.
                replica = sql.SQL("SET LOCAL session_replication_role = replica;")
                conn.execute(sql.SQL("").join([replica, *deletes]))
        conn.execute("SELECT pg_stat_reset()")

    def _fingerprint(self, conn: psycopg.Connection[tuple[str, ...]]) -> str:
        """How many rows the catalogues and the migrations' tables have, and in which of them a row is newer than these.

        A deleted row makes them fewer, and a row that was added or changed is newer.
        """
        conditions = dict.fromkeys([*_CATALOGUES, *sorted(self._filled)], "true") | _SHARED
        part = sql.SQL("(SELECT count(*) || coalesce(min(age(xmin)) <= age({}::xid), false)::text FROM {} WHERE {})")
        newest = sql.Literal(self._newest)
        parts = sql.SQL(", ").join(
            part.format(newest, sql.Identifier(name), sql.SQL(condition)) for name, condition in conditions.items()
        )
        ((found,),) = conn.execute(sql.SQL("SELECT concat_ws(' ', {})").format(parts)).fetchall()
        return found


def _answers(conn: psycopg.Connection[tuple[str, ...]]) -> bool:
    try:
        conn.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True
