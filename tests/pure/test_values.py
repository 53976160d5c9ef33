"""Tests the values of each parameter type; bad ones are refused before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from skilldb.errors import InvalidValueError
from skilldb.values import ADAPT, bounded

NOW = datetime(2026, 5, 5, 12, 0, tzinfo=UTC)
ID = "6f1f0f6e-5d0e-4b39-9a53-0f1f2b3c4d5e"
LONG = "x" * 10_000


@pytest.mark.parametrize(
    ("type_", "value", "sent"),
    [
        ("text", "", ""),
        ("text", "naïve 🎉", "naïve 🎉"),
        ("text", "'; DROP TABLE skills; -- %s %(x)s \\", "'; DROP TABLE skills; -- %s %(x)s \\"),
        ("integer", 0, 0),
        ("integer", 2**31 - 1, 2**31 - 1),
        ("integer", -(2**31), -(2**31)),
        ("bigint", 2**63 - 1, 2**63 - 1),
        ("bigint", -(2**63), -(2**63)),
        ("boolean", True, True),
        ("boolean", False, False),
        ("timestamptz", NOW, NOW),
        ("timestamptz", datetime(9998, 12, 31, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)),
        ("uuid", ID, UUID(ID)),
        ("uuid", ID.upper(), UUID(ID)),
        ("uuid", UUID(ID), UUID(ID)),
        ("text[]", [], []),
        ("text[]", ("a", None), ["a", None]),
        ("text[]", (letter for letter in "ab"), ["a", "b"]),
        ("integer[]", [1, None, 2], [1, None, 2]),
        ("uuid[]", [ID], [UUID(ID)]),
        ("jsonb[]", [None, {"a": 1}], [None, '{"a": 1}']),
    ],
)
def test_a_value_of_its_type_is_sent_as_it_is(type_: str, value: Any, sent: Any) -> None:
    adapted = ADAPT[type_]("field", value)
    assert adapted == sent
    assert type(adapted) is type(sent)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": [1, 2.5, None, True, {"é": "\0"}]},
        MappingProxyType({"a": 1}),
        {"tuple": (1, 2)},
    ],
)
def test_an_object_is_sent_as_its_json_text(value: Mapping[str, Any]) -> None:
    sent = ADAPT["jsonb"]("metadata", value)
    assert json.loads(sent) == json.loads(json.dumps(dict(value)))
    assert "\0" not in sent


def recursive() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["itself"] = value
    return value


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("text", 1),
        ("text", b"bytes"),
        ("text", ["list"]),
        ("text", "a\0b"),
        ("text", "lone \ud800 surrogate"),
        ("integer", True),
        ("integer", False),
        ("integer", 1.0),
        ("integer", "1"),
        ("integer", float("nan")),
        ("integer", 2**31),
        ("integer", -(2**31) - 1),
        ("bigint", True),
        ("bigint", 2**63),
        ("bigint", -(2**63) - 1),
        ("boolean", 1),
        ("boolean", 0),
        ("boolean", "true"),
        ("timestamptz", datetime(2026, 5, 5)),
        ("timestamptz", date(2026, 5, 5)),
        ("timestamptz", "2026-05-05T12:00:00Z"),
        ("timestamptz", 1_777_777_777),
        ("uuid", "none"),
        ("uuid", ""),
        ("uuid", ID + "0"),
        ("uuid", ID + "\0"),
        ("uuid", 5),
        ("uuid", b"0123456789abcdef"),
        ("jsonb", []),
        ("jsonb", "{}"),
        ("jsonb", {"a": float("nan")}),
        ("jsonb", {"a": float("inf")}),
        ("jsonb", {"a": {1, 2}}),
        ("jsonb", {"a": NOW}),
        ("jsonb", {(1, 2): "no key"}),
        ("jsonb", recursive()),
        ("jsonb", nested(100_000)),
        ("text[]", "abc"),
        ("text[]", b"abc"),
        ("text[]", 5),
        ("text[]", ["a", 5]),
        ("text[]", ["a\0"]),
        ("text[]", [["nested"]]),
        ("integer[]", [True]),
        ("uuid[]", ["none"]),
        ("jsonb[]", [[1]]),
        ("timestamptz[]", [datetime(2026, 5, 5)]),
    ],
)
def test_any_other_value_is_refused_by_the_name_of_its_field(type_: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"^field\b"):
        ADAPT[type_]("field", value)


@pytest.mark.parametrize("type_", sorted(ADAPT))
def test_a_refusal_is_short_however_long_the_value(type_: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        ADAPT[type_]("field", LONG + "\0")
    assert len(str(refused.value)) < 200


def test_every_type_has_an_array_type() -> None:
    scalars = {name for name in ADAPT if not name.endswith("[]")}
    assert set(ADAPT) == scalars | {f"{name}[]" for name in scalars}


def test_a_time_of_any_zone_is_taken() -> None:
    zoned = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert ADAPT["timestamptz"]("created_at", zoned) == NOW


def test_at_least_returns_what_is_not_below() -> None:
    assert bounded("limit", 1) == 1
    assert bounded("days", 7, least=7) == 7


@pytest.mark.parametrize(("value", "least"), [(0, 1), (-1, 1), (-(2**70), 1), (6, 7)])
def test_at_least_refuses_what_is_below(value: int, least: int) -> None:
    with pytest.raises(InvalidValueError, match=rf"^limit must be at least {least}, not {value}$"):
        bounded("limit", value, least)


def test_bounded_refuses_what_is_above_and_what_is_no_int() -> None:
    assert bounded("days", 7, 1, 7) == 7
    with pytest.raises(InvalidValueError, match="days must be at most 7, not 8"):
        bounded("days", 8, 1, 7)
    with pytest.raises(InvalidValueError, match="days must be an int, not True"):
        bounded("days", True)


@pytest.mark.parametrize("value", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_time_that_could_not_be_read_back_is_refused(value: datetime) -> None:
    with pytest.raises(InvalidValueError, match="since must lie in the years 2 to 9998"):
        ADAPT["timestamptz"]("since", value)
