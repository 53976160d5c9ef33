"""Tests that SQL, PostgreSQL and Python agree about each named query of sql/."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any, Union
from uuid import uuid4

import psycopg
import pytest

from skilldb import examples, queries, repositories
from skilldb.models import Page
from skilldb.query import Query
from skilldb.statement import VALUE, Statement
from tests.support.database import rows
from tests.support.functions import FUNCTIONS, arguments, naming
from tests.support.queries import altered
from tests.support.server import Addresses

# Every query of a repository names the tenant


def file(module: types.ModuleType) -> str:
    """The name of a repository, and of its file in sql/."""
    return module.__name__.rpartition(".")[2]


def modules() -> Iterator[types.ModuleType]:
    """The modules of skilldb.repositories."""
    for module in pkgutil.iter_modules(repositories.__path__):
        yield importlib.import_module(f"{repositories.__name__}.{module.name}")


def repository_queries() -> dict[str, Query]:
    """The queries that run as the service: those of the repositories, the locks, and the steps of a merge."""
    files = {file(module) for module in modules()} | {"locks", "merges"}
    return {name: query for name, query in queries.load_all().items() if name.partition(".")[0] in files}


def body(sql: str) -> str:
    """The SQL without its comments."""
    return re.sub(r"--[^\n]*|/\*.*?\*/", "", sql)


def tenant_tables(dsn: str) -> dict[str, str]:
    """Every table that belongs to tenants, and its tenant column."""
    found = rows(
        dsn,
        """SELECT c.relname, a.attname FROM pg_class AS c INNER JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity
        AND a.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END""",
    )
    assert len(found) > 2
    return dict(found)


def unnamed_tenants(sql: str, tables: dict[str, str]) -> list[str]:
    """The places where a query uses a table without a tenant condition."""
    sql = body(sql)
    wanting: list[str] = []
    reads: dict[tuple[str, str], int] = {}
    for clause, table, alias in re.findall(
        r"\b(FROM|JOIN|UPDATE|INTO)\s+(\w+)(?:\s+AS\s+(\w+))?", sql, flags=re.IGNORECASE
    ):
        if table not in tables:
            continue
        column = tables[table]
        if clause.upper() == "INTO":
            value = r"(%\(tenant_id\)s|coalesce\(%\(id\)s, %\(tenant_id\)s\)|\w+\.tenant_id)\s*(,|\)|FROM\b)"
            if not re.search(
                rf"INTO\s+{table}(?:\s+AS\s+\w+)?\s*\(\s*{column}\b[^()]*\)\s*(VALUES\s*\(|SELECT\b)\s*{value}", sql
            ):
                wanting.append(f"INSERT INTO {table}")
        else:
            place = (alias, column)
            reads[place] = reads.get(place, 0) + 1
            named = re.findall(rf"(?<![\w.]){alias}{'[.]' if alias else ''}{column} = %\(tenant_id\)s", sql)
            if len(named) < reads[place]:
                wanting.append(f"{clause} {table} {alias}".strip())
    return wanting


# It finds an organisation by its slug, through policies for SELECT alone: docs/tenancy.md, "Finding an organisation".
WITHOUT_TENANT = {"tenants.find_tenant": ["FROM tenants"]}
WITHOUT_TABLE = {"tenants.check_tenant_id", "feedback.check_review_time", "search.read_by_index"}


def test_every_query_names_the_tenant_of_each_table_it_touches(addresses: Addresses) -> None:
    tables = tenant_tables(addresses.admin)
    wanting = {name: unnamed_tenants(query.sql.decode(), tables) for name, query in repository_queries().items()}
    assert {name: places for name, places in wanting.items() if places} == WITHOUT_TENANT


def test_the_query_without_a_tenant_reads_the_row_of_one_slug() -> None:
    sql = body(queries.load("tenants")["find_tenant"].sql.decode())
    assert sql.split() == ["SELECT", "id", "FROM", "tenants", "WHERE", "slug", "=", "%(slug)s"]


def test_a_tenant_that_a_query_does_not_name_is_missed(addresses: Addresses) -> None:
    tables = tenant_tables(addresses.admin)
    not_missed = []
    for name, query in repository_queries().items():
        if name in WITHOUT_TENANT:
            continue
        sql = query.sql.decode()
        if name in WITHOUT_TABLE:
            assert not re.search(r"\b(FROM|JOIN|UPDATE|INTO)\b", body(sql))
            continue
        names = list(re.finditer(r"(?<!raise_not_found\('tenant', )((\w+\.)?\w+ = )?%\(tenant_id\)s", sql))
        assert names, name
        for named in names:
            without = sql[: named.start()] + "TRUE" + sql[named.end() :]
            if not unnamed_tenants(without, tables):
                not_missed.append(f"{name}: {named.group()} of character {named.start()}")
    assert not_missed == []


# Parameters and columns, from PostgreSQL


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a result. `nullable` is None if it is not a plain column of a table."""

    name: str
    type: str
    nullable: bool | None


