"""What the UPDATEs of skills cost the server, against the same on a table without constraints of values."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg

from benchmarks.data import SMALL
from benchmarks.harness import Bench, Table, Topic, at_most, interleaved, ratio, say, spread
from benchmarks.peers import PLANS
from skilldb.admin import migrate

# The UPDATE of each query, with a constant for what the query has just written.
UPDATES = {
    "increment_skill_uses": "total_uses = coalesce(s.total_uses, 0) + 1, {moved}",
    "rate_skill": "rating_count = s.rating_count + 1, rating_sum = s.rating_sum + 4, {moved}",
    "submit_feedback": (
        "total_feedback = s.total_feedback + 1, thumbs_up_count = s.thumbs_up_count + 1, "
        "thumbs_down_count = s.thumbs_down_count + 0, {moved}"
    ),
    "record_token_measurement": (
        "priced_measurement_count = s.priced_measurement_count + 1, "
        "token_cost_sum_microcents = s.token_cost_sum_microcents + 600000, {moved}"
    ),
    "update_skill": (
        "name = s.name, description = s.description, category = s.category, tags = ARRAY['a'], status = 'published', "
        "hours_saved = 2, updated_at = greatest(s.updated_at, now()), edited_at = greatest(s.edited_at, now())"
    ),
    "publish_skill_version": "published_version = s.published_version + 1, updated_at = now()",
}
AVERAGES = {
    "rate_skill": "average_rating = mean_rating(s.rating_sum + 4, s.rating_count + 1)",
    "submit_feedback": (
        "positive_feedback_pct = "
        "positive_percentage(s.total_feedback + 1, s.thumbs_up_count + 1, s.thumbs_down_count + 0)"
    ),
    "record_token_measurement": (
        "avg_token_cost_microcents = mean_cost(s.token_cost_sum_microcents + 600000, s.priced_measurement_count + 1)"
    ),
}
MOVED = "metrics_updated_at = date_trunc('milliseconds', now())"

# Of so many loops the cheapest counts: the machine may do other work meanwhile.
LOOPS = 5
ROUNDS = 15

# Statements that replace each domain by its type, and drop CHECKs and generation expressions.
_PLAIN_TYPES = """
SELECT format('ALTER TABLE bare.skills ALTER COLUMN %I TYPE %s', a.attname, format_type(t.typbasetype, t.typtypmod))
FROM pg_attribute AS a
INNER JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = 'bare.skills'::regclass AND a.attnum > 0 AND t.typtype = 'd'
UNION ALL
SELECT format('ALTER TABLE bare.skills DROP CONSTRAINT %I', conname)
FROM pg_constraint WHERE conrelid = 'bare.skills'::regclass AND contype = 'c'
UNION ALL
SELECT format('ALTER TABLE bare.skills ALTER COLUMN %I DROP EXPRESSION', attname)
FROM pg_attribute WHERE attrelid = 'bare.skills'::regclass AND attgenerated = 's'
"""
# Statements that drop and add the foreign keys to skills: its primary key contains columns whose types change.
_KEYS = """
SELECT
    format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
    format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE confrelid = 'bare.skills'::regclass
"""
_LOOP = """
DO $$
DECLARE
    organisation TEXT := '{tenant}';
BEGIN
    FOR n IN 1..{count} LOOP
        {body}
    END LOOP;
