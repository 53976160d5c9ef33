"""Tests cursors: each leads back to its value and id, and only in the list that it was made for."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from skilldb import paging, repositories
from skilldb.errors import InvalidValueError
from skilldb.paging import Sort
from skilldb.repositories import skills
from tests.support.functions import FUNCTIONS, arguments, naming

TIME, USES, NAME = Sort("time", datetime), Sort("uses", int), Sort("name", str)
EVENTS = Sort("events", datetime, is_uuid=True)
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
    assert paging.decode(None, TIME) == paging.decode(None, USES) == (None, None)


def test_a_cursor_of_another_list_is_refused() -> None:
    cursors = {
        TIME: paging.encode(NOON, "s1", TIME),
        USES: paging.encode(5, "s1", USES),
        Sort("rating", int): paging.encode(5, "s1", Sort("rating", int)),
        NAME: paging.encode(NOON.isoformat(), "s1", NAME),
    }
    for sort in cursors:
        for of, cursor in cursors.items():
            if of == sort:
                assert paging.decode(cursor, sort)[1] == "s1"
            else:
                with pytest.raises(InvalidValueError, match="after is not a cursor of this list"):
                    paging.decode(cursor, sort)


def all_sorts() -> list[Sort]:
    """The order of every list of every repository."""
    modules = [
        importlib.import_module(f"{repositories.__name__}.{module.name}")
        for module in pkgutil.iter_modules(repositories.__path__)
    ]
    values = [value for module in modules for value in vars(module).values()]
    return [*(value for value in values if isinstance(value, Sort)), *(sort for sort, _ in skills._SORTS.values())]


def test_each_list_takes_the_cursors_of_no_other_list() -> None:
    """The tables and directions of lists differ, so that a page after such a cursor would be any page."""
    sorts = all_sorts()
    assert len({sort.name for sort in sorts}) == len(sorts)
    samples: dict[type, Any] = {datetime: NOON, int: 5, str: "a"}
    cursors = [paging.encode(samples[sort.type], str(UUID(int=1)), sort) for sort in sorts]
    taken: dict[int, list[str]] = {}
    for name, function in FUNCTIONS.items():
        if "limit" not in (known := inspect.signature(function).parameters) or "after" not in known:
            continue
        given = arguments(function, naming(lambda path: "s1")) | ({"status": "pending"} if "queue" in name else {})
        for number, cursor in enumerate(cursors):
            try:
                function(**given, after=cursor)
            except InvalidValueError as error:
                assert str(error).startswith("after is not a cursor of this list: "), name  # noqa: PT017
            else:
                taken.setdefault(number, []).append(name)
    assert all(len(names) == 1 for names in taken.values()), taken
    assert len(taken) == len(sorts) - 4  # list_skills has four other sorts.


def test_every_limit_is_at_most_a_million() -> None:
    """A page adds 1 to the limit, and one of 2**63 - 1 would be out of range in the database."""
    limited = [name for name, function in FUNCTIONS.items() if "limit" in inspect.signature(function).parameters]
    assert len(limited) > 20
    for name in limited:
        given = arguments(FUNCTIONS[name], naming(lambda path: "s1")) | (
            {"status": "pending"} if "queue" in name else {}
        )
        FUNCTIONS[name](**given, limit=1_000_000)
        for limit in (1_000_001, 2**63 - 2, 2**63 - 1):
            with pytest.raises(InvalidValueError, match=f"^limit must be at most 1000000, not {limit}$"):
                FUNCTIONS[name](**given, limit=limit)


@pytest.mark.parametrize(
    ("sort", "content"),
    [
        (USES, ["uses", "5", "s1"]),
        (USES, ["uses", 5.0, "s1"]),
        (USES, ["uses", True, "s1"]),
        (USES, ["uses", None, "s1"]),
        (USES, ["uses", 2**63, "s1"]),
        (USES, ["uses", -(2**63), "s1"]),  # Its negative is no BIGINT.
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
        (EVENTS, ["events", NOON.isoformat(), "s1"]),
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
        paging.decode(cursor, USES)
