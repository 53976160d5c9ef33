"""Runs any named query under EXPLAIN (ANALYZE, BUFFERS) with example parameters, and rolls back what it wrote."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from skilldb import connection, guards, queries
from skilldb.errors import InvalidValueError, NotFoundError, SkilldbError, shown, translate
from skilldb.examples import resolve
from skilldb.query import Query
from skilldb.settings import Secret, owner_search_path, schema_name, search_path
from skilldb.statement import require_tenant
from skilldb.values import ADAPT

Conn = psycopg.Connection[Any]

_SQL = queries.load("admin/explain")
_PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES")
# Parameters that name an existing row. If one is given, the queries under `-- Run first:` need not create another row.
_MADE = {"run_id", "feedback_id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A query's plan and how it ran. `plan` is PostgreSQL's text or, if JSON was asked for, its top object."""

    query: str
    tenant: str | None
    role: str
    generic: bool
    parameters: dict[str, Any]
    plan: Any


def find(name: str) -> Query:
    """The query `file.name`. NotFoundError lists similar names. SkilldbError: the query has no plan."""
    every = queries.load_all()
    if name not in every:
        bare = {known.partition(".")[2]: known for known in every}
        close = [bare.get(match, match) for match in difflib.get_close_matches(name, [*every, *bare], n=5)]
        hint = f"did you mean {' or '.join(dict.fromkeys(close))}?" if close else f"the files are {_files(every)}"
        raise NotFoundError(f"query '{name}' does not exist: {hint}")
    if not has_plan(every[name]):
        raise SkilldbError(f"{name} has no plan: {_verb(every[name])} is a utility command")
    return every[name]


def has_plan(query: Query) -> bool:
    """Whether PostgreSQL plans the query: it does not plan utility commands."""
    return _verb(query) in _PLANNED


def is_owners(query: Query) -> bool:
    """Whether the owner runs the query, without a tenant. A service's query names the tenant, all but find_tenant."""
    return "tenant_id" not in query.types


def explain(
    dsn: str | Secret,
    name: str,
    tenant_id: str | None,
    given: Mapping[str, str] | None = None,
    *,
    schema: str | None = None,
    generic: bool = False,
    as_json: bool = False,
    examples: Mapping[str, Any] | None = None,
) -> Explained:
    """Run a query as `dsn`'s role in a transaction that is rolled back, and return how PostgreSQL ran it.

    - `schema`: default SKILLDB_SCHEMA, else `public`.
    - `tenant_id`: None for the owner's queries.
    - `given`: parameters as text, in place of the examples; see parse().
    - `generic`: show the plan for any parameters, which skilldb's own connections use.
    - `examples`: the result of an earlier find_examples(), so that it is not run again.

    The query really runs: rows are locked and written until the rollback. Raises the query's own errors, NotFoundError
    for an unknown tenant or query, InvalidValueError for a parameter that the query does not take.
    """
    query = find(name)
    given = given or {}
    if unknown := given.keys() - query.types.keys() | given.keys() & {"tenant_id"}:
        takes = ", ".join(sorted(query.types.keys() - {"tenant_id"})) or "none"
        raise InvalidValueError(f"{name} has no parameter {', '.join(sorted(unknown))}; it takes: {takes}")
    chosen = {parameter: parse(parameter, query.types[parameter], text) for parameter, text in given.items()}
    with _rolled_back(dsn, schema, tenant_id) as conn:
        if examples is None:
            examples = {} if tenant_id is None else _find_examples(conn, tenant_id)
        tenant_id = query.examples.get("tenant_id", tenant_id)
        if tenant_id is not None:
            guards.set_tenant(conn, tenant_id)
        params: dict[str, Any] = {}
        try:
            file = name.partition(".")[0]
            before = () if chosen.keys() & _MADE else query.run_first
            for step in (*(find(f"{file}.{each}") for each in before), query):
                shared = {key: value for key, value in chosen.items() if key in step.types}
                params = {**_parameters(step, examples), **shared}
                if tenant_id is not None:
                    params["tenant_id"] = tenant_id
                if step is not query:
                    conn.execute(step.sql, params)
            plan = analyse(conn, query, params, generic=generic, as_json=as_json)
        except psycopg.Error as error:
            refused = translate(error, params)
            raise type(refused)(f"{name} cannot run with these examples: {refused} (give others with --set)") from error
        role = conn.info.user
    params.pop("tenant_id", None)
    return Explained(query=name, tenant=tenant_id, role=role, generic=generic, parameters=params, plan=plan)


