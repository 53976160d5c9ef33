"""One connection over a Unix socket: what each client makes of the four operations that a service does most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes

from benchmarks.harness import Bench, Check, Picture, Table, Topic, at_least, interleaved, ratio, say, short, spread
from benchmarks.peers import OPERATIONS, PEERS, Pgbench, some

Times = Mapping[str, Mapping[str, list[float]]]

# Which API of skilldb is compared with whom, and how many times as quick it must be.
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
        "Operations a second of one client that does one after the other, in an organisation of 1,000 users and skills "
        "where a user has viewed twenty skills, half of which changed since. pgbench reads no answers and knows no "
        "types: it is the limit that no client reaches. All but the ORM run the very same SQL.",
        worst(times, TARGETS),
        [table(times), ratios(times, TARGETS)],
        [Picture("clients.png", "operations a second by client and operation", lambda axes: bars(axes, times))],
    )


SERVER = "what the server does for it, all wait for alike, and that is most of the time"


def worst(times: Times, targets: Sequence[tuple[str, str, float]], why: str = SERVER) -> list[Check]:
    """For each target the operation that is furthest from it: where that one meets it, all do."""
    checks = []
    for ours, theirs, target in targets:
        found = {operation: ratio(seconds[theirs], seconds[ours]) for operation, seconds in times.items()}
        operation = min(found, key=lambda name: found[name].median)
        checks.append(at_least(f"{ours} against {theirs}, its worst: {operation}", target, found[operation], why=why))
    return checks


def ratios(times: Times, targets: Sequence[tuple[str, str, float]]) -> Table:
    """How many times as quick skilldb is, by operation."""
    return Table(
        "How many times as quick",
        ["", *times],
        [
            [f"{ours} against {theirs}", *(ratio(found[theirs], found[ours]) for found in times.values())]
            for ours, theirs, _ in targets
        ],
    )


def measure(bench: Bench, dsn: str, count: int) -> Times:
    """By operation and client the seconds of one, round by round."""
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
    """Operations a second, a client a row."""
    names = sorted(
        next(iter(times.values())), key=lambda name: sum(spread(found[name]).median for found in times.values())
    )
    return Table(
        "Operations a second: median (least-most) of the rounds",
        ["client", *times],
        [[name, *(spread(1 / seconds for seconds in found[name]) for found in times.values())] for name in names],
    )


def bars(axes: Axes, times: Times) -> None:
    """A group of bars an operation, a bar a client, the quickest first."""
    names = [str(row[0]) for row in table(times).rows]
    for number, name in enumerate(names):
        heights = [spread(1 / seconds for seconds in found[name]).median for found in times.values()]
        middle = number - (len(names) - 1) / 2
        drawn = axes.bar([place + 0.085 * middle for place in range(len(times))], heights, 0.08, label=name)
        axes.bar_label(drawn, [short(height) for height in heights], fontsize=6, rotation=90, padding=2)
    axes.set_yscale("log")
    axes.set_xticks(range(len(times)), list(times))
    axes.set_ylabel("operations a second")
    axes.margins(y=0.25)
    axes.legend(fontsize=8, ncols=2)
