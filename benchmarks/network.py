"""A network of 1 ms a round trip: the four operations, a whole skill page, and many clients on one skill."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import psycopg

from benchmarks import clients
from benchmarks.data import SMALL_VIEWS_A_USER
from benchmarks.delay import delayed
from benchmarks.harness import (
    Bench,
    Check,
    Picture,
    Spread,
    Table,
    Topic,
    at_least,
    interleaved,
    ratio,
    say,
    spread,
    timed,
)
from benchmarks.peers import FOUR_TRIPS, OPERATIONS, PEERS, Peer, Work, work
from skilldb.repositories import feedback, ratings, skills, tokens, usage, views

ROUND_TRIP = 0.001
CLIENTS = 16
WORK = (
    "four trips are four times one trip only where client and server need no time: with 1.3 ms a trip, as the proxy "
    "makes it, 0.4 ms of work leave 3.3"
)


def run(bench: Bench) -> Topic:
    """Measure them through the proxy."""
    with delayed(bench.service_dsn, 0) as dsn:
        idle = proxy_delay(bench, dsn)
    with delayed(bench.service_dsn, ROUND_TRIP / 2) as dsn:
        added = proxy_delay(bench, dsn)
        targets = [("skilldb", theirs, 3.5) for theirs in FOUR_TRIPS]
        times = clients.measure(bench, dsn, bench.size(3, 60))
        page = skill_page(bench, dsn)
        page_checks, page_table = page
        row_checks, row_table = one_row(bench, dsn)
    return Topic(
        "A network of 1 ms a round trip",
        "Each client reaches the server through a TCP proxy in a process of its own, which hands on each chunk half a "
        "millisecond after it came; none waits for another. Measured with a query that does nothing, the proxy makes "
        f"a round trip {added} ms longer, and {idle} ms where it holds nothing back: its own work and two more "
        "sockets. What is left over 1 ms is how late the timers wake it.",
        [*clients.worst(times, targets, WORK), *page_checks, *row_checks],
        [clients.table(times), clients.ratios(times, targets), page_table, row_table],
        [
            Picture(
                "network.png",
                "operations a second by client and operation, over 1 ms",
                lambda axes: clients.bars(axes, times),
            )
        ],
    )


def proxy_delay(bench: Bench, dsn: str) -> Spread:
    """How much longer `SELECT` takes through the proxy, in milliseconds."""
    with psycopg.connect(bench.service_dsn, autocommit=True) as near, psycopg.connect(dsn, autocommit=True) as far:

        def asked(conn: psycopg.Connection[tuple[object, ...]]) -> float:
            return spread(timed(lambda: conn.execute(b"SELECT")) for _ in range(100)).median

        found = interleaved({"near": lambda: asked(near), "far": lambda: asked(far)})
    return spread((far - near) * 1000 for near, far in zip(found["near"], found["far"], strict=True))


def skill_page(bench: Bench, dsn: str) -> tuple[list[Check], Table]:
    """Six reads and the view recorded: skilldb in one round trip, the others read by read or in one transaction."""

    def page() -> list[Work]:
        user, skill = "1", str(8 + 10 * bench.random.randint(1, SMALL_VIEWS_A_USER - 1))
        return [
            work(build)
            for build in (
                lambda: skills.get_skill(skill),
                lambda: skills.list_skill_versions(skill),
                lambda: ratings.list_ratings(skill, limit=10),
                lambda: feedback.list_feedback(skill, limit=10),
                lambda: usage.count_uses_by_day(skill),
                lambda: tokens.get_skill_cost_stats(skill),
                lambda: views.record_skill_view(user, skill, 3),
            )
        ]

    pages = [page() for _ in range(bench.size(3, 20))]
    names = ["skilldb", "skilldb async", "psycopg pipelined", "psycopg, 4 trips", "asyncpg", "asyncpg, no reset"]
    peers = {name: PEERS[name](dsn, 1) for name in names}
    runs: dict[str, Callable[[], float]] = {}
    for name, peer in peers.items():
        runs[name] = lambda peer=peer: sum(peer.together(each) for each in pages) / len(pages)  # type: ignore[misc]
        if name in FOUR_TRIPS:
            runs[f"{name} a read"] = lambda peer=peer: peer.one_by_one([*chain(*pages)]) / len(pages)  # type: ignore[misc]
    say("  skill page")
    found = interleaved(runs)
    for peer in peers.values():
        peer.close()
    return (
        [
            at_least(f"skill page: skilldb against {name}", 10, ratio(found[name], found["skilldb"]), why=WORK)
            for name in ("psycopg, 4 trips a read", "asyncpg, no reset a read")
        ],
        Table(
            "A skill page: six reads and the view recorded, over 1 ms",
            ["client", "ms", "times skilldb's"],
            [
                [name, spread(s * 1000 for s in seconds), ratio(seconds, found["skilldb"])]
                for name, seconds in sorted(found.items(), key=lambda item: spread(item[1]).median)
            ],
            "`a read`: each read in a transaction of its own, as repositories that execute what they build do it. "
            "The others have all seven in one transaction.",
        ),
    )


def one_row(bench: Bench, dsn: str) -> tuple[list[Check], Table]:
    """Sixteen clients increment one skill: who holds its row's lock across the network holds up all others."""
    increment = work(lambda: OPERATIONS["increment_skill_uses"]("1", "1"), "increment_skill_uses", "1", "1")
    count = bench.size(3, 20)
    names = ["skilldb", "skilldb async", "psycopg pipelined", *FOUR_TRIPS]
    peers: dict[str, Peer] = {name: PEERS[name](dsn, CLIENTS) for name in names}
    errors: list[Exception] = []

    def crowd(peer: Peer) -> float:
        met = peer.at_once([[increment] * count] * CLIENTS)
        errors.extend(met.errors)
        return met.seconds / (count * CLIENTS)

    say("  one skill, many clients")
    found = interleaved({name: lambda peer=peer: crowd(peer) for name, peer in peers.items()})  # type: ignore[misc]
    for peer in peers.values():
        peer.close()
    assert not errors, errors[0]
    return (
        [
            at_least(
                f"one skill, {CLIENTS} clients: skilldb against {name}",
                5,
                ratio(found[name], found["skilldb"]),
                why="clients, proxy and server share two processors, and these are busy before the row is",
            )
            for name in FOUR_TRIPS
        ],
        Table(
            f"{CLIENTS} clients increment one skill, over 1 ms",
            ["client", "increments a second", "skilldb is quicker by"],
            [
                [name, spread(1 / s for s in seconds), ratio(seconds, found["skilldb"])]
                for name, seconds in sorted(found.items(), key=lambda item: spread(item[1]).median)
            ],
        ),
    )
