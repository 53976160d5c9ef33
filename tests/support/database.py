"""Looks at a test's database without skilldb: its rows, its waiting sessions and its locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from skilldb.errors import SkilldbError
from tests.support.server import Addresses


def rows(dsn: str, query: str, *params: Any) -> list[tuple[Any, ...]]:
    """The rows of the query, on a new connection. A superuser sees the rows of all tenants."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        return conn.execute(query.encode(), params or None).fetchall()


def contents(dsn: str) -> list[tuple[Any, ...]]:
    """Every row of every table, and the transaction that wrote it."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        return _contents(conn)


def _contents(conn: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    tables = conn.execute(
        "SELECT string_agg(format('SELECT %L, t.xmin::text, t::text FROM %I AS t', relname, relname), "
        "' UNION ALL ') FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return sorted(conn.execute(str(tables.fetchall()[0][0]).encode()))


def until(condition: Callable[[], bool], *, seconds: float = 60, pause: float = 0.01) -> None:
    """Wait until the condition holds, looking again after each pause; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def until_rows(dsn: str, query: str, expected: list[tuple[Any, ...]], *params: Any, seconds: float = 60) -> None:
    """Wait until the query returns these rows, asking again and again on one connection."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        until(lambda: conn.execute(query.encode(), params or None).fetchall() == expected, seconds=seconds)


@contextmanager
def refused(
    addresses: Addresses, error: type[SkilldbError], *named: str, cause: type[psycopg.Error] | None = None
) -> Iterator[None]:
    """Assert that the block raises exactly this error, with the words in its message, and writes nothing.

    If the database raised it, the error's cause is psycopg's `cause`. If nothing was sent, it is no psycopg error.
    """
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        before = _contents(conn)
        with pytest.raises(error) as caught:
            yield
        assert type(caught.value) is error
        assert [word for word in named if word not in str(caught.value)] == [], str(caught.value)
        assert isinstance(caught.value.__cause__, cause or psycopg.Error) == (cause is not None)
        assert _contents(conn) == before


@contextmanager
def locked(addresses: Addresses) -> Iterator[psycopg.Connection[Any]]:
    """Hold the row lock of the skill s1 in another session."""
    with psycopg.connect(addresses.admin) as conn:
        conn.execute("SELECT 1 FROM skills WHERE id = 's1' FOR UPDATE")
        yield conn
