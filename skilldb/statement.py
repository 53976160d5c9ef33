"""Statement[T]: SQL, parameters, and how to read the answer. A value; it does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import itemgetter
from typing import Any, Generic, TypeVar

from skilldb.errors import InvalidValueError, TenantRequiredError
from skilldb.query import Step
from skilldb.values import adapter

T = TypeVar("T")


RowMaker = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """How to read the rows of a statement's last step.

    `rows` takes the names of the columns and returns a function that turns one row's values into an object. `read`
    takes all of those objects and returns the statement's result.
    """

    rows: Callable[[tuple[bytes, ...]], RowMaker]
    read: Callable[[list[Any]], T]


@dataclass(frozen=True, slots=True)
class Statement(Generic[T]):
    """What a repository function returns: steps that run in order in one transaction, and a reader.

    The reader gets the rows of the last step. Without steps nothing is sent, and the reader gets no rows.
    """

    reader: Reader[T]
    steps: tuple[Step, ...]

    def __init__(self, reader: Reader[T], *steps: Step) -> None:
        object.__setattr__(self, "reader", reader)
        object.__setattr__(self, "steps", steps)


@dataclass(frozen=True, slots=True)
class Instances:
    """Turns rows into instances of a model. The columns must be the model's fields."""

    model: type[Any]

    def __call__(self, names: tuple[bytes, ...]) -> RowMaker:
        """Raises TypeError for other names."""
        return _filled(self.model, names)  # type: ignore[arg-type]  # To mypy a type is not hashable.


@cache
def _filled(model: type[Any], names: tuple[bytes, ...]) -> RowMaker:
    """A function that fills the model's slots. It takes half the time of keyword arguments."""
    slots = {f.name.encode(): getattr(model, f.name).__set__ for f in fields(model)}
    if slots.keys() != set(names):
        raise TypeError(f"{model.__name__} has the fields {sorted(slots)}, not {sorted(names)}")
    setters = [slots[name] for name in names]

    def row(values: Sequence[Any]) -> Any:
        made = object.__new__(model)
        for fill, value in zip(setters, values):  # noqa: B905  there are as many values as names
            fill(made, value)
        return made

    return row


def dicts(names: tuple[bytes, ...]) -> RowMaker:
    """Turns rows into dicts."""
    keys = [name.decode() for name in names]
    return lambda values: dict(zip(keys, values, strict=True))


def _firsts(names: tuple[bytes, ...]) -> RowMaker:
    return itemgetter(0)


def _tuples(names: tuple[bytes, ...]) -> RowMaker:
    return tuple


def one(model: type[T]) -> Reader[T]:
    """The only row."""
    return Reader(Instances(model), lambda rows: rows[0])


def optional(model: type[T]) -> Reader[T | None]:
    """The only row, or None."""
    return Reader(Instances(model), lambda rows: rows[0] if rows else None)


def many(model: type[T]) -> Reader[list[T]]:
    """All rows."""
    return Reader(Instances(model), lambda rows: rows)


VALUE: Reader[Any] = Reader(_firsts, lambda rows: rows[0] if rows else None)
"""The only column of the only row, or None if there is no row."""

EXISTS: Reader[bool] = Reader(_tuples, bool)
"""Whether there is a row."""

ROWS: Reader[list[tuple[Any, ...]]] = Reader(_tuples, lambda rows: rows)
"""All rows, each as a tuple of its columns."""

NOTHING: Reader[None] = Reader(_tuples, lambda rows: None)


_tenant_id = adapter("tenant_id", "text")


def require_tenant(tenant_id: Any) -> str:
    """The tenant id itself.

    Raises TenantRequiredError if it is missing, empty, more than 255 bytes, or not text that PostgreSQL accepts.
    """
    if not isinstance(tenant_id, str) or not tenant_id:
        raise TenantRequiredError(f"a tenant id is required, not {tenant_id!r}")
    try:
        _tenant_id("tenant_id", tenant_id)
    except InvalidValueError as error:
        raise TenantRequiredError(str(error)) from None
    return tenant_id


def answers(statements: Sequence[Statement[Any]], rows: Sequence[list[Any]]) -> Any:
    """The result of one statement, or the tuple of several, from the rows of each statement's last step."""
    results = tuple([statement.reader.read(found) for statement, found in zip(statements, rows, strict=True)])
    return results[0] if len(results) == 1 else results
