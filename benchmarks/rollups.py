"""Reports on rollups as the events grow, beside the same reports on raw rows; pruning; and what rollups cost a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from matplotlib.axes import Axes
from psycopg.conninfo import make_conninfo

import skilldb
from benchmarks.growth import Times, by_size, table
from benchmarks.harness import (
    Bench,
    Check,
    Picture,
    Table,
    Topic,
    at_most,
    interleaved,
    ratio,
    say,
    short,
    spread,
    timed,
)
from skilldb import queries
from skilldb.admin import drift, retention, rollups
from skilldb.models import NewUsageEvent
from skilldb.repositories import metrics, tokens, usage
from skilldb.statement import ROWS, VALUE, Statement

SKILLS = 2_000
DAYS = 90
HOTTEST = "1"

# An organisation with 2,000 skills. One skill in a hundred gets a fifth of all uses. Half as many measurements as events.
_EVENTS = f"""
INSERT INTO tenants (id, name, slug) VALUES ('events-{{n}}', 'Events', 'events-{{n}}');
INSERT INTO users (tenant_id, id, email)
SELECT 'events-{{n}}', u, u || '-{{n}}@example.com' FROM generate_series(1, 1000) AS u;
INSERT INTO skills (tenant_id, id, name, slug, description, category)
SELECT 'events-{{n}}', s, 'Skill ' || s, 'skill-' || s, 'It', 'testing' FROM generate_series(1, {SKILLS}) AS s;
INSERT INTO usage_events (tenant_id, tool_name, skill_id, user_id, created_at)
SELECT
    'events-{{n}}', 'tool ' || e % 20, 1 + floor({SKILLS} * random() ^ 3), 1 + floor(1000 * random() ^ 2),
    now() - interval '{DAYS} days' * e / {{n}}
FROM generate_series(1, {{n}}) AS e;
INSERT INTO token_measurements (
    tenant_id, skill_id, model_name, input_tokens, output_tokens, total_tokens, estimated_cost_microcents, latency_ms,
    created_at
)
SELECT
    'events-{{n}}', 1 + floor({SKILLS} * random() ^ 3), 'model ' || m % 4, 1000, 200, 1200, 600000, 700,
    now() - interval '{DAYS} days' * 2 * m / {{n}}
FROM generate_series(1, {{n}} / 2) AS m;
"""

REPORTS: Mapping[str, Callable[[], Statement[Any]]] = {
    "get_top_skills": lambda: usage.get_top_skills(30),
    "count_uses_by_day": lambda: usage.count_uses_by_day(HOTTEST, DAYS),
    "get_cost_trend": lambda: tokens.get_cost_trend(HOTTEST, 30),
    "get_skill_cost_stats": lambda: tokens.get_skill_cost_stats(HOTTEST),
    "get_usage_trend": lambda: usage.get_usage_trend(30),
}
CHECKED = "find_metric_drift"

# The same reports as they were before there were rollups, and the indexes that they used.
_RAW = """
-- name: get_top_skills()
SELECT skill_id, count(*) AS uses FROM usage_events
WHERE tenant_id = %(tenant_id)s AND skill_id IS NOT NULL AND created_at >= now() - interval '30 days'
GROUP BY skill_id ORDER BY count(*) DESC, skill_id LIMIT 10;

-- name: count_uses_by_day()
SELECT date_trunc('day', created_at, 'UTC') AS day, count(*) AS uses FROM usage_events
WHERE tenant_id = %(tenant_id)s AND skill_id = '1' AND created_at >= now() - interval '90 days'
GROUP BY 1 ORDER BY 1;

-- name: get_cost_trend()
SELECT date_trunc('day', created_at, 'UTC') AS day, sum(estimated_cost_microcents), count(*) FROM token_measurements
WHERE tenant_id = %(tenant_id)s AND skill_id = '1' AND created_at >= now() - interval '30 days'
GROUP BY 1 ORDER BY 1;

-- name: get_skill_cost_stats()
SELECT model_name, count(*) FROM token_measurements
WHERE tenant_id = %(tenant_id)s AND skill_id = '1'
GROUP BY model_name;

-- name: get_usage_trend()
SELECT date_trunc('day', created_at, 'UTC') AS day, count(*) AS uses FROM usage_events
WHERE tenant_id = %(tenant_id)s AND created_at >= now() - interval '30 days'
GROUP BY 1 ORDER BY 1;

