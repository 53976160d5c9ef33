"""Runs any named query under EXPLAIN (ANALYZE, BUFFERS), with example parameters, and takes back what it wrote."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from skilldb import connection, guards, queries
from skilldb.errors import InvalidValueError, NotFoundError, SkilldbError, shown, translate
from skilldb.query import Query
from skilldb.settings import SET_TENANT, Secret, owner_search_path, schema_name, search_path
from skilldb.statement import require_tenant
from skilldb.values import ADAPT

Conn = psycopg.Connection[Any]

_SQL = queries.load("admin/explain")
_PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES")
_BATCH = 50

# What a parameter of that name is where the data has nothing for it. What stands nowhere is NULL: an optional filter,
# or an optional column.
_ID = "skilldb-explain"
_VALUES: dict[str, Any] = {
    "id": _ID,
    "limit": 10,
    "days": 30,
    "by": 1,
    "rating": 4,
    "current_version": 1,
    "description": "An example",
    "category": "example",
    "status": "published",
    "role": "member",
    "email": "skilldb-explain@example.com",
    "name": "Example",
    "tags": ["example"],
    "changes": {"description": "Another example"},
    "content_url": "example.md",
    "content_hash": "0" * 64,
    "content_type": "text/markdown",
    "feedback_type": "thumbs_up",
    "comment": "An example",
    "source": "example",
    "tool_name": "example",
    "model_name": "example",
    "model_provider": "example",
    "models": ["example"],
    "migration_id": "0001_create_app_role",
    "checksum": "0" * 64,
}

# Where a query needs another value than its parameter's name suggests; @ names a column of find_examples.
_OWN: dict[str, dict[str, Any]] = {
    "benchmarks.create_benchmark_run": {"triggered_by": "@user_id", "skill_version_id": "@version_id"},
    "benchmarks.start_benchmark_run": {"run_id": _ID},
    "benchmarks.check_benchmark_results": {"run_id": _ID},
    "benchmarks.record_benchmark_results": {"run_id": _ID},
    "benchmarks.complete_benchmark_run": {"run_id": _ID},
    "benchmarks.fail_benchmark_run": {"run_id": _ID},
    "feedback.list_feedback": {"feedback_type": None, "status": None},
    "feedback.review_feedback": {"feedback_id": _ID, "status": "accepted", "reviewed_by": "@user_id"},
    "feedback.submit_feedback": {"skill_version_id": "@version_id"},
    "locks.check_skill_version": {"skill_version_id": "@version_id"},
    "skills.create_skill": {"slug": _ID, "author_id": "@user_id"},
    "skills.list_skills": {"category": None},
    "skills.publish_skill_version": {"created_by": "@user_id"},
    "tenants.create_tenant": {"tenant_id": _ID, "slug": _ID},
    "tokens.record_token_measurements": {"id": None},
    "usage.lock_event": {"id": "@event_id"},
    "usage.lock_skills_of_events": {"id": None},
    "usage.lock_users_of_events": {"id": None},
    "usage.record_usage_event": {"id": None},
    "usage.record_usage_events": {"id": None},
    "users.delete_user": {"user_id": _ID},
}

# What a query finds nothing to do without, run before it in the same transaction, each with its own examples; not where
# the run or the feedback is given.
_RUNNING = ("benchmarks.create_benchmark_run", "benchmarks.start_benchmark_run")
_BEFORE = {
    "benchmarks.start_benchmark_run": _RUNNING[:1],
    "benchmarks.check_benchmark_results": _RUNNING,
    "benchmarks.record_benchmark_results": _RUNNING,
    "benchmarks.complete_benchmark_run": (*_RUNNING, "benchmarks.record_benchmark_results"),
    "benchmarks.fail_benchmark_run": _RUNNING[:1],
    "feedback.review_feedback": ("feedback.submit_feedback",),
    "users.delete_user": (
        "users.create_user",
        "users.withdraw_ratings_of_user",
        "users.anonymise_usage_of_user",
        "users.anonymise_feedback_of_user",
        "users.anonymise_reviews_of_user",
        "users.anonymise_measurements_of_user",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A query's plan as it was run. `plan` is PostgreSQL's text or, asked for as JSON, its one top object."""

    query: str
    tenant: str | None
    role: str
    generic: bool
    parameters: dict[str, Any]
    plan: Any


def find(name: str) -> Query:
    """The query `file.name`. NotFoundError with the names that come close; SkilldbError for what has no plan."""
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
    """Whether the owner runs the query, without a tenant. A service's query always names the tenant."""
    return "tenant_id" not in query.types


