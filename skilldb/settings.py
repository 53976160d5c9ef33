"""The settings of a database: the address, the schema, the timeouts and the sizes of the pool."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, NoReturn

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import quote

from skilldb.errors import DatabaseUnavailableError, InvalidValueError, shown
from skilldb.query import Query
from skilldb.values import ADAPT

SET_TENANT = b"SELECT pg_catalog.set_config('app.current_tenant_id', %(tenant_id)s, true)"

SET_SLUG = b"SELECT pg_catalog.set_config('app.current_tenant_slug', %(slug)s, true)"

NOTHING_TRUSTED = "pg_catalog, pg_temp"
"""The search_path while it is not yet known who may create objects in the schema."""

PINNED = {"standard_conforming_strings": "on", "DateStyle": "ISO", "array_nulls": "on", "row_security": "on"}
"""Settings that answers depend on, with the values that every call and every connection of the owner sets."""

_LONGEST_NAME = 63  # PostgreSQL cuts longer names off (documentation, "Identifiers and Key Words").


class Secret:
    """A connection string, which may hold a password. Only reveal() shows it: no repr, f-string, JSON or pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        self._text: str = text._text if isinstance(text, Secret) else text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        return "'...'"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle or copy a connection string: it may hold a password")


@dataclass(frozen=True, slots=True)
class Settings:
    """The checked settings: psycopg's connection string and arguments, and the pool's."""

    conninfo: Secret
    connect: dict[str, Any]
    pool: dict[str, Any]
    schema: str
    begin: Query
    """The first step of every call: sets the search_path, the tenant and the limits for this transaction."""
    begin_hardened: Query
    """The same in a hardened database, where only the setter may set the tenant; see sql/admin/harden.sql."""
    find: Query
    """The first step of find_tenant(): sets a slug in place of the tenant, and the same limits."""
    find_hardened: Query
    """The same in a hardened database."""
    begin_cluster: tuple[Query, ...]
    """On a Citus cluster: the first steps of every call and of find_tenant(), before the one that sets the tenant."""
    begin_checks: tuple[Query, ...]
    """The limits for the checks when opening, with only PostgreSQL's own names in the search_path."""
    prepare_threshold: int | None
    """How often a connection runs a query before it prepares it; None for never."""
    answer_timeout: float | None
    """How many seconds one answer of the server may take; None for no limit."""


def settings(
    dsn: str | Secret | None,
    *,
    schema: str | None,
    min_size: int,
    max_size: int,
    timeout: float,
    statement_timeout: float,
    lock_timeout: float,
    application_name: str | None,
    prepare_threshold: int | None,
) -> Settings:
    """The settings for the arguments of connect() and connect_async(), whose docstrings explain them.

    Raises InvalidValueError if one makes no sense, DatabaseUnavailableError if there is no address.
    """
    dsn = Secret(dsn or os.environ.get("SKILLDB_DSN") or "")
    if not dsn:
        raise DatabaseUnavailableError("no database address: pass a DSN or set SKILLDB_DSN")
    schema = schema_name(schema)
    if not 0 <= min_size <= max_size or max_size < 1:
        raise InvalidValueError(f"a pool cannot have {min_size} to {max_size} connections")
    for name, seconds in (
        ("timeout", timeout),
        ("statement_timeout", statement_timeout),
        ("lock_timeout", lock_timeout),
    ):
        if not 0 <= seconds < 2_000_000:
            raise InvalidValueError(f"{name} must be between 0 and 2,000,000 seconds, not {seconds}")
    if prepare_threshold is not None and prepare_threshold < 1:
        raise InvalidValueError(f"prepare_threshold must be None or at least 1, not {prepare_threshold}")
    ADAPT["text"]("application_name", application_name or "")
    given = parse(dsn)
    application_name = application_name or str(given.get("application_name") or "skilldb")
    return Settings(
        conninfo=Secret(
            make_conninfo(
                dsn.reveal(),
                application_name=application_name,
                client_encoding="utf8",
                # libpq takes whole seconds, and anything below 2 for 2 (documentation, "Parameter Key Words").
                connect_timeout=given.get("connect_timeout") or max(2, round(timeout)),
            )
        ),
        # With autocommit a pipeline is a transaction of its own. Session prepares the queries; psycopg must not.
        connect={"autocommit": True, "prepare_threshold": None},
        pool={
            "min_size": min_size,
            "max_size": max_size,
            "timeout": timeout,
            "name": application_name,
            # The pool tries to reconnect after 1, 2, 4 ... seconds, so it could stay down as long again as the server
            # was. After it has given up, the next caller makes it try at once.
            "reconnect_timeout": timeout,
        },
        schema=schema,
        begin=_begin("tenant_id", search_path(schema), statement_timeout, lock_timeout),
        begin_hardened=_begin_hardened("tenant_id", search_path(schema), statement_timeout, lock_timeout),
        find=_begin("slug", search_path(schema), statement_timeout, lock_timeout),
        find_hardened=_begin_hardened("slug", search_path(schema), statement_timeout, lock_timeout),
        begin_cluster=_begin_cluster(search_path(schema), statement_timeout, lock_timeout),
        begin_checks=_begin_checks(statement_timeout, lock_timeout),
        prepare_threshold=prepare_threshold,
        answer_timeout=statement_timeout + timeout if statement_timeout else None,
    )


