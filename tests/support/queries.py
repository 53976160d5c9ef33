"""Replaces the text of queries, to show that a test notices a broken query."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from skilldb.query import Query, Step

Altered = TypeVar("Altered", Query, Step)


def altered(given: Altered, *changes: tuple[str, str]) -> Altered:
    """The query or step with replaced text. Each replaced text must occur exactly once."""
    if isinstance(given, Step):
        return Step(altered(given.query, *changes), given.params)
    sql = given.sql.decode()
    for old, new in changes:
        assert sql.count(old) == 1, f"{old!r} stands {sql.count(old)} times in {given.name}"
        sql = sql.replace(old, new)
    # The new text may use fewer parameters.
    types = {name: type_ for name, type_ in given.types.items() if f"%({name})s" in sql}
    return replace(given, sql=sql.encode(), types=types)
