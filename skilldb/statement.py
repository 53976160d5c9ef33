"""Statement[T]: SQL, parameters, and how to read the answer. A value; it does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from psycopg.rows import BaseRowFactory, RowMaker, class_row, scalar_row, tuple_row

from skilldb.errors import InvalidValueError, TenantRequiredError
from skilldb.values import ADAPT

if TYPE_CHECKING:
    from psycopg._cursor_base import BaseCursor

    from skilldb.queries import Query

T = TypeVar("T")
Key = TypeVar("Key")

SET_TENANT = b"SELECT set_config('app.current_tenant_id', %(tenant_id)s, true)"


@dataclass(frozen=True, slots=True)
class Step:
    """One query with its parameters, all but the tenant's, which the handle supplies."""

    query: Query
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """How to read the rows of a statement's last step: each row by `row_factory`, all of them by `read`."""

    row_factory: BaseRowFactory[Any]
    read: Callable[[list[Any]], T]


@dataclass(frozen=True, slots=True)
class Statement(Generic[T]):
    """What a repository function returns: steps, run in order in one transaction, and the reader of the last's rows.

    Without steps nothing is sent, and the reader is given no rows.
    """

    reader: Reader[T]
    steps: tuple[Step, ...]

    def __init__(self, reader: Reader[T], *steps: Step) -> None:
        object.__setattr__(self, "reader", reader)
        object.__setattr__(self, "steps", steps)


_SLOTS: dict[type[Any], dict[bytes | None, Callable[[object, Any], None]]] = {}


def rows_of(model: type[T]) -> BaseRowFactory[T]:
    """psycopg's class_row for the models: it fills their slots, in half the time that keyword arguments take."""
    if model not in _SLOTS:
        _SLOTS[model] = {f.name.encode(): getattr(model, f.name).__set__ for f in fields(cast(Any, model))}
    slots = _SLOTS[model]

    def factory(cursor: BaseCursor[Any, Any]) -> RowMaker[T]:
        result = cursor.pgresult
        names = [result.fname(column) for column in range(result.nfields)] if result else []
        if slots.keys() != set(names):
            return class_row(model)(cursor)  # It says what is wrong, once a row is read: a lock's never is.
        setters = [slots[name] for name in names]

        def row(values: Sequence[Any]) -> T:
            made = object.__new__(model)
            for fill, value in zip(setters, values):  # noqa: B905  psycopg gives as many values as names
                fill(made, value)
            return made

        return row

    return factory


def one(model: type[T]) -> Reader[T]:
    """The only row."""
    return Reader(rows_of(model), lambda rows: rows[0])


def optional(model: type[T]) -> Reader[T | None]:
    """The only row, or None."""
    return Reader(rows_of(model), lambda rows: rows[0] if rows else None)


def many(model: type[T]) -> Reader[list[T]]:
    """All rows."""
    return Reader(rows_of(model), lambda rows: rows)


def by_key(model: type[T], key: Callable[[T], Key]) -> Reader[dict[Key, T]]:
    """All rows, by a key of theirs."""
    return Reader(rows_of(model), lambda rows: {key(row): row for row in rows})


VALUE: Reader[Any] = Reader(scalar_row, lambda rows: rows[0] if rows else None)
"""The only column of the only row, None where there is no row."""

EXISTS: Reader[bool] = Reader(tuple_row, bool)
"""Whether there is a row."""

NOTHING: Reader[None] = Reader(tuple_row, lambda rows: None)


def require_tenant(tenant_id: Any) -> str:
    """The tenant id itself. Raises TenantRequiredError where it is missing, empty, or no text that PostgreSQL takes."""
    if not isinstance(tenant_id, str) or not tenant_id:
        raise TenantRequiredError(f"a tenant id is required, not {tenant_id!r}")
    try:
        ADAPT["text"]("tenant_id", tenant_id)
    except InvalidValueError as error:
        raise TenantRequiredError(str(error)) from None
    return tenant_id


def answers(statements: Sequence[Statement[Any]], rows: Sequence[list[Any]]) -> Any:
    """The result of one statement, or the tuple of several, from the rows of each statement's last step."""
    results = tuple(statement.reader.read(found) for statement, found in zip(statements, rows, strict=True))
    return results[0] if len(results) == 1 else results
