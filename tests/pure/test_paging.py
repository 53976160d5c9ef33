"""Tests cursors: each leads back to its value and id, and only in the sort that it was made for."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from skilldb import paging
from skilldb.errors import InvalidValueError
from skilldb.paging import TIME, Sort

USES, NAME = Sort("uses", int), Sort("name", str)
NOON = datetime(2026, 1, 1, 12, 0, 0, 123_000, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        (TIME, NOON),
        (TIME, datetime(2, 1, 1, tzinfo=UTC)),
        (USES, 0),
        (USES, -1),
        (USES, 2**63 - 1),
        (NAME, ""),
        (NAME, "É \U0001f389\n\"\\' ,[]"),
    ],
)
def test_a_cursor_leads_back_to_its_value_and_id(sort: Sort, value: Any) -> None:
    for id in ("s1", "é \U0001f389", " ", "]", ""):
        cursor = paging.encode(value, id, sort)
        assert paging.decode(cursor, sort) == (value, id)
        assert cursor.isascii()
        assert not set(cursor) & set("+/& ?#%")


def test_no_cursor_is_no_bound() -> None:
    assert paging.decode(None) == paging.decode(None, USES) == (None, None)


def test_a_cursor_of_another_sort_is_refused() -> None:
    cursors = {
        TIME: paging.encode(NOON, "s1"),
        USES: paging.encode(5, "s1", USES),
        Sort("rating", int): paging.encode(5, "s1", Sort("rating", int)),
        NAME: paging.encode(NOON.isoformat(), "s1", NAME),
    }
    for sort in cursors:
        for of, cursor in cursors.items():
            if of == sort:
                assert paging.decode(cursor, sort)[1] == "s1"
            else:
                with pytest.raises(InvalidValueError, match="after is not the cursor of a page in this order"):
                    paging.decode(cursor, sort)


@pytest.mark.parametrize(
    ("sort", "content"),
    [
        (USES, ["uses", "5", "s1"]),
        (USES, ["uses", 5.0, "s1"]),
        (USES, ["uses", True, "s1"]),
        (USES, ["uses", None, "s1"]),
        (USES, ["uses", 2**63, "s1"]),
        (USES, ["uses", 5, 1]),
        (USES, ["uses", 5, None]),
        (USES, ["uses", 5, "s\0"]),
        (USES, ["uses", 5, "\ud800"]),
        (USES, ["uses", 5]),
        (USES, ["uses", 5, "s1", "s2"]),
        (USES, {"uses": 5}),
        (USES, "abc"),
        (USES, 5),
        (NAME, ["name", 5, "s1"]),
        (NAME, ["name", "a\0", "s1"]),
        (NAME, ["name", "\ud800", "s1"]),
        (TIME, ["time", "no time", "s1"]),
        (TIME, ["time", "2026-01-01T00:00:00", "s1"]),
        (TIME, ["time", 5, "s1"]),
    ],
)
def test_a_cursor_that_nobody_was_given_is_refused(sort: Sort, content: Any) -> None:
    with pytest.raises(InvalidValueError, match="after"):
        paging.decode(urlsafe_b64encode(json.dumps(content).encode()).decode(), sort)


@pytest.mark.parametrize("text", ["[" * 100_000, '["uses",' + "9" * 10_000 + ',"s1"]', "", "{", "\x80"])
def test_a_cursor_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="after"):
        paging.decode(urlsafe_b64encode(text.encode("latin-1")).decode(), USES)


@pytest.mark.parametrize("cursor", ["ä", "====", "a", b"WyJ0", 5, []])
def test_what_is_no_text_in_base64_is_refused(cursor: Any) -> None:
    with pytest.raises(InvalidValueError, match="after"):
        paging.decode(cursor)
