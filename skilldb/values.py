"""Checks and encodes the values of parameters by their PostgreSQL type."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from uuid import UUID

from skilldb.errors import InvalidValueError, shown

MAX_DAYS = 36_525
"""The longest time that a query looks back: a hundred years."""
MAX_LIMIT = 1_000_000
"""The most rows of one answer, and the most that one call changes of a table."""
PERIODS = ("day", "week", "month")
"""What a trend adds up by."""

# What one call may add to a stored number. A BIGINT then takes nine million million increments, a hundred thousand
# million events, or a million measurements of the highest cost for one skill.
MAX_INCREMENT = 1_000_000
"""The most uses that one call counts."""
MAX_TOKENS = 1_000_000_000
"""The most tokens of one measurement or result. The tables' CHECKs have the same number."""
MAX_COST_MICROCENTS = 10_000_000_000_000
"""The highest cost of one measurement or result: $100,000. The tables' CHECKs have the same number."""

MAX_ID_BYTES = 255
"""The longest id, slug, or name of a tool or model, in bytes of UTF-8.

An index row takes 2,704 bytes, and a key up to four of them.
"""
MAX_JSON_LEVELS = 64
"""The deepest JSON. The server stores more levels than Python can read back."""

Adapt = Callable[[str, Any], Any]
Value = TypeVar("Value")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(f"{name} must be a str, not {shown(value)}")
    if "\0" in value:
        raise InvalidValueError(f"{name} must not contain a NUL byte: {shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidValueError(f"{name} must be valid Unicode: {shown(value)}") from None
    return value


def _id(name: str, value: Any) -> str:
    """An id or a slug. Only a call that creates one looks at its spelling: any other just finds nothing."""
    text = _text(name, value)
    length = len(text) if text.isascii() else len(text.encode())
    if length > MAX_ID_BYTES:
        raise InvalidValueError(f"{name} must be at most {MAX_ID_BYTES} bytes, not {length}: {shown(value)}")
    return text


def _new_id(name: str, value: Any) -> str:
    """An id or a slug that is created. Two that look alike would make two rows, and none is ever normalised."""
    text = _id(name, value)
    if text != text.strip():
        raise InvalidValueError(f"{name} must not begin or end with white space: {shown(value)}")
    if not unicodedata.is_normalized("NFC", text):
        # ASCII, as the two look alike.
        nfc, given = (ascii(each)[:100] for each in (unicodedata.normalize("NFC", text), text))
        raise InvalidValueError(f"{name} must be in Unicode NFC, that is {nfc}, not {given}")
    return text


def _integer(bits: int) -> Adapt:
    """Integers of PostgreSQL's range (documentation, "Numeric Types").

    bool is rejected, although it is a subclass of int.
    """
    bound = 2 ** (bits - 1)

    def adapt(name: str, value: Any) -> int:
        if type(value) is not int:
            raise InvalidValueError(f"{name} must be an int, not {shown(value)}")
        if not -bound <= value < bound:
            raise InvalidValueError(f"{name} {shown(value)} is out of range: {-bound} to {bound - 1}")
        return value

    return adapt


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError(f"{name} must be a bool, not {shown(value)}")
    return value


def _timestamptz(name: str, value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidValueError(f"{name} must be a datetime, not {shown(value)}")
    if value.utcoffset() is None:
        raise InvalidValueError(f"{name} must carry a time zone: {value.isoformat()}")
    if not 1 < value.year < 9999:  # In years 1 and 9999, another time zone or rounding leaves Python's range.
        raise InvalidValueError(f"{name} must lie in the years 2 to 9998: {value.isoformat()}")
    return value


def _date(name: str, value: Any) -> date:
    if type(value) is not date:  # datetime is a subclass of date.
        raise InvalidValueError(f"{name} must be a date, not {shown(value)}")
    if not 1 < value.year < 9999:
        raise InvalidValueError(f"{name} must lie in the years 2 to 9998: {value.isoformat()}")
    return value


def _uuid(name: str, value: Any) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(_text(name, value))
    except ValueError:
        raise InvalidValueError(f"{name} must be a UUID, not {shown(value)}") from None


def _jsonb(name: str, value: Any) -> str:
    """The JSON text of an object."""
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{name} must be a dict, not {shown(value)}")
    try:
        _check_json(name, value, 1)
        return json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{name} must be representable as JSON: {error}") from error


def _check_json(name: str, value: Any, level: int) -> None:
    """Raise TypeError for a key that is not a str. json.dumps would convert it, perhaps into a duplicate key.

    InvalidValueError: deeper than MAX_JSON_LEVELS. The value is at this level of objects and lists.
    """
    if level > MAX_JSON_LEVELS and isinstance(value, Mapping | list | tuple):
        raise InvalidValueError(f"{name} must not be nested deeper than {MAX_JSON_LEVELS} levels")
    if isinstance(value, Mapping):
        if others := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"keys must be str, not {shown(others[0])}")
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for each in value:
        _check_json(name, each, level + 1)


def _array(element: Adapt) -> Adapt:
    def adapt(name: str, values: Any) -> list[Any]:
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise InvalidValueError(f"{name} must be a list, not {shown(values)}")
        return [None if value is None else element(name, value) for value in values]

    return adapt


def bounded(name: str, value: int, least: int = 1, most: int | None = None) -> int:
    """The value itself. Raises InvalidValueError if it is not an int, below `least` or above `most`."""
    if type(value) is not int:
        raise InvalidValueError(f"{name} must be an int, not {shown(value)}")
    if value < least:
        raise InvalidValueError(f"{name} must be at least {least}, not {shown(value)}")
    if most is not None and value > most:
        raise InvalidValueError(f"{name} must be at most {most}, not {shown(value)}")
    return value


def limited(limit: int) -> int:
    """The limit itself. Raises InvalidValueError if it is below 1 or above MAX_LIMIT."""
    return bounded("limit", limit, 1, MAX_LIMIT)


def optional_bounded(name: str, value: int | None, least: int = 0, most: int | None = None) -> int | None:
    """The same for a value that may be None. For batches: the database does not say which array element is wrong."""
    return None if value is None else bounded(name, value, least, most)


def not_empty(name: str, value: Value) -> Value:
    """The value itself. Raises InvalidValueError if it is the empty text."""
    if value == "":
        raise InvalidValueError(f"{name} must not be empty")
    return value


def one_of(name: str, value: str, choices: Collection[str]) -> str:
    """The value itself. Raises InvalidValueError if it is none of the choices."""
    if value not in choices:
        raise InvalidValueError(f"{name} must be one of {', '.join(choices)}, not {shown(value)}")
    return value


_SCALARS: dict[str, Adapt] = {
    "text": _text,
    "integer": _integer(32),
    "bigint": _integer(64),
    "boolean": _boolean,
    "timestamptz": _timestamptz,
    "date": _date,
    "uuid": _uuid,
    "jsonb": _jsonb,
}
ADAPT: dict[str, Adapt] = _SCALARS | {f"{name}[]": _array(adapt) for name, adapt in _SCALARS.items()}
"""PostgreSQL type -> function of (name, value) that returns the value as it is sent, or raises InvalidValueError."""

_IDS = {"id", "slug", "reviewed_by", "created_by", "triggered_by", "tool_name", "tool_names", "model_name"}
_NEW_IDS = {"id", "slug"}


def adapter(name: str, type: str, *, creates: bool = False) -> Adapt:
    """ADAPT[type], which also bounds a text that is an id or a slug by its name.

    `creates`: the query writes a new row. Its `id` and `slug` must be in Unicode NFC, without white space at an end.
    """
    if type in ("text", "text[]") and (name in _IDS or name.endswith(("_id", "_ids"))):
        check = _new_id if creates and name in _NEW_IDS else _id
        return check if type == "text" else _array(check)
    return ADAPT[type]


def several(name: str, value: Any) -> list[str] | None:
    """The texts of a filter that takes one or several. Raises InvalidValueError for anything else."""
    if value is None:
        return None
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise InvalidValueError(f"{name} must be a str or a list of str, not {shown(value)}")
    return [_text(name, each) for each in ([value] if isinstance(value, str) else value)]


Encode = Callable[[Any], bytes]


def _encode_array(element: Encode) -> Encode:
    """Quotes every element, which is right for every type (PostgreSQL documentation, "Array Input and Output")."""

    def quoted(value: Any) -> bytes:
        return b'"' + element(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    return lambda values: b"{" + b",".join([b"NULL" if each is None else quoted(each) for each in values]) + b"}"


_ENCODE_SCALAR: dict[str, Encode] = {
    "text": str.encode,
    "integer": lambda value: b"%d" % value,
    "bigint": lambda value: b"%d" % value,
    "boolean": lambda value: b"t" if value else b"f",
    "timestamptz": lambda value: value.astimezone(UTC).isoformat().encode(),
    "date": lambda value: value.isoformat().encode(),
    "uuid": lambda value: value.hex.encode(),
    "jsonb": str.encode,
}
ENCODE = _ENCODE_SCALAR | {f"{name}[]": _encode_array(encode) for name, encode in _ENCODE_SCALAR.items()}
"""PostgreSQL type -> function that returns the checked value as the protocol's text format has it."""
