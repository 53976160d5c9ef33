"""Writes docs/schema.* from the catalogue of a migrated database, for `make schema`."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import psycopg

from skilldb.admin import doctor, migrate
from skilldb.dev import embedded

Conn = psycopg.Connection[tuple[Any, ...]]
LAST = len(migrate.read())
"""The number of the last migration."""

# Lines that pg_dump adds, and lines about the server and the set-up of the database.
_NOISE = re.compile(
    r"^--\n(?:-- .*\n)+--\n"
    r"|^-- Dumped (?:from|by) .*\n"
    r"|^\\(?:un)?restrict .*\n"
    r"|^SET \w+ = .*;\n"
    r"|^SELECT pg_catalog\.set_config\(.*\n"
    r"|^GRANT .* ON SCHEMA public TO skilldb_owner;\n",
    flags=re.MULTILINE,
)

_HEADER = "-- The schema of a migrated database. Written by `make schema`: to change it, write a migration.\n\n"

_INTRODUCTION = """\
# Schema

This page lists the tables of a migrated database. [schema.sql](schema.sql) is the same as SQL. `make schema` writes
both from the catalogue. To change them, write a migration.

Each row belongs to the organisation in its `tenant_id`. Keys and references include it. In the diagram, a line is a
foreign key, and boxes list only key columns.
"""

PLANNED = """
## Indexes of the original plan

The original plan had indexes whose first column is not the tenant.
[ADR 11](adr/0011-indexes-that-were-dropped.md) says why they went. This is what serves their questions now. Figures are
milliseconds of the server's CPU, unless they say otherwise.

- skill_feedback (user_id): `skill_feedback_author_idx`, for `list_user_feedback`. A user with 10,000 items: 0.8 ms of a
  call; with (tenant_id, user_id) alone 53.
- skill_feedback (feedback_type) and skill_feedback (status): `skill_feedback_queue_idx`, for `list_feedback_queue`.
  1,000,000 items: 3.4 ms of a call; without it 3,911.
- token_measurements (created_at): `token_measurements_created_idx`, for `list_measurements` and `prune_measurements`.
- token_measurements (model_name): none. `get_cost_by_model` reads the rollup skill_daily_costs. 500,000 measurements:
  34 ms of a call; with the index 53; with an index that holds all columns 36, at 80 bytes a measurement.
- benchmark_runs (status): `benchmark_runs_status_idx`, for `claim_benchmark_run` and `list_benchmark_runs`.
  10,000 runs: 0.07 and 0.15; without it 0.63 and 4.4.
- benchmark_results (model_name): none. `get_model_leaderboard` reads every result of the runs. 117,000 results: 70;
  with the index 65; with an index that holds all columns 67.
- user_skill_views (user_id, last_viewed_at): none. `list_recently_viewed` sorts the user's views. 1,000 views: 0.31 ms;
  with the index 0.10. But then each view would write all indexes of the table: 110 microseconds instead of 84, and 550
  bytes of WAL instead of 217. No view would be updated in place.
"""


def dump(dsn: str) -> str:
    """The schema as pg_dump writes it, without yoyo's tables, owners, settings and version numbers."""
    command = [str(embedded.program("pg_dump")), "--schema-only", "--no-owner", "--exclude-table=*yoyo*", dsn]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return _HEADER + re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", text)).strip() + "\n"


def markdown(conn: Conn) -> str:
    """The schema in words and tables, with a diagram.

    It does not say which queries use an index: the planner chooses, and tests/slow/test_plans.py asserts the choice.
    """
    return (
        "\n".join([_INTRODUCTION, *_diagram(conn), *_tables(conn), *_domains(conn), *_functions(conn), PLANNED]).strip()
        + "\n"
    )


def definitions(conn: Conn) -> str:
    """The definitions that the doctor expects, one per line."""
    return "".join(f"{name}: {definition}\n" for name, definition in doctor.definitions(conn).items())


def compare(name: str, written: str, now: str) -> None:
    """Raise AssertionError, with the lines that differ, if the file is not up to date."""
    differing = list(difflib.unified_diff(written.splitlines(), now.splitlines(), name, "database", "", "", 1))
    more = [f"... and {len(differing) - 40} more lines"] if len(differing) > 40 else []
    if differing:
        raise AssertionError("\n".join([f"{name} is stale: run `make schema`", *differing[:40], *more]))


def _rows(conn: Conn, query: str) -> dict[str, list[Any]]:
    """The rows of the query by table, its first column, without yoyo's tables."""
    found: dict[str, list[Any]] = defaultdict(list)
    for table, *row in conn.execute(query.encode()):
        if "yoyo" not in table:
            found[table].append(row)
    return found


