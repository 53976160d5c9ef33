"""Times each question that a service asks at three sizes of an organisation, and names the indexes that answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

import skilldb
from benchmarks import data
from benchmarks.harness import ROUNDS, Bench, Table, Topic, interleaved, say, short, spread, timed
from skilldb import guards
from skilldb.admin import explain
from skilldb.repositories import (
    benchmarks,
    feedback,
    metrics,
    ratings,
    retention,
    rollups,
    skills,
    tenants,
    tokens,
    usage,
    users,
    views,
)
from skilldb.statement import Statement

# An organisation of {n} skills: a tenth as many users and benchmark runs, twice as many versions, feedback items and
# views, five times as many ratings and measurements, ten times as many events. The square of a random number chooses
# the skill, so a few have many rows. Skill s1 and user u1 have the most.
_DATA = """
INSERT INTO tenants (id, name, slug) VALUES ('ask-{n}', 'Ask {n}', 'ask-{n}');

CREATE TEMPORARY TABLE words ON COMMIT DROP AS
SELECT w, translate(left(md5(w::text), 3 + w % 6), '0123456789', 'ghijklmnop') AS word
FROM generate_series(0, 4999) AS w;
ALTER TABLE words ADD PRIMARY KEY (w);

CREATE TEMPORARY TABLE texts ON COMMIT DROP AS
SELECT s, string_agg(word, ' ') AS text
FROM (
    SELECT s, floor(5000 * random() ^ 3)::integer AS w
    FROM generate_series(1, {n}) AS g (s), generate_series(1, 40) AS h (k)
) AS chosen
INNER JOIN words USING (w)
GROUP BY s;

INSERT INTO users (tenant_id, id, email, name, created_at)
SELECT 'ask-{n}', 'u' || u, 'u' || u || '@ask-{n}.example', 'User ' || u, now() - interval '400 days'
FROM generate_series(1, {n} / 10) AS u;

INSERT INTO skills (
    tenant_id, id, name, slug, description, category, tags, status, author_id, created_at, updated_at, edited_at
)
SELECT
    'ask-{n}', 's' || s, split_part(text, ' ', 1) || ' ' || split_part(text, ' ', 2) || ' ' || s, 'skill-' || s,
    text, 'category ' || s % 20, ARRAY['tag ' || s % 50, 'tag ' || s % 7],
    CASE WHEN s % 10 = 2 THEN 'draft' ELSE 'published' END, 'u' || 1 + s % ({n} / 10),
    now() - interval '400 days', at, at
FROM texts, LATERAL (SELECT date_trunc('milliseconds', now() - interval '300 days' * s / {n})) AS t (at);

INSERT INTO skill_versions (
    tenant_id, id, skill_id, version, content_url, content_hash, content_type, name, description, created_at
)
SELECT
    'ask-{n}', 's' || s || '-' || v, 's' || s, v, s || '/' || v, repeat('0', 64), 'text/markdown', 'Skill', 'It',
    now() - interval '301 days'
FROM generate_series(1, {n}) AS g (s), generate_series(1, 2) AS h (v);

UPDATE skills SET published_version = 2, published_version_id = id || '-2' WHERE tenant_id = 'ask-{n}';

INSERT INTO user_skill_views (tenant_id, user_id, skill_id, last_viewed_at, last_viewed_version, view_count)
SELECT 'ask-{n}', 'u' || u, 's' || 1 + (u * 31 + k * 7) % {n}, now() - interval '1 day' * (k % 60), 1 + k % 2, 2
FROM generate_series(1, {n} / 10) AS g (u), generate_series(1, 20) AS h (k)
ON CONFLICT DO NOTHING;

INSERT INTO ratings (tenant_id, skill_id, user_id, rating, created_at, updated_at)
SELECT DISTINCT ON (skill, person) 'ask-{n}', 's' || skill, 'u' || person, 1 + r % 5, at, at
FROM generate_series(1, 5 * {n}) AS g (r), LATERAL (
    SELECT
        1 + floor({n} * random() ^ 2)::integer AS skill, 1 + floor({n} / 10 * random())::integer AS person,
        now() - interval '300 days' * r / (5 * {n}) AS at
) AS c;

INSERT INTO usage_events (tenant_id, tool_name, skill_id, user_id, created_at)
SELECT
    'ask-{n}', 'tool ' || e % 20, 's' || 1 + floor({n} * random() ^ 2), 'u' || 1 + floor({n} / 10 * random() ^ 2),
    now() - interval '90 days' * e / (10 * {n})
FROM generate_series(1, 10 * {n}) AS e;

INSERT INTO token_measurements (
    tenant_id, skill_id, user_id, model_name, input_tokens, output_tokens, total_tokens, estimated_cost_microcents,
    latency_ms, created_at
)
SELECT
    'ask-{n}', 's' || 1 + floor({n} * random() ^ 2), 'u' || 1 + floor({n} / 10 * random() ^ 2), 'model ' || m % 4,
    1000, 200, 1200, 600000, 700, now() - interval '90 days' * m / (5 * {n})