def _begin(names: Literal["tenant_id", "slug"], path: str, statement_timeout: float, lock_timeout: float) -> Query:
    """The query that begins each transaction. It names an organisation by its id or by its slug, and not by the other.

    Set per transaction, not as startup options, which poolers reject or drop. Its own names are qualified, because the
    search_path is pinned only once it has run.
    """
    chosen = PINNED | {
        "app.current_tenant_slug" if names == "tenant_id" else "app.current_tenant_id": "",
        "search_path": path,
        "statement_timeout": _milliseconds(statement_timeout),
        "lock_timeout": _milliseconds(lock_timeout),
        # A connection plans each query once, for all parameters. A plan for the first caller's values may be bad for
        # the others, and planning each time takes longer than running.
        "plan_cache_mode": "force_generic_plan",
    }
    pairs = {name: quote(value).strip().replace("%", "%%") for name, value in chosen.items()}
    local = "".join(f", pg_catalog.set_config('{name}', {value}, true)" for name, value in pairs.items())
    named = SET_TENANT if names == "tenant_id" else SET_SLUG
    return Query("set_tenant", named + local.encode(), {names: "text"})


def _begin_hardened(
    names: Literal["tenant_id", "slug"], path: str, statement_timeout: float, lock_timeout: float
) -> Query:
    """The same by the setter of a hardened database, which sets the pinned values itself."""
    values = [quote(each).strip().replace("%", "%%") for each in (path, _milliseconds(statement_timeout))]
    values.append(quote(_milliseconds(lock_timeout)))
    named = "%(tenant_id)s, ''" if names == "tenant_id" else "'', %(slug)s"
    sql = f"SELECT skilldb_hardening.begin_call({named}, {', '.join(values)})"
    return Query("set_tenant", sql.encode(), {names: "text"})


def _begin_cluster(path: str, statement_timeout: float, lock_timeout: float) -> tuple[Query, ...]:
    """The pinned settings and the limits, for the coordinator and the workers.

    Citus sends SET LOCAL to the workers, together with their BEGIN, but not what set_config() sets. It cannot plan a
    generic plan of a join. Its one sign that a worker's commit failed is a warning, see Session.failed_commit.
    """
    here = {"citus.propagate_set_commands": "local", "client_min_messages": "warning", "plan_cache_mode": "auto"}
    first = ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in here.items())
    everywhere = PINNED | {
        "search_path": path,
        "statement_timeout": _milliseconds(statement_timeout),
        "lock_timeout": _milliseconds(lock_timeout),
    }
    texts = [f"SELECT {first}", *(f"SET LOCAL {name} = {value}" for name, value in everywhere.items())]
    return tuple(Query("begin_cluster", text.replace("%", "%%").encode(), {}) for text in texts)


def _begin_checks(statement_timeout: float, lock_timeout: float) -> tuple[Query, ...]:
    """SET and not set_config(), which a hardened database refuses to the service. The checks need no tenant."""
    values = {
        "search_path": NOTHING_TRUSTED,
        "statement_timeout": _milliseconds(statement_timeout),
        "lock_timeout": _milliseconds(lock_timeout),
    }
    return tuple(Query("begin_check", f"SET LOCAL {name} = {value}".encode(), {}) for name, value in values.items())


def _milliseconds(seconds: float) -> str:
    return f"{ceil(seconds * 1000)}"


def schema_name(schema: str | None = None) -> str:
    """The schema to use: the argument, or the environment variable SKILLDB_SCHEMA, or `public`.

    InvalidValueError: a schema cannot have this name, or PostgreSQL reserves it.
    """
    name = os.environ.get("SKILLDB_SCHEMA") or "public" if schema is None else schema
    ADAPT["text"]("schema", name)
    if not 1 <= len(name.encode()) <= _LONGEST_NAME:
        raise InvalidValueError(f"schema must have 1 to {_LONGEST_NAME} bytes, not {shown(name)}")
    # Even in quotes, PostgreSQL replaces $user in a search_path with the name of the login.
    if name.startswith("pg_") or name in ("information_schema", "$user"):
        raise InvalidValueError(f"schema must not be {shown(name)}: PostgreSQL reserves that name")
    return name


def search_path(schema: str) -> str:
    """The search_path of a call: PostgreSQL's own names first, then the schema, then temporary objects."""
    return f"pg_catalog, {quoted(schema)}, pg_temp"


def owner_search_path(schema: str) -> str:
    """The search_path of the owner, with the same order. CREATE uses the first schema that the path names.

    If the path does not name pg_catalog, PostgreSQL searches it first (documentation, "search_path"). So
    current_schema() is the schema.
    """
    return f"{quoted(schema)}, pg_temp"


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def parse(dsn: str | Secret) -> dict[str, Any]:
    """The parameters of a connection string. InvalidValueError, without the text: it may hold a password."""
    dsn = Secret(dsn)
    try:
        if "\0" in dsn.reveal():  # libpq would ignore the rest.
            raise psycopg.ProgrammingError
        return dict(conninfo_to_dict(dsn.reveal()))
    except psycopg.ProgrammingError:
        raise InvalidValueError("the DSN is not a PostgreSQL connection string") from None
