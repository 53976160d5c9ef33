"""Events and measurements in batches, compared with COPY by the owner, which neither isolates nor counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from matplotlib.axes import Axes

import skilldb
from benchmarks.data import SKILLS, SMALL, USERS
from benchmarks.harness import Bench, Picture, Table, Topic, at_least, interleaved, ratio, say, spread, timed
from skilldb.models import NewTokenMeasurement, NewUsageEvent
from skilldb.repositories import tokens, usage
from skilldb.statement import Statement

SIZES = (1, 10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of row: how to make one, how skilldb records it, and how COPY writes it."""

    make: Callable[[Bench, int], Any]
    record: Callable[[Sequence[Any]], Statement[int]]
    copy: bytes
    row: Callable[[Any], tuple[object, ...]]


def run(bench: Bench) -> Topic:
    """Measure both at each size, for each kind."""
    times = {name: _times(bench, name, kind) for name, kind in KINDS.items()}
    most = SIZES[-1]
    return Topic(
        "Events and measurements in batches",
        "record_usage_events and record_token_measurements run under row-level security. They count each skill's uses "
        "or cost and write its rollups, all in one round trip. Events that are already stored are skipped. The batches "
        f"name random ones of {SKILLS:,} skills and {USERS:,} users. COPY: the owner writes rows into the same table, "
        "with its keys, indexes and foreign keys, and does nothing else.",
        [
            at_least(
                f"{name}, batches of {most:,}: rows per second against COPY",
                0.6,
                ratio(found[most]["COPY"], found[most]["skilldb"]),
                why="a fifth of the time is Python, which checks and encodes the values; COPY also takes no locks, "
                "looks for no stored id, counts nothing and writes no rollups",
            )
            for name, found in times.items()
        ],
        [
            Table(
                f"{name}, rows per second",
                ["rows per batch", "skilldb", "COPY", "skilldb / COPY"],
                [
                    [
                        f"{size:,}",
                        *(spread(size / seconds for seconds in found[size][client]) for client in ("skilldb", "COPY")),
                        ratio(found[size]["COPY"], found[size]["skilldb"]),
                    ]
                    for size in SIZES
                ],
            )
            for name, found in times.items()
        ],
        [
            Picture(
                "batches.png",
                "events per second by the size of the batch",
                lambda axes: draw(axes, times["record_usage_events"]),
            )
        ],
    )


def _times(bench: Bench, name: str, kind: Kind) -> dict[int, dict[str, list[float]]]:
    """The seconds of one batch, by its size and by the client."""
    times: dict[int, dict[str, list[float]]] = {}
    with (
        skilldb.connect(bench.service_dsn, max_size=1) as db,
        psycopg.connect(bench.owner_dsn, autocommit=True) as owner,
    ):
        tenant = db.tenant(SMALL)

        def record(size: int, times_over: int) -> float:
            batches = [[kind.make(bench, number) for number in range(size)] for _ in range(times_over)]
            return timed(lambda: [tenant.execute(kind.record(batch)) for batch in batches]) / times_over

        def copy(size: int, times_over: int) -> float:
            batches = [[kind.row(kind.make(bench, number)) for number in range(size)] for _ in range(times_over)]
            return timed(lambda: [_copy(owner, kind.copy, batch) for batch in batches]) / times_over

        for size in SIZES:
            say(f"  {name}: batches of {size:,}")
            times_over = max(1, min(bench.size(5, 50), bench.size(2_000, 20_000) // size))
            runs: Mapping[str, Callable[[], float]] = {
                "skilldb": lambda size=size, n=times_over: record(size, n),  # type: ignore[misc]
                "COPY": lambda size=size, n=times_over: copy(size, n),  # type: ignore[misc]
            }
            times[size] = interleaved(runs)
    return times


def _event(bench: Bench, number: int) -> NewUsageEvent:
    return NewUsageEvent(
        tool_name="editor",
        skill_id=str(bench.random.randint(1, SKILLS)),
        user_id=str(bench.random.randint(1, USERS)),
        metadata={"session": number},
        id=str(UUID(int=bench.random.getrandbits(128), version=4)),
    )


def _measurement(bench: Bench, number: int) -> NewTokenMeasurement:
    return NewTokenMeasurement(
        skill_id=str(bench.random.randint(1, SKILLS)),
        user_id=str(bench.random.randint(1, USERS)),
        model_name="a model",
        input_tokens=1_000,
        output_tokens=200,
        total_tokens=1_200,
        estimated_cost_microcents=600_000,
        latency_ms=number,
        id=str(UUID(int=bench.random.getrandbits(128), version=4)),
    )


def _event_row(e: NewUsageEvent) -> tuple[object, ...]:
    return (SMALL, e.id, e.tool_name, e.skill_id, e.user_id, json.dumps(e.metadata))


def _measurement_row(m: NewTokenMeasurement) -> tuple[object, ...]:
    tokens_of = (m.input_tokens, m.output_tokens, m.total_tokens)
    return (SMALL, m.id, m.skill_id, m.user_id, m.model_name, *tokens_of, m.estimated_cost_microcents, m.latency_ms)


KINDS = {
    "record_usage_events": Kind(
        _event,
        usage.record_usage_events,
        b"COPY usage_events (tenant_id, id, tool_name, skill_id, user_id, metadata) FROM STDIN",
        _event_row,
    ),
    "record_token_measurements": Kind(
        _measurement,
        tokens.record_token_measurements,
        b"COPY token_measurements (tenant_id, id, skill_id, user_id, model_name, input_tokens, output_tokens, "
        b"total_tokens, estimated_cost_microcents, latency_ms) FROM STDIN",
        _measurement_row,
    ),
}


def _copy(conn: psycopg.Connection[tuple[object, ...]], sql: bytes, rows: Sequence[tuple[object, ...]]) -> int:
    with conn.cursor() as cursor:
        with cursor.copy(sql) as copy:
            for row in rows:
                copy.write_row(row)
        return cursor.rowcount


def draw(axes: Axes, times: dict[int, dict[str, list[float]]]) -> None:
    """Draw one line for each, with logarithmic axes."""
    for name in ("COPY", "skilldb"):
        found = {size: spread(size / seconds for seconds in by_name[name]) for size, by_name in times.items()}
        axes.plot(list(found), [each.median for each in found.values()], marker="o", label=name)
        axes.fill_between(list(found), [e.least for e in found.values()], [e.most for e in found.values()], alpha=0.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("events per batch")
    axes.set_ylabel("events per second")
    axes.legend()
