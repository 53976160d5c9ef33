"""Whether counters and views are updated in place, according to PostgreSQL's statistics."""

from __future__ import annotations

from benchmarks.harness import Bench, Check, Table, Topic, say
from benchmarks.peers import Skilldb, some

OPERATIONS = {"skills": "increment_skill_uses", "user_skill_views": "record_skill_view"}


def run(bench: Bench) -> Topic:
    """Update many rows and read the statistics."""
    count = bench.size(1_000, 10_000)
    with bench.admin() as conn:
        conn.execute(b"VACUUM (FULL) skills")
        conn.execute(b"VACUUM (FULL) user_skill_views")
        before = _statistics(bench)
    say("  updates in place")
    peer = Skilldb(bench.service_dsn, 1)
    for operation in OPERATIONS.values():
        peer.one_by_one(some(bench, operation, count))
    peer.close()  # A server process reports its statistics when it ends, if not before.
    after = _statistics(bench)
    grown = {table: [a - b for a, b in zip(after[table], before[table], strict=True)] for table in OPERATIONS}
    return Topic(
        "Updates in place",
        "An update in place (n_tup_hot_upd) writes no index, and PostgreSQL reuses the space of the old row without "
        "VACUUM. VACUUM FULL ran first, so each page had only the free space of its fill factor.",
        [
            Check(
                work=f"{operation}: updates in place",
                target="at least 99 %",
                measured=f"{100 * grown[table][1] / grown[table][0]:.1f} %",
                met=grown[table][1] >= 0.99 * grown[table][0],
            )
            for table, operation in OPERATIONS.items()
        ],
        [
            Table(
                "pg_stat_user_tables",
                ["table", "n_tup_upd", "n_tup_hot_upd", "n_tup_newpage_upd"],
                [[table, *(f"{value:,}" for value in values)] for table, values in grown.items()],
            )
        ],
    )


def _statistics(bench: Bench) -> dict[str, tuple[int, int, int]]:
    with bench.admin() as conn:
        rows = conn.execute(
            b"SELECT relname, n_tup_upd, n_tup_hot_upd, n_tup_upd - n_tup_hot_upd FROM pg_stat_user_tables"
        )
        return {str(name): values for name, *values in rows}  # type: ignore[misc]
