"""Usage events in batches, compared with COPY by the owner: no isolation, no counters, no duplicates."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from uuid import UUID

import psycopg
from matplotlib.axes import Axes

import skilldb
from benchmarks.data import SKILLS, SMALL, USERS
from benchmarks.harness import Bench, Picture, Table, Topic, at_least, interleaved, ratio, say, spread, timed
from skilldb.models import NewUsageEvent
from skilldb.repositories import usage

SIZES = (1, 10, 100, 1_000, 10_000)
COPY = b"COPY usage_events (tenant_id, id, tool_name, skill_id, user_id, metadata) FROM STDIN"


def run(bench: Bench) -> Topic:
    """Measure both at each size."""
    times: dict[int, dict[str, list[float]]] = {}
    with (
        skilldb.connect(bench.service_dsn, max_size=1) as db,
        psycopg.connect(bench.owner_dsn, autocommit=True) as owner,
    ):
        tenant = db.tenant(SMALL)

        def record(size: int, times_over: int) -> float:
            batches = [_events(bench, size) for _ in range(times_over)]
            return timed(lambda: [tenant.execute(usage.record_usage_events(batch)) for batch in batches]) / times_over

        def copy(size: int, times_over: int) -> float:
            batches = [
                [
                    (SMALL, e.id, e.tool_name, e.skill_id, e.user_id, json.dumps(e.metadata))
                    for e in _events(bench, size)
                ]
                for _ in range(times_over)
            ]
            return timed(lambda: [_copy(owner, batch) for batch in batches]) / times_over

        for size in SIZES:
            say(f"  batches of {size:,}")
            times_over = max(1, min(bench.size(5, 50), bench.size(2_000, 20_000) // size))
            runs: dict[str, Callable[[], float]] = {
                "skilldb": lambda size=size, n=times_over: record(size, n),  # type: ignore[misc]
                "COPY": lambda size=size, n=times_over: copy(size, n),  # type: ignore[misc]
            }
            times[size] = interleaved(runs)
    return Topic(
        "Usage events in batches",
        "record_usage_events runs under row-level security. It skips events that are already stored and counts each "
        f"skill's uses, all in one round trip. The events name random ones of {SKILLS:,} skills and {USERS:,} users. "
        "COPY: the owner writes rows into the same table, with its keys, indexes and foreign keys, and does nothing "
        "else.",
        [
            at_least(
                f"record_usage_events, batches of {SIZES[-1]:,}: events per second against COPY",
                0.35,
                ratio(times[SIZES[-1]]["COPY"], times[SIZES[-1]]["skilldb"]),
            )
        ],
        [
            Table(
                "Events per second",
                ["events per batch", "skilldb", "COPY", "skilldb / COPY"],
                [
                    [
                        f"{size:,}",
                        *(spread(size / seconds for seconds in found[name]) for name in ("skilldb", "COPY")),
                        ratio(found["COPY"], found["skilldb"]),
                    ]
                    for size, found in times.items()
                ],
            )
        ],
        [Picture("batches.png", "events per second by the size of the batch", lambda axes: draw(axes, times))],
    )


def _events(bench: Bench, count: int) -> list[NewUsageEvent]:
    return [
        NewUsageEvent(
            tool_name="editor",
            skill_id=str(bench.random.randint(1, SKILLS)),
            user_id=str(bench.random.randint(1, USERS)),
            metadata={"session": number},
            id=str(UUID(int=bench.random.getrandbits(128), version=4)),
        )
        for number in range(count)
    ]


def _copy(conn: psycopg.Connection[tuple[object, ...]], rows: Sequence[tuple[object, ...]]) -> int:
    with conn.cursor() as cursor:
        with cursor.copy(COPY) as copy:
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
