"""Sixteen clients at once on one pool, as threads or tasks: four reads per write, and how long each call takes."""

from __future__ import annotations

from matplotlib.axes import Axes

from benchmarks.harness import Bench, Check, Picture, Table, Topic, at_least, interleaved, ratio, say, short, spread
from benchmarks.peers import PEERS, Peer, Work, some

CLIENTS = 16
POOL = 10  # skilldb's own default
PERCENTILES = (50, 95, 99)


def run(bench: Bench) -> Topic:
    """Measure all clients."""
    count = bench.size(10, 150)
    shares = [_mixed(bench, count) for _ in range(CLIENTS)]
    waits: dict[str, list[float]] = {name: [] for name in PEERS}
    errors: list[Exception] = []

    def crowd(name: str, peer: Peer) -> float:
        met = peer.at_once(shares)
        waits[name] += met.latencies
        errors.extend(met.errors)
        return met.seconds / (count * CLIENTS)

    say("  mixed reads and writes")
    peers = {name: open_peer(bench.service_dsn, POOL) for name, open_peer in PEERS.items()}
    try:
        found = interleaved({name: lambda name=name, peer=peer: crowd(name, peer) for name, peer in peers.items()})  # type: ignore[misc]
    finally:
        for peer in peers.values():
            peer.close()
    order = sorted(found, key=lambda name: spread(found[name]).median)
    return Topic(
        f"{CLIENTS} clients at once",
        f"Each client runs one operation after another. All clients share a pool of {POOL} connections. Of 100 "
        "operations, 40 are get_user_view, 40 get_whats_new_for_user, 10 record_skill_view and 10 "
        "increment_skill_uses. The times run from the call to its answer and include the wait for a connection.",
        [
            *(
                at_least(
                    f"{CLIENTS} clients, 80:20: {ours} against {theirs}",
                    0.9,
                    ratio(found[theirs], found[ours]),
                    why="checking parameters and reading answers into dataclasses is Python's work, and only one "
                    "thread runs Python at a time",
                )
                for ours, theirs in (("skilldb", "psycopg pipelined"), ("skilldb async", "psycopg async pipelined"))
            ),
            Check(work=f"{CLIENTS} clients, 80:20: errors", target="none", measured=str(len(errors)), met=not errors),
        ],
        [
            Table(
                f"{CLIENTS} clients, 80:20 reads and writes, Unix socket",
                ["client", "operations per second", *(f"p{p} ms" for p in PERCENTILES)],
                [
                    [
                        name,
                        spread(1 / seconds for seconds in found[name]),
                        *(short(percentile(waits[name], p) * 1000) for p in PERCENTILES),
                    ]
                    for name in order
                ],
            )
        ],
        [
            Picture(
                "crowd.png", "how long calls take with sixteen clients at once", lambda axes: draw(axes, order, waits)
            )
        ],
    )


def _mixed(bench: Bench, count: int) -> list[Work]:
    operations = [
        *["get_user_view"] * 4,
        *["get_whats_new_for_user"] * 4,
        "record_skill_view",
        "increment_skill_uses",
    ]
    works = [work for number in range(count) for work in some(bench, operations[number % len(operations)], 1)]
    bench.random.shuffle(works)
    return works


def percentile(values: list[float], percent: float) -> float:
    """The percentile: `percent` of 100 values do not exceed it."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def draw(axes: Axes, order: list[str], waits: dict[str, list[float]]) -> None:
    """Draw the share of calls that took longer than a time."""
    for name in order:
        values = sorted(waits[name])
        axes.plot(
            [value * 1000 for value in values],
            [1 - number / len(values) for number in range(len(values))],
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of calls that take longer")
    axes.legend(fontsize=8)
