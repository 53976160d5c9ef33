"""Gives hostile values to every parameter of every function: each gets the right answer or the documented error."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import is_dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest

import skilldb
from skilldb import queries
from skilldb.errors import InvalidValueError, SkilldbError
from skilldb.statement import VALUE, Statement
from tests.support.functions import FUNCTIONS, LEFT_OUT, arguments, everything, is_mapping, names_a_row
from tests.support.reliability import FIGURES, record, size
from tests.support.server import Addresses
from tests.support.world import NAMES, PRELUDE, A, B, World, opened, snapshot, tables

TEXTS = (
    "",
    "'",
    '"',
    "''; --",
    "'; DROP TABLE skills; --",
    "' OR tenant_id <> 'acme",
    "') RETURNING (SELECT string_agg(name, '') FROM users) --",
    "/* open",
    "*/ closed",
    "-- name: get_skill()",
    "%",
    "%s",
    "%(tenant_id)s",
    "%(x)s %%s",
    "\\",
    "\\'; SELECT 1",
    "E'\\x00'",
    "$1",
    "$$; SELECT 1; $$",
    "{acme,globex}",
    '{"tenant_id": "globex"}',
    "\r\n\t\x01\x7f",
    "\u202e\u200ftxet\u2066",
    "\ufeff\U0001f389e\u0301",
    "NULL",
    "globex",
    "a\0b",
    "\0",
    "lone \ud800",
    "\udfff",
    b"bytes",
    5,
    ["list"],
)
NUMBERS = (
    *(0, -1, 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 10**40, 10**5_000),
    *(math.nan, math.inf, 1.0, True, "1"),
)
TIMES = (
    datetime(2026, 1, 1),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, tzinfo=UTC),
    datetime(2, 1, 1, tzinfo=UTC),
    datetime(9998, 12, 31, tzinfo=UTC),
    "2026-01-01T00:00:00Z",
    0,
)
OBJECTS: tuple[Any, ...] = (
    {},
    {"'": "%s"},
    {"a": {"b": ["\\", None]}},
    {"a": "\0"},
    {"a": "\ud800"},
    {"a": math.nan},
    {"\0": 1},
    {1: "a", "1": "b"},
    {"a": [{None: 1}]},
    [],
    "{}",
    5,
)
LENGTHS: tuple[Any, ...] = (
    timedelta(0),
    timedelta(-1),
    timedelta.min,
    timedelta.max,
    timedelta(microseconds=1),
    5,
    "1 day",
)
DATES: tuple[Any, ...] = (date(2, 1, 1), date(9998, 12, 31), date.min, date.max, TIMES[0], "2026-01-01", 5)
LISTS: tuple[Any, ...] = ([], ["'"], ["%s", "{}"], [None], ["a\0"], [5], "text", 5)


def hostile(hint: Any) -> tuple[Any, ...]:
    return (
        OBJECTS
        if is_mapping(hint)
        else {str: TEXTS, int: NUMBERS, bool: (0, "true"), datetime: TIMES, date: DATES, timedelta: LENGTHS}[hint]
    )


def fits(path: str, hint: Any, value: Any) -> bool:
    """Whether the value has the parameter's type and PostgreSQL can store it."""
    if isinstance(value, list | tuple) and hint is list:
        return all(fits(path, str, item) or (item is None and path in LISTED and path != "models") for item in value)
    if path in ("event.id", "events.id"):
        try:
            return bool(UUID(value))
        except (ValueError, AttributeError, TypeError):
            return False
    if hint is str:
        return isinstance(value, str) and "\0" not in value and value.isprintable() | value.isascii() | _encodes(value)
    if hint is int:
        return type(value) is int
    if hint is timedelta:
        return isinstance(value, timedelta)
    if hint is date:
        return type(value) is date and 1 < value.year < 9999
    if hint is datetime:
        return isinstance(value, datetime) and value.tzinfo is not None and 1 < value.year < 9999
    if is_mapping(hint):
        return isinstance(value, Mapping) and _is_json(value)
    return isinstance(value, bool)


def takes_several(name: str, path: str, value: Any) -> bool:
    """Whether the parameter takes one text or several, and the value is several."""
    return (
        name in ("skills.list_skills", "search.search_skills")
        and path in ("category", "tag")
        and isinstance(value, list)
    )


