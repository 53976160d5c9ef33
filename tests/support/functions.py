"""Finds every function of every repository, and makes arguments from its annotations."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import date, datetime, timedelta
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import psycopg

from skilldb import repositories
from skilldb.statement import Statement

Function = Callable[..., Statement[Any]]
FUNCTIONS: dict[str, Function] = {
    f"{module.name}.{name}": function
    for module in pkgutil.iter_modules(repositories.__path__)
    for name, function in inspect.getmembers(
        importlib.import_module(f"{repositories.__name__}.{module.name}"), inspect.isfunction
    )
    if function.__module__ == f"{repositories.__name__}.{module.name}"
    and get_origin(get_type_hints(function).get("return")) is Statement
}

LEFT_OUT = object()
"""A Leaf returns this for an argument that keeps its default."""

Leaf = Callable[[str, Any, bool], Any]
"""(path, type without None, whether it is required) -> a value. A path is `skill_id` or `event.skill_id`."""


def arguments(target: Any, leaf: Leaf, path: str = "", count: Callable[[str], int] = lambda path: 1) -> dict[str, Any]:
    """Arguments for a function, a dataclass or a TypedDict, made from its annotations.

    `count` returns the number of elements of a list at a path.
    """
    hints, required = _parameters(target, path)
    given = {
        name: _value(hint, leaf, f"{path}.{name}".lstrip("."), name in required, count) for name, hint in hints.items()
    }
    return {name: value for name, value in given.items() if value is not LEFT_OUT}


@cache
def _parameters(target: Any, path: str) -> tuple[dict[str, Any], Collection[str]]:
    hints = {name: hint for name, hint in get_type_hints(target).items() if name != "return"}
    if is_typeddict(target):
        return hints, target.__required_keys__
    parameters = inspect.signature(target).parameters
    assert parameters.keys() == hints.keys(), f"{path}: not every parameter is annotated"
    return hints, {name for name, given in parameters.items() if given.default is inspect.Parameter.empty}


def _value(hint: Any, leaf: Leaf, path: str, required: bool, count: Callable[[str], int]) -> Any:
    if get_origin(hint) in (Union, UnionType):
        hint = next(option for option in get_args(hint) if option is not NoneType)
    if get_origin(hint) in (list, Sequence, Iterable):
        values = [_value(get_args(hint)[0], leaf, path, required, count) for _ in range(count(path))]
        return LEFT_OUT if LEFT_OUT in values else values
    if (is_dataclass(hint) and isinstance(hint, type)) or is_typeddict(hint):
        assert required, f"{path}: a dataclass with a default"
        return hint(**arguments(hint, leaf, path, count))
    return leaf(path, hint, required)


def is_mapping(hint: Any) -> bool:
    return get_origin(hint) in (Mapping, dict)


def names_a_row(path: str) -> bool:
    """Whether the parameter at this path is an id, or the name of a new row."""
    name = path.rpartition(".")[2]
    return name in IDENTITY or name.endswith(("_id", "_ids", "_by"))


# The name of a new row. It is unused in a call that names existing rows.
IDENTITY = {"id", "slug", "email"}


# An id that must differ from the function's other id.
OTHERS = {"successor_id"}


# Required parameters that are neither ids nor fit for any value of their type.
KNOWN = {"status": None, "feedback_type": "suggestion", "content_hash": "0" * 64, "category": "data"}
# Optional parameters without which the ids of the same call are refused.
NEEDED = {"feedback.status": "implemented"}
SAMPLES: dict[Any, Any] = {
    str: "text",
    int: 1,
    bool: True,
    datetime: datetime.fromisoformat("2026-01-01T00:00:00Z"),
    date: date(2026, 1, 1),
    timedelta: timedelta(hours=1),
}


def naming(choose: Callable[[str], str]) -> Leaf:
    """Ids, each chosen by its path, and what else is required."""

    def leaf(path: str, hint: Any, required: bool) -> Any:
        if path in OTHERS:
            return LEFT_OUT
        if names_a_row(path):
            return choose(path)
        if not required:
            return NEEDED.get(path, LEFT_OUT)
        name = path.rpartition(".")[2]
        if name in KNOWN:
            return KNOWN[name]
        if is_mapping(hint):
            return {}
        assert hint in SAMPLES, (
            f"no argument for {path}, which is {shown(hint)}: "
            "add its name to KNOWN or its type to SAMPLES in tests/support/functions.py"
        )
        return SAMPLES[hint]

    return leaf


def shown(hint: Any) -> str:
    """A type as a message shows it."""
    return hint.__name__ if isinstance(hint, type) else str(hint)


def everything(error: BaseException) -> str:
    """Everything that an error reveals: its text, its cause, and every field that the server sent."""
    text = f"{type(error).__name__} {error!r} {error} {getattr(error, '__notes__', '')}"
    if isinstance(error, psycopg.Error):
        fields = [name for name in dir(error.diag) if not name.startswith("_")]
        # The line in PostgreSQL's source depends only on its version.
        text += " ".join(f"{name}={getattr(error.diag, name)}" for name in fields if not name.startswith("source"))
    return text + "".join(f" <- {everything(e)}" for e in (error.__cause__, error.__context__) if e is not None)