-- name: find_metric_drift()
SELECT s.id FROM skills AS s
LEFT JOIN (
    SELECT skill_id, count(*) AS events FROM usage_events WHERE tenant_id = %(tenant_id)s GROUP BY skill_id
) AS e ON e.skill_id = s.id
LEFT JOIN (
    SELECT skill_id, count(estimated_cost_microcents) AS priced, sum(estimated_cost_microcents) AS cost
    FROM token_measurements WHERE tenant_id = %(tenant_id)s GROUP BY skill_id
) AS m ON m.skill_id = s.id
WHERE s.tenant_id = %(tenant_id)s
AND (s.total_uses < e.events OR s.priced_measurement_count <> m.priced OR s.token_cost_sum_microcents <> m.cost);
"""
_RAW_INDEXES = {
    "bench_events_skill_idx": "usage_events (tenant_id, skill_id, created_at)",
    "bench_events_created_idx": "usage_events (tenant_id, created_at, skill_id)",
    "bench_measurements_idx": "token_measurements (tenant_id, skill_id, created_at)",
}

# What record_usage_event was before there were rollups. The rest of it is a database whose table skills has the CHECKs
# and the generated columns that it had then.
_FORMER = """
-- name: record_usage_event(id, tool_name, skill_id, user_id, metadata, created_at)
-- Example: id = NULL, tool_name = 'example', metadata = NULL, created_at = NULL
WITH recorded AS (
    INSERT INTO usage_events (tenant_id, id, tool_name, skill_id, user_id, metadata, created_at)
    VALUES (
        %(tenant_id)s, coalesce(%(id)s::uuid, gen_random_uuid()), %(tool_name)s, %(skill_id)s, %(user_id)s,
        %(metadata)s::jsonb, date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now()))
    )
    ON CONFLICT (tenant_id, id) DO NOTHING
    RETURNING skill_id
),

counted AS (
    UPDATE skills AS s
    SET total_uses = coalesce(s.total_uses, 0) + 1, metrics_updated_at = date_trunc('milliseconds', now())
    FROM recorded
    WHERE s.tenant_id = %(tenant_id)s AND s.id = recorded.skill_id
)