def _encodes(value: str) -> bool:
    try:
        return value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_json(value: Any) -> bool:
    if "{1:" in repr(value) or "{None:" in repr(value):  # Keys that are not text.
        return False
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return "\\u0000" not in text and "\\ud800" not in text


LISTED = ("tags", "models", "skill_ids", "slugs", "content_hashes", "hashes")
free = count(16)


def fit(path: str, hint: Any, required: bool) -> Any:
    """A valid value for every parameter: ids of existing rows, and unused names for new rows."""
    name = path.rpartition(".")[2]
    known = {
        "status": "accepted" if required else "published",
        "feedback_type": "training_example",
        "content_hash": "5" * 64,
        "models": "llama",
        "model_name": "llama",
        "role": "admin",
        "sort": "name",
        "after": None,
        "quality_score": 5,
        "slug": f"slug-{next(free)}",
        "email": f"{next(free)}@example.com",
        "id": f"00000000-0000-4000-8000-{next(free):012x}",
        "prices": LEFT_OUT,
        "by": "week" if hint is str else 1,
        "until": None,
        "sentiment": 0,
        "metadata": {},
        "event_days": 30,
        "measurement_days": 30,
        "matches_expected": True,
        "is_binary": False,
    }
    if path in ("version.created_at", "expected_updated_at"):  # Most times are before the skill's, or not its own.
        return LEFT_OUT
    if name in known:
        return None if path == "id" and required is False and hint is None else known[name]
    if names_a_row(path):
        return B if path == "target_skill_id" else A
    return {
        str: "acme's own",
        int: 1,
        datetime: datetime(2026, 1, 1, tzinfo=UTC),
        date: date(2026, 1, 1),
        timedelta: timedelta(hours=1),
        bool: False,
    }[hint]


def parameters(name: str) -> dict[str, Any]:
    """The paths of a function's parameters and their types. A list of texts is one parameter of type list."""
    found: dict[str, Any] = {}

    def note(path: str, hint: Any, required: bool) -> Any:
        if not path.endswith("prices"):
            found[path] = list if path.rpartition(".")[2] in LISTED else hint
        return fit(path, hint, required)

    arguments(FUNCTIONS[name], note)
    return found


def substituted(given: Any, path: str, value: Any) -> Any:
    """The arguments with the value at the path. If the path goes through a list, every element gets the value."""
    name, _, rest = path.partition(".")
    if isinstance(given, list):
        return [substituted(item, path, value) for item in given]
    if is_dataclass(given) and not isinstance(given, type):
        return replace(given, **{name: value})
    return given | {name: substituted(given[name], rest, value) if rest else value}


class Undone:
    """An organisation's handle. Each call on it is rolled back."""

    def __init__(self, tenant: skilldb.Tenant) -> None:
        self.tenant = tenant

    def execute(self, *statements: Statement[Any]) -> Any:
        results = None
        try:
            with self.tenant.transaction() as tx:
                results = tx.execute(*statements)
                raise ZeroDivisionError
        except ZeroDivisionError:
            return results


@pytest.fixture
def seeded(addresses: Addresses) -> Iterator[tuple[World, skilldb.Tenant, psycopg.Connection[Any]]]:
    """Two organisations with the same rows. The second has additional ones, which no error of the first may show."""
    with opened(addresses) as (db, admin):
        world = World(db, admin)
        for of in NAMES[:2]:
            for operation in [("tenants.create_tenant", {"name": f"words of {of}", "slug": of}), *PRELUDE]:
                answer = world.act(of, operation)
                assert not isinstance(answer, Exception), answer
        random = Random(0)
        for _ in range(200):
            world.act("globex", world.operation("globex", random.choice))
        world.tenants["acme"] = Undone(db.tenant("acme"))  # type: ignore[assignment]
        yield world, db.tenant("acme"), admin


TABLES = {"usage": "usage_events", "tokens": "token_measurements", "benchmarks": "benchmark_results"}


def reads_back(name: str, path: str, hint: Any, value: Any) -> list[Statement[Any]]:
    """The statement that reads the stored value, for functions that return only a number."""
    module, _, function = name.partition(".")
    if not function.startswith("record_") or module not in TABLES or hint not in (str, int, datetime):
        return []
    cast = {str: "text", int: "bigint", datetime: "timestamptz"}[hint]
    column = path.rpartition(".")[2]
    column = "benchmark_run_id" if column == "run_id" else column
    query = f"SELECT count(*) FROM {TABLES[module]} WHERE {column}::{cast} = %(value)s::{cast}"  # noqa: S608
    found = queries.parse(f"-- name: found(value)\n{query};", "test")["found"]
    return [Statement(VALUE, found(value=value))]


