"""How to connect: the address, the schema, the timeouts and the sizes of the pool."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import quote

from skilldb.errors import DatabaseUnavailableError, InvalidValueError, shown
from skilldb.query import Query
from skilldb.values import ADAPT

SET_TENANT = b"SELECT pg_catalog.set_config('app.current_tenant_id', %(tenant_id)s, true)"

NOTHING_TRUSTED = "pg_catalog, pg_temp"
"""The search_path until it is known who may create in the schema."""

_LONGEST_NAME = 63  # PostgreSQL cuts longer names off (documentation, "Identifiers and Key Words").


class Secret(str):
    """A connection string or password, which does not show where the variables of a traceback are shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'...'"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to connect: psycopg's connection string and arguments, and those of the pool."""

    conninfo: Secret
    connect: dict[str, Any]
    pool: dict[str, Any]
    schema: str
    begin: Query
    """The first step of every call: pins the names, and sets the tenant and the limits, for this transaction."""
    begin_checks: Query
    """The same for what is checked when opening, with PostgreSQL's own names alone."""
    prepare_threshold: int | None
    """How often a query is run on a connection before it is prepared there; None for never."""
    answer_timeout: float | None
    """Seconds that one answer of the server may take; None for no limit."""


def settings(
    dsn: str | None,
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
    """The settings for the arguments of connect() and connect_async(), which say what they mean.

    Raises InvalidValueError for one that makes no sense, DatabaseUnavailableError where there is no address.
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
                dsn,
                application_name=application_name,
                client_encoding="utf8",
                # libpq takes whole seconds, and anything below 2 for 2 (documentation, "Parameter Key Words").
                connect_timeout=given.get("connect_timeout") or max(2, round(timeout)),
            )
        ),
        # Autocommit: a pipeline is then one transaction of its own.
        # Session prepares the queries; psycopg must not prepare any.
        connect={"autocommit": True, "prepare_threshold": None},
        pool={
            "min_size": min_size,
            "max_size": max_size,
            "timeout": timeout,
            "name": application_name,
            # The pool tries again after 1, 2, 4 ... seconds, and so would stay away as long again as the server was.
            # Once it has given up, the next caller makes it try at once.
            "reconnect_timeout": timeout,
        },
        schema=schema,
        begin=_begin(search_path(schema), statement_timeout, lock_timeout),
        begin_checks=_begin(NOTHING_TRUSTED, statement_timeout, lock_timeout),
        prepare_threshold=prepare_threshold,
        answer_timeout=statement_timeout + timeout if statement_timeout else None,
    )


def _begin(path: str, statement_timeout: float, lock_timeout: float) -> Query:
    """The query that begins each transaction.

    Set per transaction, not as startup options, which poolers reject or drop. Its own names are qualified, because the
    search_path is pinned only once it has run.
    """
    chosen = {
        "search_path": path,
        "statement_timeout": f"{ceil(statement_timeout * 1000)}",
        "lock_timeout": f"{ceil(lock_timeout * 1000)}",
        # A query is planned once on a connection, for all parameters: a plan for the first caller's values may be a
        # bad one for all others, and planning anew each time, as PostgreSQL may choose, takes longer than running.
        "plan_cache_mode": "force_generic_plan",
    }
    pairs = {name: quote(value).strip().replace("%", "%%") for name, value in chosen.items()}
    local = "".join(f", pg_catalog.set_config('{name}', {value}, true)" for name, value in pairs.items())
    return Query("set_tenant", SET_TENANT + local.encode(), {"tenant_id": "text"})


def schema_name(schema: str | None = None) -> str:
    """The schema to use: the argument, or the environment variable SKILLDB_SCHEMA, or `public`.

    InvalidValueError: it is no name that a schema can have, or it is one of PostgreSQL's own.
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
    """Where a call looks names up: PostgreSQL's own first, then the schema, and temporary objects last."""
    return f"pg_catalog, {_quoted(schema)}, pg_temp"


def owner_search_path(schema: str) -> str:
    """The same order for the owner, who also creates: CREATE uses the first schema that the path names.

    PostgreSQL searches pg_catalog first where the path does not name it (documentation, "search_path"). So
    current_schema() is the schema.
    """
    return f"{_quoted(schema)}, pg_temp"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def parse(dsn: str) -> dict[str, Any]:
    """The parameters of a connection string. InvalidValueError, without the text: it may hold a password."""
    try:
        if "\0" in dsn:  # libpq would read it up to there only.
            raise psycopg.ProgrammingError
        return dict(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError:
        raise InvalidValueError("the DSN is not a PostgreSQL connection string") from None
