"""One connection over a Unix socket: the speed of each client in the four most frequent operations of a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes

from benchmarks.harness import Bench, Check, Picture, Table, Topic, at_least, interleaved, ratio, say, short, spread
from benchmarks.peers import OPERATIONS, PEERS, Pgbench, some

Times = Mapping[str, Mapping[str, list[float]]]

# An API of skilldb, the client to compare it with, and how many times as fast skilldb must be.
TARGETS = [
    ("skilldb", "psycopg pipelined", 0.9),
    ("skilldb async", "psycopg async pipelined", 0.9),
    ("skilldb", "asyncpg", 1.9),
    ("skilldb", "asyncpg, no reset", 1.9),
    ("skilldb", "SQLAlchemy ORM", 5.0),
]


def run(bench: Bench) -> Topic:
    """Measure all clients, operation by operation."""
    times = measure(bench, bench.service_dsn, bench.size(30, 400))
    return Topic(
        "One connection, Unix socket",
        "Operations per second of one client that runs one after another. The organisation has 1,000 users and 1,000 "
        "skills. Each user has viewed twenty skills, and half of them changed later. pgbench reads no answers and "
        "converts no types, so no client can be faster. All clients except the ORM run the same SQL.",
        worst(times, TARGETS),
        [table(times), ratios(times, TARGETS)],
        [Picture("clients.png", "operations per second by client and operation", lambda axes: bars(axes, times))],
    )


SERVER = "most of the time is the server's work, which takes equally long for all clients"


def worst(times: Times, targets: Sequence[tuple[str, str, float]], why: str = SERVER) -> list[Check]:
    """For each target, check the operation with the lowest ratio: if it meets the target, all do."""
    checks = []
    for ours, theirs, target in targets:
        found = {operation: ratio(seconds[theirs], seconds[ours]) for operation, seconds in times.items()}
        operation = min(found, key=lambda name: found[name].median)
        checks.append(
            at_least(f"{ours} against {theirs}, worst operation: {operation}", target, found[operation], why=why)
        )
    return checks


def ratios(times: Times, targets: Sequence[tuple[str, str, float]]) -> Table:
    """How many times as fast skilldb is, by operation."""
    return Table(
        "How many times as fast",
        ["", *times],
        [
            [f"{ours} against {theirs}", *(ratio(found[theirs], found[ours]) for found in times.values())]
            for ours, theirs, _ in targets
        ],
    )


def measure(bench: Bench, dsn: str, count: int) -> Times:
    """Seconds per operation, by operation and client, one value per round."""
    peers = {name: open_peer(dsn, 1) for name, open_peer in PEERS.items()}
    times: dict[str, Mapping[str, list[float]]] = {}
    try:
        for operation in OPERATIONS:
            say(f"  {operation}")
            works = some(bench, operation, count)
            runs: dict[str, Callable[[], float]] = {
                name: lambda peer=peer, works=works: peer.one_by_one(works) / len(works)  # type: ignore[misc]
                for name, peer in peers.items()
            }
            for name, pipelined in (("pgbench pipelined", True), ("pgbench, 4 trips", False)):
                limit = Pgbench(dsn, pipelined=pipelined)
                runs[name] = lambda limit=limit, operation=operation: limit.seconds(operation, count)  # type: ignore[misc]
            times[operation] = interleaved(runs)
    finally:
        for peer in peers.values():
            peer.close()
    return times


def table(times: Times) -> Table:
    """Operations per second, one row per client."""
    names = sorted(
        next(iter(times.values())), key=lambda name: sum(spread(found[name]).median for found in times.values())
    )
    return Table(
        "Operations per second: median (lowest-highest) of the rounds",
        ["client", *times],
        [[name, *(spread(1 / seconds for seconds in found[name]) for found in times.values())] for name in names],
    )


def bars(axes: Axes, times: Times) -> None:
    """One group of bars per operation and one bar per client, the fastest first."""
    names = [str(row[0]) for row in table(times).rows]
    for number, name in enumerate(names):
        heights = [spread(1 / seconds for seconds in found[name]).median for found in times.values()]
        middle = number - (len(names) - 1) / 2
        drawn = axes.bar([place + 0.085 * middle for place in range(len(times))], heights, 0.08, label=name)
        axes.bar_label(drawn, [short(height) for height in heights], fontsize=6, rotation=90, padding=2)
    axes.set_yscale("log")
    axes.set_xticks(range(len(times)), list(times))
    axes.set_ylabel("operations per second")
    axes.margins(y=0.25)
    axes.legend(fontsize=8, ncols=2)
