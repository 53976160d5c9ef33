"""A network of 1 ms per round trip: the four operations, a whole skill page, and many clients on one skill."""

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
    "four round trips take four times as long as one only if client and server take no time; with the proxy's 1.3 ms "
    "per round trip, 0.4 ms of work lowers the ratio to 3.3"
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
        "A network of 1 ms per round trip",
        "Each client connects through a TCP proxy, which runs in its own process. The proxy forwards each chunk half a "
        "millisecond after it arrived; chunks do not wait for each other. Measured with a query that does nothing, the "
        f"proxy makes a round trip {added} ms longer. Without the delay it makes it {idle} ms longer, because of its "
        "own work and two more sockets. The rest above 1 ms comes from timers that wake the proxy late.",
        [*clients.worst(times, targets, WORK), *page_checks, *row_checks],
        [clients.table(times), clients.ratios(times, targets), page_table, row_table],
        [
            Picture(
                "network.png",
                "operations per second by client and operation, over 1 ms",
                lambda axes: clients.bars(axes, times),
            )
        ],
    )


def proxy_delay(bench: Bench, dsn: str) -> Spread:
    """How much longer `SELECT` takes through the proxy, in milliseconds."""
    with psycopg.connect(bench.service_dsn, autocommit=True) as near, psycopg.connect(dsn, autocommit=True) as far:

        def seconds(conn: psycopg.Connection[tuple[object, ...]]) -> float:
            return spread(timed(lambda: conn.execute(b"SELECT")) for _ in range(100)).median

        found = interleaved({"near": lambda: seconds(near), "far": lambda: seconds(far)})
    return spread((far - near) * 1000 for near, far in zip(found["near"], found["far"], strict=True))


def skill_page(bench: Bench, dsn: str) -> tuple[list[Check], Table]:
    """Run six reads and record the view: skilldb in one round trip, the others read by read or in one transaction."""

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
            "`a read`: each read runs in its own transaction, as in repositories whose methods execute their queries. "
            "The others run all seven in one transaction.",
        ),
    )


def one_row(bench: Bench, dsn: str) -> tuple[list[Check], Table]:
    """Sixteen clients increment one skill. A client that holds the row lock over a round trip delays all others."""
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
                why="clients, proxy and server share two processors, which reach their limit before the row does",
            )
            for name in FOUR_TRIPS
        ],
        Table(
            f"{CLIENTS} clients increment one skill, over 1 ms",
            ["client", "increments per second", "skilldb is faster by"],
            [
                [name, spread(1 / s for s in seconds), ratio(seconds, found["skilldb"])]
                for name, seconds in sorted(found.items(), key=lambda item: spread(item[1]).median)
            ],
        ),
    )
