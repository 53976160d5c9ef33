"""The example parameters in a query's header: what they may be, and how a wrong one is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from skilldb import examples, queries
from skilldb.query import Query

load = queries.load.__wrapped__  # Without its cache, which the other tests share.
BODY = """SELECT id FROM skills
WHERE tenant_id = %(tenant_id)s AND id = %(skill_id)s AND tags = %(tags)s::text[] AND version = %(version)s::integer
AND created_at > %(since)s::timestamptz AND is_open = %(is_open)s::boolean AND data = %(data)s::jsonb;
"""
GOOD = "tags = ARRAY['a', 'it''s, b'], version = -3, since = now() - interval '7 days',\n-- is_open = TRUE, data = NULL"


def query(header: str) -> Query:
    return queries.parse(f"-- name: ask(skill_id, tags, version, since, is_open, data)\n{header}{BODY}", "x")["ask"]


def values(found: Query, data: dict[str, Any]) -> dict[str, Any]:
    return {name: examples.resolve(name, found.types[name], example, data) for name, example in found.examples.items()}


def test_each_value_of_a_header_is_what_sql_would_read() -> None:
    found = values(query(f"-- Example: {GOOD}\n"), {"skill_id": "s1"})
    since = found.pop("since")
    assert timedelta(days=7) <= datetime.now(UTC) - since < timedelta(days=7, minutes=5)
    assert found == {
        "skill_id": "s1",
        "tags": ["a", "it's, b"],
        "version": -3,
        "is_open": True,
        "data": None,
    }


def test_rows_fill_arrays() -> None:
    text = "-- name: ask(skill_id, number)\n-- Example: 3 rows of skill_id = :skill_ids, number = 0..2\n"
    text += "SELECT unnest(%(skill_id)s::text[], %(number)s::integer[]), %(tenant_id)s;\n"
    found = values(queries.parse(text, "x")["ask"], {"skill_ids": ["a", "b"]})
    assert found == {"skill_id": ["a", "b", "a"], "number": [0, 1, 2]}


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (
            "limit = 3",
            "x.ask: its `-- Example:` line gives limit, which is no parameter. Its parameters: data, is_open",
        ),
        ("version = 'three'", "its example version = 'three' is no integer. Type for example: version = 10"),
        ("tags = 'a'", r"its example tags = 'a' is no text\[\]. Type for example: tags = ARRAY\['text'\]"),
        ("data = '{'", "its example data = '{' is no jsonb"),
        ("skill_id = :user", "its example skill_id = :user is no text. The data has for it: :feedback_id or"),
        ("version = 1, version = 2", "gives version twice. Delete one of them"),
        ("version is 3", "cannot read 'version is 3' in its `-- Example:` line. Type `parameter = value` pairs"),
        ("version = 3\n-- Example: is_open = TRUE", "has two `-- Example:` lines. Join them"),
    ],
)
def test_a_wrong_example_is_named_with_what_to_type(header: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        query(f"-- Example: {header}\n")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of queries that `load("x")` reads."""
    monkeypatch.setattr(queries, "folder", lambda _: tmp_path)
    return tmp_path / "x.sql"


def test_a_missing_example_is_named_with_what_to_type(file: Path) -> None:
    file.write_text("-- name: ask(limit)\nSELECT %(limit)s::bigint;\n")
    with pytest.raises(ValueError, match=r"x.ask: no example for limit.*Type in its header.*-- Example: limit = 10"):
        load("x")


def test_run_first_names_queries_of_the_same_file(file: Path) -> None:
    file.write_text("-- name: ask()\n-- Run first: answer\nSELECT 1;\n")
    with pytest.raises(ValueError, match=r"x.ask: its `-- Run first:` line names answer.*The file has: ask"):
        load("x")
