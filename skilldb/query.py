"""Query: one named query. Step: one use of it, with its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skilldb.values import ADAPT


@dataclass(frozen=True, slots=True)
class Query:
    """One named query.

    `sql` carries the name in a comment behind its first word, so that the server's log, pg_stat_activity and
    pg_stat_statements show it. Not before it: from PostgreSQL 18 on, pg_stat_statements cuts off leading comments.
    `types` maps each parameter to the PostgreSQL type that it is cast to somewhere in the query, text where it is not.
    `reads_all` is what the header's line `-- Reads all: ...` gives as the reason to read a big table from end to end;
    no other query may. `examples` is what `-- Example: ...` gives for each parameter, see skilldb.examples. `run_first`
    is what `-- Run first: ...` lists: queries of the same file without which `skilldb explain` finds no row to change.
    """

    name: str
    sql: bytes
    types: Mapping[str, str]
    reads_all: str | None = None
    examples: Mapping[str, Any] = field(default_factory=dict)
    run_first: tuple[str, ...] = ()
    numbered: bytes = field(init=False, repr=False, compare=False)
    """The SQL as the protocol and PREPARE take it: $1, $2 and so on for the parameters, in the order of `types`."""

    def __post_init__(self) -> None:
        numbers = {name: f"${number}".encode() for number, name in enumerate(self.types, start=1)}
        numbered = re.sub(rb"%\((\w+)\)s|%%", lambda m: numbers[m[1].decode()] if m[1] else b"%", self.sql)
        object.__setattr__(self, "numbered", numbered)

    def __call__(self, **params: Any) -> Step:
        """A step that runs this query. Raises InvalidValueError for a value that its parameter cannot take."""
        return Step(
            self,
            {n: None if v is None else ADAPT[self.types[n]](n, v) for n, v in params.items()},
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One query with its parameters, all but the tenant's, which the handle supplies."""

    query: Query
    params: Mapping[str, Any]
