"""Tests the loader of sql/: what it reads, and which files it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skilldb import queries


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: q()\nSELECT %(a)s;", r"file\.q: declares \[\] but uses \['a'\]"),
        ("-- name: q(a)\nSELECT 1;", r"file\.q: declares \['a'\] but uses \[\]"),
        ("-- name: q(a)\n-- Not used: %(a)s\nSELECT 1;", r"file\.q"),
        ("-- name: q(tenant_id)\nSELECT %(tenant_id)s;", r"file\.q: declares \['tenant_id'\] but uses \[\]"),
        ("-- name: q()\nSELECT 1;\n\n-- name: q()\nSELECT 2;", r"file\.q: the file has two queries of this name"),
        ("SELECT 1;\n-- name: q()\nSELECT 2;", "file: expected comments and then"),
        ("-- A comment.\nSELECT 1;\n", "file: expected comments and then"),
        ("", "file: expected comments and then"),
        ("-- name: q\nSELECT 1;", "file: expected comments and then"),
        ("-- name: q()\nSELECT 1", r"file\.q: must end with a semicolon"),
        ("-- name: q()\nSELECT 1\n-- name: r()\nSELECT 2;", r"file\.q: must end with a semicolon"),
        ("-- name: q()\nSELECT 1; -- done", r"file\.q: must end with a semicolon"),
        ("-- name: q()\n", "file: no SQL after"),
        ("-- name: q()\n-- Nothing but a comment;", r"file\.q"),
        ("-- name: q()\n;", r"file\.q"),
        ("-- name: q()\nSELECT 1; SELECT 2;", r"file\.q: holds more than one statement"),
        ("-- name: q()\nSELECT 1;\nSELECT 2;", r"file\.q: holds more than one statement"),
        ("-- name: q()\nSELECT ';';\nSELECT 2;", r"file\.q: holds more than one statement"),
        ("-- name: q(a)\nSELECT %(a)s::integer, %(a)s::text;", r"file\.q: parameter a is cast to integer and to text"),
        ("-- name: q(a)\nSELECT %(a)s::text[], %(a)s::text;", r"file\.q: parameter a is cast to text\[\] and to text"),
        ("-- name: q(a)\nSELECT %(a)s::money;", r"file\.q: no values of type money"),
        ("-- name: q()\nSELECT 1;\n-- name: Second()\nSELECT 2;", r"file\.q: holds more than one statement"),
        ("-- name: Q()\nSELECT 1;", "file: expected comments and then"),
        # psycopg looks for placeholders in comments and strings too.
        ("-- name: q()\n-- See %(a)s.\nSELECT 1;", r"file\.q"),
        ("-- name: q()\n-- 100% sure.\nSELECT 1;", r"file\.q"),
        ("-- name: q()\nSELECT 'a' LIKE 'a%';", r"file\.q"),
        ("-- name: q()\nSELECT 1\n-- It ends here;", r"file\.q: must end with a semicolon"),
    ],
)
def test_a_file_that_is_not_well_formed_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        queries.parse(text, "file")


def test_comments_strings_and_blocks_may_hold_what_sql_may_not() -> None:
    parsed = queries.parse(
        "-- What this file is for; in two parts.\n\n"
        "-- name: first(a, b)\n-- Careful; not the end.\nSELECT %(a)s, ';', %(b)s::integer, %(b)s, %(tenant_id)s;\n\n"
        "-- name: second()\nDO $$ BEGIN PERFORM 1; END $$;\n",
        "file",
    )
    assert {name: dict(query.types) for name, query in parsed.items()} == {
        "first": {"a": "text", "b": "integer", "tenant_id": "text"},
        "second": {},
    }


def test_a_cast_anywhere_in_the_query_is_the_type_of_its_parameter() -> None:
    (query,) = queries.parse("-- name: q(a)\nSELECT %(a)s, %(a)s::bigint, %(a)s;", "file").values()
    assert query.types == {"a": "bigint"}


def test_the_reason_to_read_all_is_read_from_the_header() -> None:
    text = "-- name: q()\n-- It counts.\n-- Reads all: it counts every row.\nSELECT 1;\n-- name: r()\nSELECT 1;"
    found = {name: query.reads_all for name, query in queries.parse(text, "file").items()}
    assert found == {"q": "it counts every row.", "r": None}


def test_what_is_sent_names_the_query_behind_its_first_word_and_has_no_other_comment() -> None:
    for name, query in queries.load_all().items():
        sql = query.sql.decode()
        assert re.match(rf"[A-Z]+ /\* {name} \*/\s", sql), name
        assert sql.count("/*") == 1, name
        assert "--" not in sql, name
        assert not sql.endswith(";"), name


def test_a_name_stands_for_one_query_over_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = queries.load_all()
    assert len({query.name for query in loaded.values()}) == len(loaded) > 0

    for file in ("contract_one", "contract_two"):
        (tmp_path / f"{file}.sql").write_text("-- name: same()\nSELECT 1;")
    monkeypatch.setattr(queries, "folder", lambda name: tmp_path)
    with pytest.raises(ValueError, match="queries of the same name in two files: same"):
        queries.load_all()


def test_every_query_is_used() -> None:
    sources = "".join(path.read_text() for path in (queries.folder("sql").parent / "skilldb").rglob("*.py"))
    unused = [name for name, query in queries.load_all().items() if f'"{query.name}"' not in sources]
    assert unused == []
