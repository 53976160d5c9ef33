"""Keyset paging: a cursor names the last row of a page, and the next page begins below it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from skilldb.errors import InvalidValueError, shown
from skilldb.models import Page
from skilldb.statement import Instances, Reader
from skilldb.values import bounded

Row = TypeVar("Row")


def encode(time: datetime, id: str) -> str:
    """The cursor of a row: opaque, and safe in a URL."""
    return base64.urlsafe_b64encode(f"{time.isoformat()} {id}".encode()).decode()


def decode(cursor: str | None) -> tuple[datetime | None, str | None]:
    """The time and id that a cursor names; both None for no cursor. InvalidValueError: not a cursor."""
    if cursor is None:
        return None, None
    try:
        time, _, id = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode().partition(" ")
        parsed = datetime.fromisoformat(time)
        if parsed.utcoffset() is None:
            raise ValueError("no time zone")
        return parsed, id
    except (AttributeError, UnicodeError, binascii.Error, ValueError):
        raise InvalidValueError(f"after is not the cursor of a page: {shown(cursor)}") from None


def page(model: type[Row], limit: int, key: Callable[[Row], tuple[datetime, str]]) -> Reader[Page[Row]]:
    """Reads up to `limit` rows. The query returns one row more if there is a next page."""
    bounded("limit", limit)

    def read(rows: list[Row]) -> Page[Row]:
        items = rows[:limit]
        return Page(items=items, after=encode(*key(items[-1])) if len(rows) > limit else None)

    return Reader(Instances(model), read)