def _diagram(conn: Conn) -> Iterator[str]:
    yield "```mermaid"
    yield "erDiagram"
    columns = _rows(conn, _KEY_COLUMNS)
    for table in _rows(conn, _TABLES):
        yield f"    {table} {{"
        for name, type, marks in columns[table]:
            word = re.sub(r"\W+", "_", type.replace("[]", " array")).strip("_")
            yield f"        {word} {name} {', '.join(marks)}"
        yield "    }"
    for table, keys in _rows(conn, _REFERENCES).items():
        for name, target, is_optional, is_unique in keys:
            yield f"    {target} {'|o' if is_optional else '||'}--{'o|' if is_unique else 'o{'} {table} : {name}"
    yield "```"


def _tables(conn: Conn) -> Iterator[str]:
    columns = _rows(conn, _COLUMNS)
    keys, indexes, policies, grants = (_rows(conn, query) for query in (_KEYS, _INDEXES, _POLICIES, _GRANTS))
    for table, [(meaning, row_security)] in _rows(conn, _TABLES).items():
        yield f"\n## {table}\n\n{_text(meaning)}\n"
        yield "| column | type | null | default | meaning |\n|---|---|---|---|---|"
        for name, type, nullable, default, generated, comment in columns[table]:
            value = f"{'generated: ' if generated else ''}{_code(default)}" if default else ""
            yield f"| `{name}` | {type} | {'yes' if nullable else 'no'} | {value} | {_text(comment)} |"
        yield "\nKeys and checks:\n"
        for name, definition in keys[table]:
            yield f"- `{name}`: {_code(definition)}"
        yield "\nIndexes:\n"
        for name, definition, comment in indexes[table]:
            yield f"- `{name}`: {_code(definition)}{f'. {_text(comment)}' if comment else ''}"
        yield f"\nRow-level security is {row_security}. Policies:\n"
        for name, definition in policies[table]:
            yield f"- `{name}`: {_code(definition)}"
        yield "\nGrants:\n"
        for grantee, privileges in grants[table]:
            yield f"- `{grantee}`: {privileges}"


def _domains(conn: Conn) -> Iterator[str]:
    yield "\n## Domains\n\nA domain is the type of a column, and says which values the column may have.\n"
    yield "| domain | type | constraint |\n|---|---|---|"
    for name, [(type, constraint)] in _rows(conn, _DOMAINS).items():
        yield f"| `{name}` | {type} | {_code(constraint)} |"


def _functions(conn: Conn) -> Iterator[str]:
    yield "\n## Functions"
    for name, [(signature, language, comment, grantees)] in _rows(conn, _FUNCTIONS).items():
        yield f"\n### {name}\n\n{_text(comment)}\n"
        yield f"{_code(signature)}, {language}; may be called by {grantees or 'its owner only'}."


def _text(comment: str | None) -> str:
    """A COMMENT for a cell or paragraph, with Markdown escaped."""
    return re.sub(r"[\\|<*$`]", r"\\\g<0>", " ".join((comment or "").split()))


def _code(expression: str) -> str:
    return "`" + " ".join(expression.split()).replace("|", r"\|") + "`"


_TABLES = """
SELECT
    c.relname,
    obj_description(c.oid, 'pg_class'),
    CASE
        WHEN c.relrowsecurity AND c.relforcerowsecurity THEN 'enabled and forced'
        WHEN c.relrowsecurity THEN 'enabled, not forced'
        ELSE 'not enabled'
    END
FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
ORDER BY c.relname COLLATE "C"
"""

_COLUMNS = """
SELECT
    c.relname,
    a.attname,
    CASE
        WHEN t.typtype = 'd' THEN format('%s (`%s`)', format_type(t.typbasetype, t.typtypmod), t.typname)
        ELSE format_type(a.atttypid, a.atttypmod)
    END,
    NOT a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid),
    a.attgenerated <> '',
    col_description(a.attrelid, a.attnum)
FROM pg_attribute AS a
INNER JOIN pg_class AS c ON c.oid = a.attrelid
INNER JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE
    c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
    AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname COLLATE "C", a.attnum
"""

# From PostgreSQL 18 on NOT NULL is also a constraint. It is left out, because the columns show it.
_KEYS = """
SELECT c.relname, k.conname, pg_get_constraintdef(k.oid)
FROM pg_constraint AS k
INNER JOIN pg_class AS c ON c.oid = k.conrelid
WHERE c.relnamespace = 'public'::regnamespace AND k.contype IN ('p', 'u', 'f', 'c', 'x')
ORDER BY c.relname COLLATE "C", strpos('pufxc', k.contype::text), k.conname COLLATE "C"
"""