END
$$
"""


def run(bench: Bench) -> Topic:
    """Measure each UPDATE on both tables, in turns."""
    _copy(bench)
    count = bench.size(100, 500)
    with ExitStack() as stack:
        conns = {
            schema: stack.enter_context(psycopg.connect(bench.service_dsn, autocommit=True, options=PLANS))
            for schema in ("public", "bare")
        }
        for schema, conn in conns.items():
            conn.execute(
                b"SELECT set_config('app.current_tenant_id', %s, false), set_config('search_path', %s, false)",
                (SMALL, f"pg_catalog, {schema}, pg_temp"),
            )

        def loop(schema: str, body: str) -> Callable[[], float]:
            """Microseconds of CPU for one execution of `body`."""
            text = _LOOP.format(tenant=SMALL, count=count, body=body).encode()

            conn = conns[schema]

            def once() -> float:
                before = _cpu_seconds(conn)
                conn.execute(text)
                return _cpu_seconds(conn) - before

            return lambda: min(once() for _ in range(LOOPS)) / count * 1e6

        checks, rows = [], []
        for name, changes in UPDATES.items():
            say(f"  the UPDATE of {name}")
            counts = changes.format(moved=MOVED)
            both = f"{counts}, {AVERAGES[name]}" if name in AVERAGES else counts
            found = interleaved(
                {
                    "skilldb": loop("public", _update(both)),
                    "bare": loop("bare", _update(both)),
                    "counts": loop("bare", _update(counts)),
                    "empty": loop("bare", "PERFORM n::text FROM (VALUES (1)) AS v;"),
                },
                bench.size(5, ROUNDS),
            )
            net = {
                which: [a - b for a, b in zip(found[which], found["empty"], strict=True)]
                for which in ("skilldb", "bare", "counts")
            }
            checks.append(
                at_most(f"{name}: its UPDATE of skills, against a bare table", 1.4, ratio(net["skilldb"], net["bare"]))
            )
            without = ratio(net["skilldb"], net["counts"]) if name in AVERAGES else ""
            rows.append([name, spread(net["skilldb"]), spread(net["bare"]), without])
    return Topic(
        "Server cost of an update",
        "Each UPDATE runs as the service, once per skill, in a loop on the server (a DO block), so neither client "
        "nor network is measured. The loop keeps the plan, as a session keeps that of a prepared statement. The "
        "figures are CPU time of the server process, so other work of the machine hardly counts. Without "
        "/proc/PID/schedstat they are elapsed time. The same loop with an empty query is subtracted. The bare table "
        "is in a second schema that the same migrations made, so it has the same indexes, foreign keys, policies and "
        "fill factor. Its columns then got plain types in place of domains. The two tables take turns. "
        f"In each of {ROUNDS} rounds, the cheapest of {LOOPS} loops counts.",
        checks,
        [
            Table(
                "The UPDATE of skills, microseconds of CPU above an empty query",
                ["query", "skilldb", "bare table", "against a bare table without averages"],
                rows,
            )
        ],
    )


def _update(changes: str) -> str:
    return f"UPDATE skills AS s SET {changes} WHERE s.tenant_id = organisation AND s.id = n::text;"


def _cpu_seconds(conn: psycopg.Connection[Any]) -> float:
    """The CPU time of the connection's server process. Linux counts it in nanoseconds."""
    file = Path(f"/proc/{conn.info.backend_pid}/schedstat")
    return int(file.read_text(encoding="ascii").split()[0]) / 1e9 if file.is_file() else perf_counter()


def _copy(bench: Bench) -> None:
    """Make the schema `bare`, with the small organisation's skills."""
    with bench.admin() as conn:
        conn.execute(b"CREATE SCHEMA bare AUTHORIZATION skilldb_owner")
        conn.execute(b"GRANT USAGE ON SCHEMA bare TO skilldb_app")
    list(migrate.migrate(bench.owner_dsn, schema="bare"))
    with bench.admin() as conn:
        keys = conn.execute(_KEYS.encode()).fetchall()
        plain = conn.execute(_PLAIN_TYPES.encode()).fetchall()
        for statement in (*(drop for drop, _ in keys), *(each for (each,) in plain), *(add for _, add in keys)):
            conn.execute(str(statement).encode())
        for table in ("tenants", "users", "skills"):
            column = "id" if table == "tenants" else "tenant_id"
            text = f"INSERT INTO bare.{table} SELECT * FROM public.{table} WHERE {column} = '{SMALL}'"
            conn.execute(text.encode())
        conn.execute(b"VACUUM (FULL, ANALYZE) public.skills")
        conn.execute(b"VACUUM (FULL, ANALYZE) bare.skills")