SELECT count(*) > 0 AS recorded FROM recorded;
"""
_FORMER_SKILLS = """
ALTER TABLE skills
DROP COLUMN average_rating,
DROP COLUMN positive_feedback_pct,
DROP COLUMN avg_token_cost_microcents,
ADD COLUMN average_rating INTEGER GENERATED ALWAYS AS (
    div(200 * rating_sum::NUMERIC + rating_count, 2 * nullif(rating_count, 0)::NUMERIC)::INTEGER
) STORED,
ADD COLUMN positive_feedback_pct INTEGER GENERATED ALWAYS AS (
    div(
        201 * thumbs_up_count::NUMERIC + thumbs_down_count,
        2 * nullif(thumbs_up_count + thumbs_down_count, 0)::NUMERIC
    )::INTEGER
) STORED,
ADD COLUMN avg_token_cost_microcents BIGINT GENERATED ALWAYS AS (
    div(
        2 * token_cost_sum_microcents::NUMERIC + priced_measurement_count,
        2 * nullif(priced_measurement_count, 0)::NUMERIC
    )::BIGINT
) STORED,
ADD CHECK (status IN ('draft', 'pending_review', 'published', 'archived')),
ADD CHECK (array_position(tags, NULL) IS NULL),
ADD CHECK (hours_saved >= 0),
ADD CHECK (published_version >= 1),
ADD CHECK (total_uses >= 0),
ADD CHECK (rating_count >= 0),
ADD CHECK (rating_sum BETWEEN rating_count AND 5 * rating_count),
ADD CHECK (
    thumbs_up_count >= 0 AND thumbs_down_count >= 0 AND total_feedback >= thumbs_up_count + thumbs_down_count
),
ADD CHECK (priced_measurement_count >= 0 AND token_cost_sum_microcents >= 0)
"""


def run(bench: Bench) -> Topic:
    """Measure the reports at each size, then prune the largest organisation and ask again."""
    sizes = bench.size((10_000, 50_000), (100_000, 1_000_000, 4_000_000))
    largest = f"events-{sizes[-1]}"
    loaded = {}
    with skilldb.connect(bench.service_dsn, max_size=1, statement_timeout=0) as db:
        for size in sizes:
            tenant = db.tenant(f"events-{size}")
            _load(bench, size)
            loaded[size] = timed(lambda tenant=tenant: _roll_up(tenant))  # type: ignore[misc]
            say(f"  {size:,} events rolled up in {loaded[size]:.1f} s")
        with bench.admin() as conn:
            conn.execute(b"VACUUM (ANALYZE)")
        rolled = {name: _by_events(bench, db, sizes, build, 5, 20) for name, build in REPORTS.items()}
        rolled[CHECKED] = _by_events(bench, db, sizes, metrics.find_metric_drift, 1, 1)
        raw_queries = queries.parse(_RAW, "raw")
        with _indexes(bench):
            raw = {
                name: _by_events(bench, db, sizes, lambda name=name: Statement(ROWS, raw_queries[name]()), 1, 1)  # type: ignore[misc]
                for name in rolled
            }
        tenant = db.tenant(largest)
        before = [tenant.execute(build()) for build in REPORTS.values()]
        pruned = 0

        def prune() -> None:
            nonlocal pruned
            pruned = sum(done.rows for done in retention.prune(tenant, event_days=30, measurement_days=30))

        pruning = timed(prune)
        after = [tenant.execute(build()) for build in REPORTS.values()]
        drifted = tenant.execute(metrics.find_metric_drift())
    call = _call(bench)
    most = f"{sizes[-1]:,} events against {sizes[0]:,}"
    return Topic(
        "Reports as the events grow",
        f"Organisations of {SKILLS:,} skills with events of {DAYS} days and half as many measurements, one connection over a "
        "Unix socket. Raw: the same report computed from the events or measurements, with the indexes that it used.",
        [
            *(at_most(f"{name}, {most}", 1.3, _ratio(rolled[name], sizes)) for name in REPORTS),
            *(
                at_most(f"{name}, {sizes[-1]:,} events", 10, spread(s * 1000 for s in rolled[name][sizes[-1]]), " ms")
                for name in REPORTS
            ),
            at_most(
                f"{CHECKED}, {sizes[-1]:,} events", 1_000, spread(s * 1000 for s in rolled[CHECKED][sizes[-1]]), " ms"
            ),
            Check(
                work=f"the reports after pruning {pruned:,} raw rows older than 30 days",
                target="equal answers",
                measured="equal" if before == after and not drifted else "different",
                met=before == after and not drifted,
            ),
            at_most(
                "record_usage_event with rollups against record_usage_event before there were rollups",
                1.1,
                ratio(call["with rollups"], call["before"]),
            ),
        ],
        [
            *(
                _both(f"{name}, milliseconds", rolled[name], raw[name])
                for name in rolled
            ),
            Table(
                "Work in the background",
                ["work", "rows", "seconds", "rows per second"],
                [
                    *(
                        [f"rebuild the rollups of {size:,} events", f"{size * 3 // 2:,}", short(loaded[size]),
                         f"{size * 3 / 2 / loaded[size]:,.0f}"]
                        for size in sizes
                    ),
                    ["prune, 10,000 rows in a transaction", f"{pruned:,}", short(pruning), f"{pruned / pruning:,.0f}"],
                ],
            ),
            Table(
                "record_usage_event, microseconds",
                ["", "us", "against before"],
                [
                    [name, spread(s * 1e6 for s in seconds), ratio(seconds, call["before"])]
                    for name, seconds in call.items()
                ],
                "Before: the table skills has nine CHECKs and three generated columns, and nothing is rolled up.",
            ),
        ],
        [
            Picture(
                "rollups.png",
                "milliseconds of each report by the number of events, from rollups and from raw rows",
                lambda axes: _draw(axes, rolled, raw),
            )
        ],
    )


def _load(bench: Bench, size: int) -> None:
    with bench.admin() as conn:
        say(f"  {size:,} events loaded in {timed(lambda: conn.execute(_EVENTS.format(n=size).encode())):.1f} s")
        conn.execute(b"VACUUM (ANALYZE) usage_events, token_measurements, skills")


def _roll_up(tenant: skilldb.Tenant) -> None:
    for _ in rollups.recount(tenant, repair=True):
        pass
    for _ in rollups.fold(tenant):
        pass
    list(drift.check([tenant], repair=True))


def _by_events(
    bench: Bench,
    db: skilldb.Database,
    sizes: tuple[int, ...],
    build: Callable[[], Statement[Any]],
    quick: int,
    full: int,
) -> Times:
    return by_size(bench, lambda size: db.tenant(f"events-{size}"), sizes, lambda size: build(), quick, full)


@contextmanager
def _indexes(bench: Bench) -> Iterator[None]:
    """The indexes of the reports on raw rows."""
    with bench.admin() as conn:
        for name, on in _RAW_INDEXES.items():
            say(f"  {on} built in {timed(lambda on=on, name=name: conn.execute(f'CREATE INDEX {name} ON {on}'.encode())):.1f} s")  # type: ignore[misc]
        conn.execute(b"VACUUM (ANALYZE) usage_events, token_measurements")
        try:
            yield
        finally:
            conn.execute(f"DROP INDEX {', '.join(_RAW_INDEXES)}".encode())


def _call(bench: Bench) -> dict[str, list[float]]:
    """Seconds of record_usage_event: with rollups, without them, and in a database as it was before."""
    with psycopg.connect(make_conninfo(bench.admin_dsn, dbname="postgres"), autocommit=True) as conn:
        conn.execute(b"CREATE DATABASE before OWNER skilldb_owner TEMPLATE template0")
    raise NotImplementedError


def _ratio(times: Times, sizes: tuple[int, ...]) -> Any:
    return ratio(times[sizes[-1]], times[sizes[0]])
