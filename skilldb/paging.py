"""Keyset paging: a cursor names the last row of a page, and the next page begins below it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from skilldb.errors import InvalidValueError, shown
from skilldb.models import Page
from skilldb.statement import Instances, Reader
from skilldb.values import limited

Row = TypeVar("Row")
Value = datetime | int | str


@dataclass(frozen=True, slots=True)
class Sort:
    """The order of a list: by a value of this type, and then by id. Each list has a name of its own.

    A cursor carries the name, and is good for that list alone: another one may have another direction or table.
    """

    name: str
    type: type[datetime] | type[int] | type[str]
    is_uuid: bool = False
    """Whether the id must be a UUID, as its column is."""


def encode(value: Value, id: str, sort: Sort) -> str:
    """The cursor of a row: opaque, and safe in a URL."""
    text = value.isoformat() if isinstance(value, datetime) else value
    content = json.dumps([sort.name, text, id], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(content.encode()).decode()


def decode(cursor: str | None, sort: Sort) -> tuple[Any, str | None]:
    """The value and id that a cursor names; both None for no cursor. InvalidValueError: not a cursor of this list."""
    if cursor is None:
        return None, None
    try:
        name, value, id = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
        if name != sort.name:
            raise ValueError("another list")
        return _typed(value, sort), str(UUID(_text(id))) if sort.is_uuid else _text(id)
    except (AttributeError, TypeError, ValueError, RecursionError, binascii.Error):
        raise InvalidValueError(f"after is not a cursor of this list: {shown(cursor)}") from None


def _typed(value: Any, sort: Sort) -> Value:
    """The value of a cursor. ValueError: it has not the type of the sort."""
    if sort.type is int:
        # A query may take the negative of the value, which is no BIGINT for the least one.
        if type(value) is not int or not -(2**63) < value < 2**63:
            raise ValueError("no BIGINT")
        return value
    if sort.type is str:
        return _text(value)
    parsed = datetime.fromisoformat(_text(value))
    if parsed.utcoffset() is None:
        raise ValueError("no time zone")
    return parsed


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("no text")
    value.encode()  # UnicodeEncodeError, a ValueError, for half of a surrogate pair.
    return value


def page(model: type[Row], limit: int, key: Callable[[Row], tuple[Value, str]], sort: Sort) -> Reader[Page[Row]]:
    """Reads up to `limit` rows. The query returns one row more if there is a next page. `key`: a row's value and id."""
    limited(limit)

    def read(rows: list[Row]) -> Page[Row]:
        items = rows[:limit]
        return Page(items=items, after=encode(*key(items[-1]), sort) if len(rows) > limit else None)

    return Reader(Instances(model), read)
