"""Compares reports on rollups with reports on raw rows as the events grow, and measures pruning and one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from matplotlib.axes import Axes
from psycopg.conninfo import make_conninfo

import skilldb
from benchmarks import data
from benchmarks.data import SMALL
from benchmarks.growth import Times
from benchmarks.harness import (
    Bench,
    Check,
    Picture,
    Spread,
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
from skilldb.admin import migrate, retention
from skilldb.models import NewUsageEvent
from skilldb.repositories import metrics, tokens, usage
from skilldb.statement import ROWS, VALUE, Statement

SKILLS = 2_000
DAYS = 90
HOTTEST = "1"

# An organisation with 2,000 skills. One skill in a hundred gets a fifth of all uses.
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
    least, most = sizes[0], sizes[-1]
    call = _call(bench)
    with skilldb.connect(bench.service_dsn, max_size=1, statement_timeout=0) as db:
        tenants = {size: db.tenant(f"events-{size}") for size in sizes}
        rebuilt = {}
        for size, tenant in tenants.items():
            _load(bench, size)
            rebuilt[size] = _timed("rolled up", lambda tenant=tenant: data.roll_up(tenant))  # type: ignore[misc]
        with bench.admin() as conn:
            conn.execute(b"VACUUM (ANALYZE)")
        rolled = {name: _by_events(bench, tenants, build, 20) for name, build in REPORTS.items()}
        rolled[CHECKED] = _by_events(bench, tenants, metrics.find_metric_drift, 1)
        former = queries.parse(_RAW, "raw")
        with _indexes(bench):
            raw = {
                name: _by_events(bench, tenants, lambda name=name: Statement(ROWS, former[name]()), 1)  # type: ignore[misc]
                for name in rolled
            }
        before = [tenants[most].execute(build()) for build in REPORTS.values()]
        deleted: list[retention.Pruned] = []
        pruning = _timed(
            "pruned", lambda: deleted.extend(retention.prune(tenants[most], event_days=30, measurement_days=30))
        )
        same = before == [tenants[most].execute(build()) for build in REPORTS.values()]
        exact = tenants[most].execute(metrics.find_metric_drift()) == []
    pruned = sum(each.rows for each in deleted)
    grown = f"{most:,} events against {least:,}"
    return Topic(
        "Reports as the events grow",
        f"Organisations of {SKILLS:,} skills with the events of {DAYS} days and half as many measurements, one "
        "connection over a Unix socket. Raw rows: the same report, computed from the events or measurements, with the "
        "indexes that it used before there were rollups.",
        [
            *(at_most(f"{name}, {grown}", 1.3, ratio(rolled[name][most], rolled[name][least])) for name in REPORTS),
            *(at_most(f"{name}, {most:,} events", 10, _milliseconds(rolled[name][most]), " ms") for name in REPORTS),
            at_most(f"{CHECKED}, {most:,} events", 1_000, _milliseconds(rolled[CHECKED][most]), " ms"),
            Check(
                work=f"the reports after pruning {pruned:,} raw rows, those older than 30 days",
                target="equal answers",
                measured="equal" if same and exact else "different",
                met=same and exact,
            ),
            at_most(
                "record_usage_event with rollups, against before there were rollups",
                1.1,
                ratio(call["with rollups"], call["before"]),
            ),
        ],
        [
            *(_both(name, rolled[name], raw[name]) for name in rolled),
            Table(
                "In the background",
                ["work", "raw rows", "seconds", "raw rows per second"],
                [
                    *(
                        ["rebuild all rollups", f"{size * 3 // 2:,}", short(seconds), short(size * 3 / 2 / seconds)]
                        for size, seconds in rebuilt.items()
                    ),
                    ["prune, 10,000 rows in a transaction", f"{pruned:,}", short(pruning), short(pruned / pruning)],
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


def _timed(what: str, work: Callable[[], object]) -> float:
    seconds = timed(work)
    say(f"  {what} in {seconds:.1f} s")
    return seconds


def _load(bench: Bench, size: int) -> None:
    with bench.admin() as conn:
        _timed(f"{size:,} events loaded", lambda: conn.execute(_EVENTS.format(n=size).encode()))
        conn.execute(b"VACUUM (ANALYZE) usage_events, token_measurements, skills")


def _by_events(
    bench: Bench, tenants: Mapping[int, skilldb.Tenant], build: Callable[[], Statement[Any]], full: int
) -> Times:
    """Seconds of one execute, by the number of events. The organisations take turns."""
    count = bench.size(1, full)

    def some(size: int) -> float:
        return timed(lambda: [tenants[size].execute(build()) for _ in range(count)]) / count

    found = interleaved({str(size): lambda size=size: some(size) for size in tenants})  # type: ignore[misc]
    return {size: found[str(size)] for size in tenants}


@contextmanager
def _indexes(bench: Bench) -> Iterator[None]:
    """The indexes of the reports on raw rows."""
    with bench.admin() as conn:
        for name, on in _RAW_INDEXES.items():
            conn.execute(f"CREATE INDEX {name} ON {on}".encode())
        conn.execute(b"VACUUM (ANALYZE) usage_events, token_measurements")
        try:
            yield
        finally:
            conn.execute(f"DROP INDEX {', '.join(_RAW_INDEXES)}".encode())


def _database(bench: Bench, name: str) -> Bench:
    """Another database of the server, with the small organisation."""
    with psycopg.connect(bench.admin_dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} OWNER skilldb_owner".encode())
    admin, owner, service = (
        make_conninfo(dsn, dbname=name) for dsn in (bench.admin_dsn, bench.owner_dsn, bench.service_dsn)
    )
    list(migrate.migrate(owner))
    found = replace(bench, admin_dsn=admin, owner_dsn=owner, service_dsn=service)
    data.load_small(found)
    return found


def _call(bench: Bench) -> dict[str, list[float]]:
    """Seconds of record_usage_event: with rollups, and in a database as it was before there were any."""
    after, former = _database(bench, "after"), _database(bench, "before")
    with former.admin() as conn:
        conn.execute(_FORMER_SKILLS.encode())
        conn.execute(b"VACUUM (ANALYZE) skills")
    lock = queries.load("usage")["lock_event"]
    record = queries.parse(_FORMER, "former")["record_usage_event"]
    count = bench.size(50, 2_000)

    def before() -> Statement[bool]:
        event = _event(bench)
        return Statement(
            VALUE,
            lock(id=None, user_id=event.user_id, skill_id=event.skill_id),
            record(
                id=None,
                tool_name=event.tool_name,
                skill_id=event.skill_id,
                user_id=event.user_id,
                metadata=None,
                created_at=None,
            ),
        )

    def some(tenant: skilldb.Tenant, build: Callable[[], Statement[bool]]) -> float:
        statements = [build() for _ in range(count)]
        return timed(lambda: [tenant.execute(statement) for statement in statements]) / count

    with (
        skilldb.connect(after.service_dsn, max_size=1) as new,
        skilldb.connect(former.service_dsn, max_size=1) as old,
    ):
        return interleaved(
            {
                "with rollups": lambda: some(new.tenant(SMALL), lambda: usage.record_usage_event(_event(bench))),
                "before": lambda: some(old.tenant(SMALL), before),
            }
        )


def _event(bench: Bench) -> NewUsageEvent:
    return NewUsageEvent(
        tool_name="editor",
        skill_id=str(bench.random.randint(1, data.SKILLS)),
        user_id=str(bench.random.randint(1, data.USERS)),
    )


def _both(what: str, rolled: Times, raw: Times) -> Table:
    return Table(
        f"{what}, milliseconds",
        ["events", "from rollups", "from raw rows", "raw / rollups"],
        [
            [f"{size:,}", _milliseconds(rolled[size]), _milliseconds(raw[size]), ratio(raw[size], rolled[size])]
            for size in rolled
        ],
    )


def _milliseconds(seconds: Sequence[float]) -> Spread:
    return spread(s * 1000 for s in seconds)


def _draw(axes: Axes, rolled: Mapping[str, Times], raw: Mapping[str, Times]) -> None:
    """Draw two lines of one colour for each report, with logarithmic axes: solid from rollups, dashed from raw rows."""
    for number, name in enumerate(rolled):
        for times, style in ((rolled[name], "-"), (raw[name], "--")):
            found = [_milliseconds(times[size]).median for size in times]
            label = name if style == "-" else None
            axes.plot(list(times), found, style, color=f"C{number}", marker="o", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("events; solid: from rollups, dashed: from raw rows")
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8)