@dataclasses.dataclass(frozen=True)
class Description:
    """The types that PostgreSQL infers for a query's parameters, and the query's columns."""

    parameters: dict[str, str]
    columns: list[Column]


def describe(conn: psycopg.Connection[Any], query: Query) -> Description:
    """Prepare the query in the protocol and describe it. Works for any command, also those that PREPARE refuses."""
    names: list[str] = []

    def numbered(parameter: re.Match[str]) -> str:
        if parameter[1] not in names:
            names.append(parameter[1])
        return f"${names.index(parameter[1]) + 1}"

    # Names in comments are no parameters.
    sql = re.sub(r"%\((\w+)\)s", numbered, body(query.sql.decode()))
    pgconn = conn.pgconn
    for answer in (pgconn.prepare(b"contract", sql.encode()), found := pgconn.describe_prepared(b"contract")):
        assert answer.status == psycopg.pq.ExecStatus.COMMAND_OK, f"{query.name}: {answer.get_error_message()}"
    pgconn.exec_(b"DEALLOCATE contract")

    def type_(oid: int) -> str:
        return str(conn.execute("SELECT %s::oid::regtype::text", (oid,)).fetchone()[0])  # type: ignore[index]

    def nullable(table: int, number: int) -> bool | None:
        origin = conn.execute(
            "SELECT NOT attnotnull FROM pg_attribute WHERE attrelid = %s AND attnum = %s", (table, number)
        ).fetchone()
        return bool(origin[0]) if origin else None

    return Description(
        parameters={name: type_(found.param_type(i)) for i, name in enumerate(names)},
        columns=[
            Column(
                name=(found.fname(i) or b"").decode(),
                type=type_(found.ftype(i)),
                nullable=nullable(found.ftable(i), found.ftablecol(i)),
            )
            for i in range(found.nfields)
        ],
    )


ALIASES = {"timestamptz": "timestamp with time zone"}
"""Type oids by PostgreSQL's own names."""

PYTHON: dict[str, Any] = {
    "text": str,
    "integer": int,
    "bigint": int,
    "boolean": bool,
    "date": date,
    "timestamp with time zone": datetime,
    "jsonb": dict[str, Any],
    "text[]": list[str],
}
"""The Python type that psycopg returns for each PostgreSQL type. In this schema jsonb holds only objects."""


def wrong_parameters(conn: psycopg.Connection[Any], query: Query) -> list[str]:
    """Parameters for which PostgreSQL infers another type than the query declares."""
    expected = {
        name: re.sub(r"^\w+", lambda word: ALIASES.get(word[0], word[0]), type_) for name, type_ in query.types.items()
    }
    inferred = describe(conn, query).parameters
    assert inferred.keys() == expected.keys(), query.name
    return [
        f"{query.name}: parameter {name} is {inferred[name]}, not {type_}"
        for name, type_ in expected.items()
        if inferred[name] != type_
    ]