def explain(
    dsn: str,
    name: str,
    tenant_id: str | None,
    given: Mapping[str, str] | None = None,
    *,
    schema: str | None = None,
    generic: bool = False,
    as_json: bool = False,
    examples: Mapping[str, Any] | None = None,
) -> Explained:
    """Run a query as `dsn`'s role in a transaction that is rolled back, and say how PostgreSQL ran it.

    `schema`: by default that of SKILLDB_SCHEMA, or `public`. `tenant_id`: None for the owner's queries. `given`:
    parameters as text, in place of the examples; see parse(). `generic`: the plan that does not know the parameters, as
    skilldb's own connections have it. `examples`: those of an earlier find_examples(), to save finding them again.

    It really runs: rows are locked and written until the rollback. Raises the query's own errors, NotFoundError for an
    unknown tenant or query, InvalidValueError for a parameter that the query does not take.
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
        tenant_id = _OWN.get(name, {}).get("tenant_id", tenant_id)
        if tenant_id is not None:
            conn.execute(SET_TENANT, {"tenant_id": tenant_id})
        params: dict[str, Any] = {}
        try:
            before = () if chosen.keys() & {"run_id", "feedback_id"} else _BEFORE.get(name, ())
            for step in (*before, name):
                found = find(step)
                shared = {key: value for key, value in chosen.items() if key in found.types}
                params = {**_parameters(step, found, examples), **shared}
                if tenant_id is not None:
                    params["tenant_id"] = tenant_id
                if step != name:
                    conn.execute(found.sql, params)
            plan = analyse(conn, query, params, generic=generic, as_json=as_json)
        except psycopg.Error as error:
            refused = translate(error, params)
            raise type(refused)(f"{name} cannot run with these examples: {refused} (give others with --set)") from error
        role = conn.info.user
    params.pop("tenant_id", None)
    return Explained(query=name, tenant=tenant_id, role=role, generic=generic, parameters=params, plan=plan)


def find_examples(dsn: str, tenant_id: str, *, schema: str | None = None) -> dict[str, Any]:
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
    """The plan of a query that is run, in the connection's transaction; as text or as JSON's one top object."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT {'JSON' if as_json else 'TEXT'}) ".encode()
    if not generic:
        cursor = conn.execute(explain + query.sql, params)
    else:
        conn.execute(b"SET LOCAL plan_cache_mode = force_generic_plan")
        conn.execute(b"PREPARE skilldb_explained AS " + query.numbered)
        arguments = b"(" + b", ".join([b"%s"] * len(query.types)) + b")" if query.types else b""
        # EXECUTE takes no parameters of the protocol, only literals.
        cursor = psycopg.ClientCursor(conn).execute(
            explain + b"EXECUTE skilldb_explained " + arguments, [params[name] for name in query.types]
        )
        conn.execute(b"DEALLOCATE skilldb_explained")
    rows = cursor.fetchall()
    return rows[0][0][0] if as_json else "\n".join(line for (line,) in rows)


def parse(name: str, type: str, text: str) -> Any:
    """A parameter's value from text: `null` is NULL, arrays and jsonb are JSON, a time is in ISO format with a zone.

    InvalidValueError: the text is no value of that PostgreSQL type.
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
def _rolled_back(dsn: str, schema: str | None, tenant_id: str | None) -> Iterator[Conn]:
    """A connection of the service, of the owner without a tenant, in a transaction that ends in a rollback."""
    dsn = Secret(make_conninfo(Secret(dsn), application_name="skilldb explain"))
    schema = schema_name(schema)
    with connection.connected(dsn) as conn:
        guards.refuse_on(conn, schema, owner=tenant_id is None)
        with conn.transaction(force_rollback=True):
            guards.pin(conn, owner_search_path(schema) if tenant_id is None else search_path(schema), local=True)
            if tenant_id is not None:
                conn.execute(SET_TENANT, {"tenant_id": require_tenant(tenant_id)})
            yield conn


def _parameters(name: str, query: Query, examples: Mapping[str, Any]) -> dict[str, Any]:
    return {
        parameter: None if value is None else ADAPT[type](parameter, value)
        for parameter, type in query.types.items()
        if parameter != "tenant_id"
        for value in [_example(name, parameter, type, examples)]
    }


def _example(query: str, parameter: str, type: str, examples: Mapping[str, Any]) -> Any:
    own = _OWN.get(query, {})
    if parameter in own:
        value = own[parameter]
        if isinstance(value, str) and value.startswith("@"):
            value = examples[value[1:]]
    elif parameter == "since":
        value = datetime.now(UTC) - timedelta(days=30)
    else:
        value = examples.get(parameter, _VALUES.get(parameter))
    if not type.endswith("[]") or isinstance(value, list):
        return value
    # One column of a batch: as many rows in each, told apart by their numbers.
    if type == "integer[]":
        return list(range(_BATCH))
    return list(islice(cycle(examples.get(f"{parameter}s") or [value]), _BATCH))