FROM generate_series(1, 5 * {n}) AS m;

INSERT INTO skill_feedback (
    tenant_id, id, skill_id, user_id, feedback_type, sentiment, comment, example_input, expected_output, status,
    reviewed_by, reviewed_at, created_at
)
SELECT
    'ask-{n}', 'f' || f, 's' || 1 + floor({n} * random() ^ 2), 'u' || 1 + floor({n} / 10 * random() ^ 2), kind,
    CASE kind WHEN 'thumbs_up' THEN 1 WHEN 'thumbs_down' THEN -1 END, 'Comment ' || f, 'in', 'out', status,
    CASE WHEN status <> 'pending' THEN 'u1' END, CASE WHEN status <> 'pending' THEN now() END,
    now() - interval '300 days' * f / (2 * {n})
FROM generate_series(1, 2 * {n}) AS g (f), LATERAL (
    SELECT
        (ARRAY['thumbs_up', 'thumbs_down', 'suggestion', 'training_example', 'bug_report'])[1 + f % 5] AS kind,
        (ARRAY['pending', 'accepted', 'dismissed', 'implemented'])[1 + f % 4] AS status
) AS c;

INSERT INTO benchmark_runs (
    tenant_id, id, skill_id, triggered_by, status, models, started_at, completed_at, created_at
)
SELECT
    'ask-{n}', 'b' || b, 's' || 1 + b * 7 % {n}, 'u1', CASE WHEN open THEN 'pending' ELSE 'completed' END,
    ARRAY['model 0', 'model 1', 'model 2'], CASE WHEN NOT open THEN at END, CASE WHEN NOT open THEN at END, at
FROM generate_series(1, {n} / 10) AS g (b), LATERAL (
    SELECT now() - interval '300 days' * b / ({n} / 10) AS at, b % 50 = 1 AS open
) AS c;

INSERT INTO benchmark_results (
    tenant_id, id, benchmark_run_id, model_name, model_provider, test_case_index, total_tokens, latency_ms,
    estimated_cost_microcents, quality_score, matches_expected, created_at
)
SELECT
    b.tenant_id, b.id || '-' || m || '-' || c, b.id, 'model ' || m, 'anthropic', c, 900, 700, 1000 * (m + 1),
    60 + 10 * m + c, c > 0, b.created_at
FROM benchmark_runs AS b, generate_series(0, 2) AS g (m), generate_series(0, 3) AS h (c)
WHERE b.tenant_id = 'ask-{n}' AND b.status = 'completed';
"""


Build = Callable[[], Statement[Any]]

TEXT = """\
`make bench` writes this page. It lists the questions that a service, a moderator, an analyst or an administrator asks,
the function that answers each, the indexes that serve it, and its time in organisations of three sizes: milliseconds
of one call over a Unix socket, the median of {rounds} rounds. An organisation of 10,000 skills has a tenth as many
users and benchmark runs, twice as many versions, feedback items and views, five times as many ratings and
measurements, and ten times as many events. Pages have their default size. The plans are those of the largest one.