def without_none(annotation: Any) -> tuple[Any, bool]:
    """The type without None, and whether None is allowed."""
    if typing.get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    (inner,) = (arg for arg in typing.get_args(annotation) if arg is not type(None))
    return inner, True


def row_type(result: Any) -> Any:
    """The type of a result's row: X for list[X], Page[X], dict[str, X] and X | None."""
    if typing.get_origin(result) in (list, Page):
        return typing.get_args(result)[0]
    if typing.get_origin(result) is dict:
        return typing.get_args(result)[1]
    return without_none(result)[0]


def wrong_columns(conn: psycopg.Connection[Any], statement: Statement[Any], result: Any) -> list[str]:
    """The differences between the columns of a statement's last step and the fields of its result type."""
    columns = describe(conn, statement.steps[-1].query).columns
    row = row_type(result)
    if dataclasses.is_dataclass(row):
        fields = typing.get_type_hints(row)
        if sorted(fields) != sorted(column.name for column in columns):
            return [f"columns {[c.name for c in columns]}, but fields {list(fields)}"]
        expected = [fields[column.name] for column in columns]
    elif row is type(None) or statement.reader.rows is not VALUE.rows:
        # The rows are only counted or ignored.
        return [] if row is type(None) or columns else ["no rows"]
    else:
        if len(columns) != 1:
            return [f"{len(columns)} columns, but one value"]
        expected = [result]
    wrong = []
    for column, annotation in zip(columns, expected, strict=True):
        type_, optional_ = without_none(annotation)
        # Rows within a row are JSON. The statement's reader converts them.
        nested = column.type == "jsonb" and typing.get_origin(type_) is list
        if PYTHON.get(column.type) != type_ and not nested:
            wrong.append(f"{column.name} is {column.type}, but the field is {type_}")
        if column.nullable and not optional_:
            wrong.append(f"{column.name} may be NULL, but the field is {type_}")
    return wrong


def result_type(function: Callable[..., Statement[Any]]) -> Any:
    """The T of the Statement[T] that the function returns."""
    return typing.get_args(typing.get_type_hints(function)["return"])[0]


def build(function: Callable[..., Statement[Any]]) -> Statement[Any]:
    """The function's statement for arguments that name no row."""
    return function(**arguments(function, naming(lambda path: str(uuid4()))))


@pytest.fixture
def owner(addresses: Addresses) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        yield conn


# They need an extension that few test servers have. tests/admin/test_top.py and tests/citus/ run them.
ELSEWHERE = {
    "top.list_statements",
    "distribute.list_nodes",
    "distribute.list_placed_tables",
    "distribute.list_undistributed_functions",
    "distribute.ask_nodes",
}


def test_every_query_prepares_and_takes_the_types_that_it_says(owner: psycopg.Connection[Any]) -> None:
    found = [query for name, query in queries.load_all().items() if name not in ELSEWHERE]
    wrong = [complaint for query in found for complaint in wrong_parameters(owner, query)]
    assert wrong == []


def test_every_repository_function_gives_each_step_the_parameters_of_its_query() -> None:
    for name, function in FUNCTIONS.items():
        for step in build(function).steps:
            assert step.params.keys() | {"tenant_id"} == step.query.types.keys() | {"tenant_id"}, name


def test_every_repository_function_gives_the_columns_of_its_result(owner: psycopg.Connection[Any]) -> None:
    assert {name.partition(".")[0] for name in FUNCTIONS} == {file(module) for module in modules()}
    wrong = {name: wrong_columns(owner, build(function), result_type(function)) for name, function in FUNCTIONS.items()}
    assert {name: complaints for name, complaints in wrong.items() if complaints} == {}