def find_examples(dsn: str | Secret, tenant_id: str, *, schema: str | None = None) -> dict[str, Any]:
    """Ids of the tenant's data, as explain() takes them. NotFoundError: there is no such tenant."""
    with _rolled_back(dsn, schema, tenant_id) as conn:
        return _find_examples(conn, tenant_id)


def _find_examples(conn: Conn, tenant_id: str) -> dict[str, Any]:
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["find_examples"].sql, {"tenant_id": tenant_id}).fetchone()
    assert row is not None
    return row


def analyse(
    conn: Conn, query: Query, params: Mapping[str, Any], *, generic: bool = False, as_json: bool = False
) -> Any:
    """Run the query in the connection's transaction, and return its plan as text or as the top object of the JSON."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT {'JSON' if as_json else 'TEXT'}) ".encode()
    if not generic:
        cursor = conn.execute(explain + query.sql, params)
    else:
        conn.execute(b"SET LOCAL plan_cache_mode = force_generic_plan")
        conn.execute(b"PREPARE skilldb_explained AS " + query.numbered)
        arguments = b"(" + b", ".join([b"%s"] * len(query.types)) + b")" if query.types else b""
        # EXECUTE accepts only literals, not the protocol's parameters.
        cursor = psycopg.ClientCursor(conn).execute(
            explain + b"EXECUTE skilldb_explained " + arguments, [params[name] for name in query.types]
        )
        conn.execute(b"DEALLOCATE skilldb_explained")
    rows = cursor.fetchall()
    return rows[0][0][0] if as_json else "\n".join(line for (line,) in rows)


def parse(name: str, type: str, text: str) -> Any:
    """A parameter's value from text: `null` is NULL, arrays and jsonb are JSON, a time is in ISO format with a zone.

    InvalidValueError: the text is not a value of that PostgreSQL type.
    """
    if text == "null":
        return None
    value: Any
    try:
        if type in ("text", "uuid"):
            value = text
        elif type == "timestamptz":
            value = datetime.fromisoformat(text)
        else:
            value = json.loads(text)
        if type == "timestamptz[]":
            value = [element and datetime.fromisoformat(element) for element in value]
    except (ValueError, TypeError):
        wanted = "a time such as 2026-01-31T12:00Z" if type == "timestamptz" else f"a {type} as JSON"
        raise InvalidValueError(f"{name} must be {wanted}, not {shown(text)}") from None
    return ADAPT[type](name, value)


def _verb(query: Query) -> str:
    return query.sql.split(maxsplit=1)[0].decode()


def _files(every: Mapping[str, Query]) -> str:
    return ", ".join(dict.fromkeys(name.partition(".")[0] for name in every))


@contextmanager
def _rolled_back(dsn: str | Secret, schema: str | None, tenant_id: str | None) -> Iterator[Conn]:
    """A connection in a transaction that is rolled back: the service's or, without a tenant, the owner's."""
    dsn = Secret(make_conninfo(Secret(dsn).reveal(), application_name="skilldb explain"))
    schema = schema_name(schema)
    with connection.connected(dsn) as conn:
        guards.refuse_on(conn, schema, owner=tenant_id is None)
        with conn.transaction(force_rollback=True):
            guards.pin(conn, owner_search_path(schema) if tenant_id is None else search_path(schema), local=True)
            if tenant_id is not None:
                guards.set_tenant(conn, require_tenant(tenant_id))
            yield conn


def _parameters(query: Query, data: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        parameter: resolve(parameter, type, query.examples[parameter], data)
        for parameter, type in query.types.items()
        if parameter != "tenant_id"
    }
    return {
        parameter: None if value is None else ADAPT[query.types[parameter]](parameter, value)
        for parameter, value in found.items()
    }