Where a question reads a whole organisation, or all rows of one skill or user, its time grows with them: the last
column shows it. Reports read the rollups of months and days, so they grow with skills and models, not with events.
"""


def _when(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


MODULES = (benchmarks, feedback, metrics, ratings, retention, rollups, skills, tenants, tokens, usage, users, views)

# By subject: the question, and the call that answers it.
QUESTIONS: Mapping[str, Mapping[str, Build]] = {
    "Organisations and people": {
        "Which organisation is this?": tenants.get_tenant,
        "Who is this user?": lambda: users.get_user("u1"),
    },
    "Skills and versions": {
        "What is this skill?": lambda: skills.get_skill("s1"),
        "Which skill has this slug?": lambda: skills.get_skill_by_slug("skill-1"),
        "Which skills changed last?": skills.list_skills,
        "Which skills of a category changed last?": lambda: skills.list_skills(category="category 1"),
        "What is this version?": lambda: skills.get_skill_version("s1-1"),
        "Which number has this version?": lambda: skills.get_version_number("s1-1"),
        "Which versions has a skill?": lambda: skills.list_skill_versions("s1"),
    },
    "Ratings and feedback": {
        "Who rated a skill, and how?": lambda: ratings.list_ratings("s1"),
        "What do people say about a skill?": lambda: feedback.list_feedback("s1"),
        "How much feedback came since a time?": lambda: feedback.count_feedback_since("s1", _when(30)),
        "Which examples can a skill learn from?": lambda: feedback.list_training_examples("s1"),
    },
    "Use and cost": {
        "How often was a skill used each day?": lambda: usage.count_uses_by_day("s1"),
        "Which skills are used most?": usage.get_top_skills,
        "How often were all tools and skills used each day?": usage.get_usage_trend,
        "What does a skill cost?": lambda: tokens.get_skill_cost_stats("s1"),
        "What did a skill cost each day?": lambda: tokens.get_cost_trend("s1"),
    },
    "Benchmark runs": {
        "How did the last run of a skill end?": lambda: benchmarks.get_latest_benchmark_run("s1"),
        "Which model is best in a run?": lambda: benchmarks.compare_models("b2"),
    },
    "Views": {
        "When did a user view a skill?": lambda: views.get_user_view("u1", "s32"),
        "Which of these skills has a user viewed?": lambda: views.get_user_views_for_skills("u1", ["s32", "s39"]),
        "Which skills did a user view last?": lambda: views.list_recently_viewed("u1"),
        "What's new for a user?": lambda: views.get_whats_new_for_user("u1"),
        "What changed on a skill since the last view?": lambda: views.detect_changes("u1", "s32"),
    },
    "Maintenance": {
        "Which counters differ from their rows?": metrics.find_metric_drift,
        "Which day has rows to compare?": lambda: rollups.get_next_day(_when(30).date()),
        "Which rollups of uses differ on a day?": lambda: rollups.find_use_drift(_when(3).date()),
        "Which rollups of cost differ on a day?": lambda: rollups.find_cost_drift(_when(3).date()),
        "How many rows would pruning delete?": lambda: retention.count_prunable(event_days=80, measurement_days=80),
    },
}


def run(bench: Bench) -> Topic:
    """Load the organisations, and ask each of them each question in turn."""
    sizes = bench.size((100, 1_000), (1_000, 10_000, 100_000))
    with skilldb.connect(bench.service_dsn, max_size=1, statement_timeout=0) as db:
        asked = {size: db.tenant(f"ask-{size}") for size in sizes}
        for size, tenant in asked.items():
            say(f"  {size:,} skills loaded in {timed(lambda: _load(bench, size, tenant)):.1f} s")  # noqa: B023
        with bench.admin() as conn:
            conn.execute(b"VACUUM (ANALYZE)")
        tables = [
            Table(
                subject,
                ["question", "function", "indexes", *(f"{size:,} skills" for size in sizes)],
                [
                    [
                        question,
                        f"`{_name(build())}`",
                        ", ".join(f"`{index}`" for index in _indexes(bench, f"ask-{sizes[-1]}", build())) or "none",
                        *_times(bench, asked, build),
                    ]
                    for question, build in questions.items()
                ],
                texts=3,
            )
            for subject, questions in QUESTIONS.items()
        ]
    return Topic("Questions and their cost", TEXT.format(rounds=ROUNDS), [], tables, page="queries.md")


def _name(statement: Statement[Any]) -> str:
    """The function that built the statement: `skills.get_skill`. Its last query has its name."""
    name = statement.steps[-1].query.name
    (module,) = [module for module in MODULES if hasattr(module, name)]
    return f"{module.__name__.rpartition('.')[2]}.{name}"


def _load(bench: Bench, size: int, tenant: skilldb.Tenant) -> None:
    with bench.admin() as conn, conn.transaction():
        conn.execute(_DATA.replace("{n}", str(size)).encode())
    with bench.admin() as conn:
        conn.execute(b"VACUUM (ANALYZE)")
    data.roll_up(tenant)


def _times(bench: Bench, asked: Mapping[int, skilldb.Tenant], build: Build) -> list[str]:
    """The median milliseconds of one call, by size. The organisations take turns."""

    def one(tenant: skilldb.Tenant) -> Callable[[], float]:
        """Ask for some 20 milliseconds, and at least twice."""
        count = max(2, round(0.02 / max(timed(lambda: tenant.execute(build())), 0.0005)))
        return lambda: timed(lambda: [tenant.execute(build()) for _ in range(count)]) / count

    found = interleaved({str(size): one(tenant) for size, tenant in asked.items()})
    return [short(spread(found[str(size)]).median * 1000) for size in asked]


def _indexes(bench: Bench, tenant: str, statement: Statement[Any]) -> list[str]:
    """The indexes in the generic plans of the statement's steps, as the service uses them."""
    found: dict[str, None] = {}
    with psycopg.connect(bench.service_dsn) as conn:
        guards.set_tenant(conn, tenant)
        for step in statement.steps:
            plan = explain.analyse(conn, step.query, {**step.params, "tenant_id": tenant}, generic=True, as_json=True)
            nodes = [plan["Plan"]]
            while nodes:
                node = nodes.pop()
                nodes += node.get("Plans", [])
                if "Index Name" in node:
                    found[node["Index Name"]] = None
        conn.rollback()
    return sorted(found)
