"""Query: one named query. Step: one use of it, with its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skilldb.values import ENCODE, Adapt, Encode, adapter


@dataclass(frozen=True, slots=True)
class Query:
    """One named query.

    - `sql` carries the name in a comment after its first word, so that the server's log, pg_stat_activity and
      pg_stat_statements show it. From PostgreSQL 18 on, pg_stat_statements cuts off leading comments.
    - `types`: the PostgreSQL type of each parameter. It is the type that the query casts the parameter to, else text.
    - `reads_all`: the reason to read a big table from end to end, from the header's line `-- Reads all: ...`. A query
      without that line must not.
    - `examples`: the examples of the parameters, from the header's line `-- Example: ...`; see skilldb.examples.
    - `run_first`: the queries of the same file that `skilldb explain` runs first, from the header's line
      `-- Run first: ...`. Without them it finds no row to change.
    - `prepares`: whether connections prepare it. A text that differs in each call would fill them.
    """

    name: str
    sql: bytes
    types: Mapping[str, str]
    reads_all: str | None = None
    examples: Mapping[str, Any] = field(default_factory=dict)
    run_first: tuple[str, ...] = ()
    prepares: bool = True
    numbered: bytes = field(init=False, repr=False, compare=False)
    """The SQL for the protocol and PREPARE: parameters are $1, $2 and so on, in the order of `types`."""
    adapters: Mapping[str, Adapt] = field(init=False, repr=False, compare=False)
    """What checks the value of each parameter."""
    encoders: Sequence[tuple[str, Encode]] = field(init=False, repr=False, compare=False)
    """What encodes the checked value of each parameter, in the order of `types`."""

    def __post_init__(self) -> None:
        numbers = {name: f"${number}".encode() for number, name in enumerate(self.types, start=1)}
        numbered = re.sub(rb"%\((\w+)\)s|%%", lambda m: numbers[m[1].decode()] if m[1] else b"%", self.sql)
        object.__setattr__(self, "numbered", numbered)
        creates = re.search(rb"\bINSERT\b", self.sql) is not None
        adapters = {name: adapter(name, type, creates=creates) for name, type in self.types.items()}
        object.__setattr__(self, "adapters", adapters)
        object.__setattr__(self, "encoders", [(name, ENCODE[type]) for name, type in self.types.items()])

    def __call__(self, **params: Any) -> Step:
        """A step that runs this query. Raises InvalidValueError for a value that its parameter cannot take."""
        return Step(
            self,
            {name: None if value is None else self.adapters[name](name, value) for name, value in params.items()},
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One query with its parameters. The handle supplies the tenant's id."""

    query: Query
    params: Mapping[str, Any]