@pytest.mark.torture
def test_what_is_given_is_stored_and_read_back_or_refused_by_its_name(
    seeded: tuple[World, skilldb.Tenant, psycopg.Connection[Any]],
) -> None:
    world, acme, admin = seeded
    of = tables(admin)
    before = snapshot(admin, of)
    own = world.models["acme"]
    tried, refused, wrong = 0, 0, []
    for name in FUNCTIONS:
        for path, hint in parameters(name).items():
            for value in LISTS if hint is list else hostile(hint):
                given = substituted(arguments(FUNCTIONS[name], fit), path, value)
                tried += 1
                world.models["acme"] = deepcopy(own)
                try:
                    if fits(path, hint, value) or takes_several(name, path, value):
                        answer = world.act("acme", (name, given))
                    else:
                        answer = world.answer("acme", (name, given))
                        expected = InvalidValueError, path.rpartition(".")[2]
                        assert type(answer) is expected[0], f"{answer!r}, not {expected}"
                        assert expected[1] in str(answer), f"{answer!r}, not {expected}"
                    text = everything(answer) if isinstance(answer, SkilldbError) else ""
                    assert "words of globex" not in text, text
                    if text:
                        refused += 1
                        with pytest.raises(type(answer)):
                            acme.execute(FUNCTIONS[name](**given))
                    elif found := reads_back(name, path, hint, value):
                        rows = world.tenants["acme"].execute(FUNCTIONS[name](**given), *found)[1]
                        assert rows or not answer, "it is not read back"
                except Exception as error:
                    wrong.append(f"{name}: {path}={value!r}: {type(error).__name__} {str(error)[:300]}")
        assert snapshot(admin, of) == before, f"{name} was refused, and wrote"
    assert not wrong, f"{len(wrong)} of {tried}:\n" + "\n".join(wrong)
    record(
        "Any input is stored and read back unchanged, or refused with the name of its parameter; nothing is written "
        "partly",
        tested="every parameter of every function gets SQL, quotes, comments, placeholders, backslashes, NUL, "
        "surrogates, "
        "byte order and combining marks, numbers and times out of range, and objects and lists of these",
        ablation="text is not checked for NUL",
        figures={"inputs": tried, "refusals": refused},
    )


READ_HERE = (
    *("after", "by", "event.id", "events.id"),
    *("source", "items.path", "items.status", "items.content_hash"),
)


@pytest.mark.torture
def test_a_huge_text_is_stored_whole_or_refused_shortly(
    seeded: tuple[World, skilldb.Tenant, psycopg.Connection[Any]],
) -> None:
    world, _, _ = seeded
    own = world.models["acme"]
    length = size(200_000, 10_000_000)
    # Random text cannot be compressed to fit into an index.
    value = Random(0).randbytes(length // 2).hex()
    paths = [(n, p) for n in FUNCTIONS for p, hint in parameters(n).items() if hint is str]
    paths = paths if FIGURES else paths[::3]
    for name, path in paths:
        world.models["acme"] = deepcopy(own)
        given = substituted(arguments(FUNCTIONS[name], fit), path, value)
        answer = world.answer("acme", (name, given))
        if isinstance(answer, SkilldbError):
            assert len(str(answer)) < 2_000, (name, path)
            # PostgreSQL refuses it, for an index or a CHECK; this package only an id, the name of a tool or model, or
            # where it must read it itself.
            named = path.endswith(("tool_name", "model_name")) or (names_a_row(path) and not path.endswith("email"))
            by_package = path in READ_HERE or named
            assert isinstance(answer.__cause__, psycopg.Error) != by_package, (name, path, answer)
            assert "words of globex" not in everything(answer)
        if not isinstance(answer, InvalidValueError):
            world.compare("acme", (name, given), answer)
    record(
        "A text of any length is stored whole, or refused with an error of a few lines",
        tested=f"every text parameter of every function gets {length:,} characters",
        ablation="the error shows the whole value",
        figures={"texts": len(paths)},
    )
