"""Reads the example parameters in a query's header. `skilldb explain` runs the query with them.

The header's line is `-- Example: limit = 10, status = 'published', author_id = :user_id`. A line that ends with a comma
continues on the next line. A value is an SQL literal, `now() - interval '30 days'`, or `:name`: an id from the
organisation's own data. `50 rows of` before the first parameter fills arrays: each value then describes one row, and
`0..49` numbers the rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import cycle, islice
from typing import Any

from skilldb.errors import InvalidValueError
from skilldb.values import ADAPT

DATA: Mapping[str, str] = {
    "skill_id": "text",
    "skill_ids": "text[]",
    "slug": "text",
    "version_id": "text",
    "user_id": "text",
    "user_ids": "text[]",
    "feedback_id": "text",
    "event_id": "uuid",
    "run_id": "text",
}
"""The ids that explain.find_examples takes from an organisation's data: name and type.

Parameters with these names need no example.
"""

_TENANT = "tenant_id"
_ROWS = re.compile(r"(\d+) rows of ")
_STRING = r"'(?:[^']|'')*'"
_VALUE = rf"NULL|TRUE|FALSE|-?\d+(?:\.\.\d+)?|{_STRING}|ARRAY\[[^\]]*\]|now\(\) - interval '\d+ days'|:\w+"
_ITEM = re.compile(rf"(?P<parameter>\w+) = (?P<value>{_VALUE})(?:, *|$)")
_ELEMENT = re.compile(rf"({_STRING}|-?\d+|TRUE|FALSE|NULL)(?:, *|$)")
_SAMPLES = {
    "text": "'text'",
    "uuid": "'00000000-0000-4000-8000-000000000000'",
    "integer": "10",
    "bigint": "10",
    "boolean": "TRUE",
    "timestamptz": "now() - interval '30 days'",
    "date": "'2026-01-31'",
    "jsonb": '\'{"key": "value"}\'',
}


@dataclass(frozen=True, slots=True)
class FromData:
    """An id, or a list of ids, of the organisation's data, by its name in DATA."""

    name: str


@dataclass(frozen=True, slots=True)
class DaysAgo:
    """The time `days` days ago."""

    days: int


@dataclass(frozen=True, slots=True)
class Rows:
    """An array of `number` elements: a single value in each, or the values of a list in turn."""

    number: int
    value: Any


def read(name: str, text: str | None, types: Mapping[str, str]) -> dict[str, Any]:
    """The example of each parameter, from the text of the header's line. ValueError: the text is malformed.

    A parameter that the line leaves out is taken from the data. If the data has none either, the answer lacks it;
    require() then refuses it.
    """
    ours = DATA if _TENANT in types else {}
    found: dict[str, Any] = {
        parameter: FromData(parameter) for parameter, type in types.items() if ours.get(parameter) == type
    }
    text = text or ""
    rows = _ROWS.match(text)
    at = rows.end() if rows else 0
    given = set()
    while at < len(text):
        item = _ITEM.match(text, at)
        if item is None:
            raise ValueError(
                f"{name}: cannot read {text[at:]!r} in its `-- Example:` line. "
                "Type `parameter = value` pairs separated by commas, such as: limit = 10, status = 'draft', tag = NULL"
            )
        at = item.end()
        parameter, value = item["parameter"], item["value"]
        if parameter not in types:
            takes = ", ".join(sorted(types.keys() - {_TENANT})) or "none"
            raise ValueError(
                f"{name}: its `-- Example:` line gives {parameter}, which is no parameter. Its parameters: {takes}"
            )
        if parameter in given:
            raise ValueError(f"{name}: its `-- Example:` line gives {parameter} twice. Delete one of them")
        given.add(parameter)
        found[parameter] = _value(name, parameter, types[parameter], value, int(rows[1]) if rows else 0)
    return found


def require(name: str, types: Mapping[str, str], examples: Mapping[str, Any]) -> None:
    """Raise ValueError if a parameter has no example."""
    missing = [parameter for parameter in types if parameter != _TENANT and parameter not in examples]
    if missing:
        line = ", ".join(f"{parameter} = {_sample(types[parameter])}" for parameter in missing)
        raise ValueError(
            f"{name}: no example for {', '.join(missing)}. `skilldb explain` needs one. "
            f"Type in its header, with values that suit: -- Example: {line}"
        )


def resolve(parameter: str, type: str, example: Any, data: Mapping[str, Any]) -> Any:
    """The value of an example. `data` holds the ids that explain.find_examples found."""
    match example:
        case Rows(number, value):
            value = resolve(parameter, type, value, data)
            return list(islice(cycle(value or [None] if isinstance(value, list) else [value]), number))
        case FromData(key):
            return data[key]
        case DaysAgo(days):
            return datetime.now(UTC) - timedelta(days=days)
    return example


def _sample(type: str) -> str:
    element = type.removesuffix("[]")
    return _SAMPLES[element] if element == type else f"ARRAY[{_SAMPLES[element]}]"


def _value(name: str, parameter: str, type: str, text: str, rows: int) -> Any:
    """The value of the text. ValueError: it is not of that type."""
    element = type.removesuffix("[]")
    many = rows > 0 and type != element
    wanted = f"{name}: its example {parameter} = {text} is no {element if many else type}. "
    if text.startswith(":"):
        known = {key for key, of in DATA.items() if of == type or (many and of == element)}
        if text[1:] not in known:
            names = " or ".join(f":{key}" for key in sorted(known)) or _sample(type)
            raise ValueError(f"{wanted}The data has for it: {names}")
        value: Any = FromData(text[1:])
    else:
        try:
            if re.fullmatch(r"\d+\.\.\d+", text) and type == element:
                raise ValueError
            value = None if text == "NULL" else _literal(parameter, element if many else type, text)
        except (ValueError, InvalidValueError):
            sample = _SAMPLES[element] if many else _sample(type)
            raise ValueError(f"{wanted}Type for example: {parameter} = {sample}") from None
    return Rows(rows, value) if many else value


def _literal(parameter: str, type: str, text: str) -> Any:
    element = type.removesuffix("[]")
    if ".." in text and element in ("integer", "bigint") and not text.startswith("'"):
        first, last = map(int, text.split(".."))
        return list(range(first, last + 1))
    if text.startswith("ARRAY["):
        inner = text[len("ARRAY[") : -1]
        if element == type or _ELEMENT.sub("", inner):
            raise ValueError
        return ADAPT[type](parameter, [_scalar(element, each[1]) for each in _ELEMENT.finditer(inner)])
    if element != type:
        raise ValueError
    value = _scalar(type, text)
    if not isinstance(value, DaysAgo):
        ADAPT[type](parameter, value)
    return value


def _scalar(type: str, text: str) -> Any:
    if text == "NULL":
        return None
    if text.startswith("now()"):
        if type != "timestamptz":
            raise ValueError
        return DaysAgo(int(text.split("'")[1].removesuffix(" days")))
    if type == "boolean":
        return {"TRUE": True, "FALSE": False}[text] if text in ("TRUE", "FALSE") else text
    if text.startswith("'"):
        string = text[1:-1].replace("''", "'")
        if type == "date":
            return date.fromisoformat(string)
        return json.loads(string) if type == "jsonb" else string
    return int(text)
