"""Tests that the server reads each value as it was given."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

import skilldb
from tests.support.api import ask
from tests.support.server import Addresses

# PostgreSQL has no offset of microseconds, and none of 16 hours or more.
ODD = [
    datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=hours, microseconds=microseconds)))
    for hours, microseconds in ((-23, 0), (20, 0), (5, 7))
]


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("text", ["", "a", 'a "quoted" one', 'a \\ and \\"', "{a,b}", "NULL", "null", " a ", "é\n\t", None]),
        ("integer", [0, -1, 2**31 - 1, -(2**31), None]),
        ("bigint", [2**63 - 1, -(2**63), None]),
        ("boolean", [True, False, None]),
        ("uuid", [UUID(int=5), UUID(int=2**128 - 1), None]),
        ("timestamptz", [datetime(2026, 2, 3, 4, 5, 6, 789123, UTC), datetime(2, 1, 1, tzinfo=UTC), *ODD, None]),
        ("date", [date(2026, 2, 3), date(2, 1, 1), date(9998, 12, 31), None]),
        ("jsonb", [{}, {"a": 'with "quotes" and \\', "b": [1, None, {"c": "é"}]}, None]),
    ],
)
def test_values_of_every_type_arrive_alone_and_in_arrays(type_: str, values: list[Any], addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as database:
        acme = database.tenant("acme")
        for given in (values, [], [None]):
            assert acme.execute(ask(f"SELECT %(x)s::{type_}[]", x=given)) == given
        for value in values:
            assert acme.execute(ask(f"SELECT %(x)s::{type_}", x=value)) == value
