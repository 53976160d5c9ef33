"""Tests the example parameters in a query's header: the valid forms, and the errors for others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skilldb import examples, queries
from skilldb.examples import FromData


def test_the_header_gives_an_example_of_each_parameter() -> None:
    (query,) = queries.parse(
        "-- name: q(a, skill_id, b, c, d, e, f)\n-- It is short.\n"
        "-- Example: a = 'it''s, so', b = -5,\n-- c = :user_id, d = ARRAY['x', NULL], e = NULL,\n"
        """-- f = '{"a": [1, 2]}'\n"""
        "SELECT %(tenant_id)s, %(a)s, %(skill_id)s, %(b)s::integer, %(c)s, %(d)s::text[], %(e)s, %(f)s::jsonb;",
        "file",
    ).values()
    assert query.examples == {
        "a": "it's, so",
        "skill_id": FromData("skill_id"),
        "b": -5,
        "c": FromData("user_id"),
        "d": ["x", None],
        "e": None,
        "f": {"a": [1, 2]},
    }


def test_the_examples_of_arrays_may_be_given_as_rows() -> None:
    types = {"tenant_id": "text", "a": "text[]", "b": "text[]", "c": "integer[]", "d": "timestamptz[]", "e": "bigint"}
    line = "3 rows of a = 'x', b = :user_ids, c = 0..2, d = now() - interval '2 days', e = 7"
    found = examples.read("file.q", line, types)
    data = {"user_ids": ["u1", "u2"]}
    values = {name: examples.resolve(name, types[name], example, data) for name, example in found.items()}
    ago = values.pop("d")
    assert values == {"a": ["x"] * 3, "b": ["u1", "u2", "u1"], "c": [0, 1, 2], "e": 7}
    assert timedelta(days=2) <= datetime.now(UTC) - ago[0] < timedelta(days=2, minutes=1)
    assert len(ago) == 3
    assert examples.resolve("b", "text[]", found["b"], {"user_ids": []}) == [None] * 3


@pytest.mark.parametrize(
    ("line", "type", "complaint"),
    [
        ("b = 1", "integer", "file.q: its `-- Example:` line gives b, which is no parameter. Its parameters: a"),
        ("a = 1, a = 2", "integer", "file.q: its `-- Example:` line gives a twice. Delete one of them"),
        ("a: 1", "integer", "file.q: cannot read 'a: 1' in its `-- Example:` line. Type `parameter = value` pairs"),
        ("a = published", "text", "file.q: cannot read 'a = published' in its `-- Example:` line"),
        ("a = 'published", "text", 'file.q: cannot read "a = \'published" in its `-- Example:` line'),
        ("a = 'x' 'y'", "text", "file.q: cannot read \"a = 'x' 'y'\" in its `-- Example:` line"),
        ("a = 1", "text", "file.q: its example a = 1 is no text. Type for example: a = 'text'"),
        ("a = 'ten'", "bigint", "file.q: its example a = 'ten' is no bigint. Type for example: a = 10"),
        ("a = 2147483648", "integer", "file.q: its example a = 2147483648 is no integer"),
        ("a = 0..2", "integer", "file.q: its example a = 0..2 is no integer"),
        ("a = 1", "boolean", "file.q: its example a = 1 is no boolean. Type for example: a = TRUE"),
        ("a = 'nothing'", "jsonb", "file.q: its example a = 'nothing' is no jsonb. Type for example: a = '{\"key\""),
        ("a = '2026-01-31'", "timestamptz", "is no timestamptz. Type for example: a = now() - interval '30 days'"),
        ("a = now() - interval '1 days'", "text", "is no text"),
        ("a = 'x'", "text[]", "file.q: its example a = 'x' is no text[]. Type for example: a = ARRAY['text']"),
        ("a = ARRAY['x', y]", "text[]", "file.q: its example a = ARRAY['x', y] is no text[]"),
        ("a = ARRAY['x']", "text", "file.q: its example a = ARRAY['x'] is no text."),
        ("2 rows of a = ARRAY['x']", "text[]", "is no text. Type for example: a = 'text'"),
        ("a = :user", "text", "a = :user is no text. The data has for it: :feedback_id or :run_id or :skill_id"),
        ("a = :user_ids", "text", "a = :user_ids is no text. The data has for it: "),
    ],
)
def test_an_example_that_is_none_says_what_to_type(line: str, type: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"^file\.q: ") as raised:
        queries.parse(f"-- name: q(a)\n-- Example: {line}\nSELECT %(tenant_id)s, %(a)s::{type};", "file")
    assert complaint in str(raised.value)


def test_a_line_of_the_header_comes_once() -> None:
    with pytest.raises(ValueError, match=r"file\.q: has two `-- Example:` lines. Join them"):
        queries.parse("-- name: q()\n-- Example: a = 1\n-- Example: a = 1\nSELECT 1;", "file")


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("", "no example for limit, tags. `skilldb explain` needs one. Type in its header, with values that suit: "
         r"-- Example: limit = 10, tags = ARRAY\['text'\]"),
        ("-- Example: limit = 5\n", "no example for tags"),
        ("-- Example: limit = 5, tags = NULL\n-- Run first: nothing\n",
         "its `-- Run first:` line names nothing, which is no query of this file. The file has: q"),
    ],
)  # fmt: skip
def test_a_file_of_sql_has_an_example_of_each_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, complaint: str
) -> None:
    body = "SELECT %(tenant_id)s, %(skill_id)s, %(limit)s::bigint, %(tags)s::text[];"
    (tmp_path / "examples.sql").write_text(f"-- name: q(skill_id, limit, tags)\n{header}{body}")
    monkeypatch.setattr(queries, "folder", lambda name: tmp_path)
    with pytest.raises(ValueError, match=rf"^examples\.q: {complaint}"):
        queries.load.__wrapped__("examples")