WRONG_PARAMETERS = [
    ("metrics.increment_skill_uses", "%(by)s::integer", "%(by)s::bigint", "parameter by is bigint, not integer"),
    (
        "skills.get_skill",
        "id = %(skill_id)s",
        "total_uses = %(skill_id)s",
        "parameter skill_id is bigint, not text",
    ),
    (
        "usage.record_usage_events",
        "%(id)s::uuid[]",
        "%(id)s::text[]::uuid[]",
        "parameter id is text[], not uuid[]",
    ),
    ("ratings.list_ratings", "%(limit)s::bigint", "%(limit)s", "parameter limit is integer, not bigint"),
]


def test_a_parameter_of_another_type_is_reported(owner: psycopg.Connection[Any]) -> None:
    for name, was, becomes, complaint in WRONG_PARAMETERS:
        query = queries.load_all()[name]
        assert wrong_parameters(owner, altered(query, (was, becomes))) == [f"{query.name}: {complaint}"]


WRONG_COLUMNS = [
    ("skills.get_skill", "    id, name,", "    id,", "columns .*, but fields .*"),
    ("skills.get_skill", "    id, name,", "    id, rating_sum, name,", "columns .*, but fields .*"),
    ("skills.get_skill", "    id, name,", "    id, name, name,", "columns .*, but fields .*"),
    ("skills.get_skill", " name,", " name AS title,", "columns .*, but fields .*"),
    ("skills.get_skill", " tags,", " tags::text AS tags,", "tags is text, but .*"),
    ("skills.get_skill", " created_at,", " created_at::timestamp,", "created_at is timestamp without time zone.*"),
    ("skills.get_skill", " total_uses,", " hours_saved AS total_uses,", "total_uses may be NULL, but .*"),
    (
        "views.get_whats_new_for_user",
        "c.last_viewed_at,\n    c.view_count",
        "c.last_viewed_at,\n    c.view_count::numeric",
        "view_count is numeric, .*",
    ),
    (
        "views.open_skill",
        "s.published_version AS current_version",
        "s.name AS current_version",
        "current_version .*",
    ),
    ("views.get_user_views_for_skills", "*/ id, user_id, skill_id", "*/ id, user_id", "columns .*"),
    ("views.detect_changes", "v.last_viewed_at,", "s.metrics_updated_at AS last_viewed_at,", ".* may be NULL.*"),
    ("ratings.get_rating", "*/ id,", "*/ 1 AS id,", "id is integer, .*"),
    ("skills.get_version_number", "*/ version", "*/ version::text", "version is text, .*"),
    ("skills.get_version_number", "*/ version", "*/ version, id", "2 columns, but one value"),
    ("metrics.increment_skill_uses", ") AS total_uses", ")::text AS total_uses", "total_uses is text, .*"),
    ("usage.record_usage_event", "count(*) > 0", "count(*)", "recorded is bigint, .*"),
    ("skills.delete_skill", "RETURNING id", "", "no rows"),
]


def test_a_column_that_does_not_fit_is_reported(owner: psycopg.Connection[Any]) -> None:
    for name, was, becomes, complaint in WRONG_COLUMNS:
        function = FUNCTIONS[name]
        statement = build(function)
        step = statement.steps[-1]
        changed = Statement(statement.reader, altered(step, (was, becomes)))
        (found,) = wrong_columns(owner, changed, result_type(function))
        assert re.fullmatch(complaint, found), (name, becomes)


def test_the_data_gives_what_an_example_may_name(addresses: Addresses) -> None:
    columns = explain_columns(addresses.admin)
    assert columns == {"tenant_id": "text", **examples.DATA}


def explain_columns(dsn: str) -> dict[str, str]:
    """The columns of find_examples, with their types."""
    with psycopg.connect(dsn) as conn:
        found = conn.execute(
            queries.load("admin/explain")["find_examples"].sql.replace(
                b"raise_not_found('tenant', %(tenant_id)s)", b"''"
            ),
            {"tenant_id": ""},
        )
        return {
            column.name: conn.execute("SELECT format_type(%s, NULL)", [column.type_code]).fetchall()[0][0]
            for column in found.description or ()
        }