_INDEXES = """
SELECT
    c.relname,
    x.relname,
    CASE WHEN i.indisunique THEN 'unique ' ELSE '' END
    || regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE .* USING ', '')
    || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END,
    obj_description(i.indexrelid, 'pg_class')
FROM pg_index AS i
INNER JOIN pg_class AS c ON c.oid = i.indrelid
INNER JOIN pg_class AS x ON x.oid = i.indexrelid
WHERE c.relnamespace = 'public'::regnamespace
ORDER BY c.relname COLLATE "C", NOT i.indisprimary, x.relname COLLATE "C"
"""

_POLICIES = """
SELECT
    p.tablename,
    p.policyname,
    format('%s FOR %s TO %s', p.permissive, p.cmd, array_to_string(p.roles, ', '))
    || coalesce(' USING ' || p.qual, '')
    || coalesce(' WITH CHECK ' || p.with_check, '')
FROM pg_policies AS p
WHERE p.schemaname = 'public'
ORDER BY p.tablename COLLATE "C", p.policyname COLLATE "C"
"""

# Leave out the owner's own privileges.
_GRANTS = """
WITH granted (oid, attnum, attname, acl) AS (
    SELECT c.oid, 0, NULL, c.relacl
    FROM pg_class AS c
    UNION ALL
    SELECT a.attrelid, a.attnum, a.attname, a.attacl
    FROM pg_attribute AS a
),

privileges AS (
    SELECT
        c.relname,
        coalesce(nullif(x.grantee, 0)::regrole::text, 'PUBLIC') AS grantee,
        x.privilege_type || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS privilege,
        string_agg('`' || g.attname || '`', ', ' ORDER BY g.attnum) AS columns
    FROM granted AS g
    INNER JOIN pg_class AS c ON c.oid = g.oid
    CROSS JOIN LATERAL aclexplode(g.acl) AS x
    WHERE
        c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
        AND x.grantee <> c.relowner
    GROUP BY c.relname, x.grantee, x.privilege_type, x.is_grantable, g.attnum = 0
)

SELECT
    relname,
    grantee,
    string_agg(
        privilege || coalesce(' of ' || columns, ''),
        ', ' ORDER BY columns IS NOT NULL, privilege COLLATE "C"
    )
FROM privileges
GROUP BY relname, grantee
ORDER BY relname COLLATE "C", grantee COLLATE "C"
"""

_DOMAINS = """
SELECT
    y.typname,
    format_type(y.typbasetype, y.typtypmod),
    coalesce(
        (
            SELECT string_agg(pg_get_constraintdef(c.oid), ', ' ORDER BY c.conname)
            FROM pg_constraint AS c
            WHERE c.contypid = y.oid
        ),
        'none'
    )
FROM pg_type AS y
WHERE y.typtype = 'd' AND y.typnamespace = 'public'::regnamespace
ORDER BY y.typname COLLATE "C"
"""

_FUNCTIONS = """
SELECT
    p.oid::regprocedure::text,
    format('%s(%s) returns %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)),
    l.lanname,
    obj_description(p.oid, 'pg_proc'),
    (
        SELECT string_agg(format('`%s`', g.grantee), ', ' ORDER BY g.grantee COLLATE "C")
        FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x
        CROSS JOIN LATERAL coalesce(nullif(x.grantee, 0)::regrole::text, 'PUBLIC') AS g (grantee)
        WHERE x.grantee <> p.proowner
    )
FROM pg_proc AS p
INNER JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace = 'public'::regnamespace
ORDER BY p.oid::regprocedure::text COLLATE "C"
"""

_KEY_COLUMNS = """
SELECT
    c.relname,
    a.attname,
    format_type(a.atttypid, a.atttypmod),
    array_agg(DISTINCT CASE k.contype WHEN 'p' THEN 'PK' WHEN 'f' THEN 'FK' ELSE 'UK' END)
FROM pg_constraint AS k
INNER JOIN pg_class AS c ON c.oid = k.conrelid
INNER JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
WHERE k.contype IN ('p', 'u', 'f') AND c.relnamespace = 'public'::regnamespace
GROUP BY c.relname, a.attname, a.attnum, a.atttypid, a.atttypmod
ORDER BY c.relname COLLATE "C", a.attnum
"""

# The reference is optional if a column of the key may be NULL, and unique if these columns contain a unique key.
_REFERENCES = """
SELECT
    c.relname,
    k.conname,
    f.relname,
    (
        SELECT bool_or(NOT a.attnotnull)
        FROM pg_attribute AS a
        WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
    ),
    EXISTS (
        SELECT FROM pg_constraint AS u
        WHERE u.conrelid = k.conrelid AND u.contype IN ('p', 'u') AND u.conkey <@ k.conkey
    )
FROM pg_constraint AS k
INNER JOIN pg_class AS c ON c.oid = k.conrelid
INNER JOIN pg_class AS f ON f.oid = k.confrelid
WHERE k.contype = 'f' AND c.relnamespace = 'public'::regnamespace
ORDER BY c.relname COLLATE "C", k.conname COLLATE "C"
"""
