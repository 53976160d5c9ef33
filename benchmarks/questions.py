"""Times each question that a service asks at three sizes of an organisation, and names the indexes that answer it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

import skilldb
from benchmarks.harness import ROUNDS, Bench, Table, Topic, interleaved, say, short, spread, timed
from skilldb import guards
from skilldb.admin import explain
from skilldb.repositories import (
    benchmarks,
    feedback,
    imports,
    metrics,
    ratings,
    retention,
    rollups,
    search,
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

INSERT INTO users (tenant_id, id, email, name, role, created_at)
SELECT
    'ask-{n}', 'u' || u, 'u' || u || '@ask.example', 'User ' || u, CASE WHEN u % 20 = 0 THEN 'admin' ELSE 'member' END,
    now() - interval '400 days'
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
    'ask-{n}', 's' || s || '-' || v, 's' || s, v, s || '/' || v, '{manifest_hash}', 'text/markdown', 'Skill', 'It',
    now() - interval '301 days'
FROM generate_series(1, {n}) AS g (s), generate_series(1, 2) AS h (v);

INSERT INTO skill_search (tenant_id, skill_id, status, category, tags, name_key, words)
SELECT
    tenant_id, id, status, category, tags, search_name_key(name),
    search_document(name, slug, tags, description, 'User ' || substr(author_id, 2))
FROM skills WHERE tenant_id = 'ask-{n}';

INSERT INTO skill_contents (tenant_id, hash, body, is_binary)
VALUES ('ask-{n}', '{hello}', 'hello', false), ('ask-{n}', '{manifest_hash}', '{manifest}', false);

INSERT INTO skill_sources (tenant_id, skill_id, source, path, content_hash, imported)
SELECT 'ask-{n}', 's' || s, 'a repository', 'skills/' || s, '{manifest_hash}', '{}'
FROM generate_series(1, {n} / 2) AS g (s);

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

# What the calls that record rows would have added up.
_SUMS = (
    *(
        f"""
        INSERT INTO {table} (tenant_id, {key}, month, uses_to_day)
        SELECT tenant_id, {key}, date_trunc('month', day::timestamp)::date, sum_uses(uses_on(day, uses))
        FROM (
            SELECT tenant_id, {key}, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS uses
            FROM usage_events
            WHERE tenant_id = 'ask-{{n}}'
            GROUP BY 1, 2, 3
        ) AS d
        GROUP BY 1, 2, 3
        """
        for table, key in (
            ("skill_monthly_uses", "skill_id"),
            ("tool_monthly_uses", "tool_name"),
            ("user_monthly_uses", "user_id"),
        )
    ),
    """
    INSERT INTO skill_daily_costs (
        tenant_id, skill_id, day, model_name, measurements, priced_measurements, cost_microcents,
        input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
    )
    SELECT
        tenant_id, skill_id, (created_at AT TIME ZONE 'UTC')::date, model_name,
        count(*), count(*), sum(estimated_cost_microcents),
        sum(input_tokens), sum(output_tokens), sum(total_tokens), count(*), sum(latency_ms)
    FROM token_measurements
    WHERE tenant_id = 'ask-{n}'
    GROUP BY 1, 2, 3, 4
    """,
    """
    UPDATE skills AS s
    SET
        total_uses = coalesce(e.uses, 0), rating_count = coalesce(r.ratings, 0), rating_sum = coalesce(r.total, 0),
        average_rating = mean_rating(r.total, r.ratings),
        total_feedback = coalesce(f.items, 0), thumbs_up_count = coalesce(f.up, 0),
        thumbs_down_count = coalesce(f.down, 0), positive_feedback_pct = positive_percentage(f.items, f.up, f.down),
        priced_measurement_count = coalesce(m.priced, 0), token_cost_sum_microcents = coalesce(m.cost, 0),
        avg_token_cost_microcents = mean_cost(m.cost, m.priced), metrics_updated_at = now()
    FROM skills AS t
    LEFT JOIN (
        SELECT skill_id, sum(uses_to_day[31])::bigint AS uses
        FROM skill_monthly_uses WHERE tenant_id = 'ask-{n}' GROUP BY 1
    ) AS e ON e.skill_id = t.id
    LEFT JOIN (
        SELECT skill_id, count(*) AS ratings, sum(rating) AS total
        FROM ratings WHERE tenant_id = 'ask-{n}' GROUP BY 1
    ) AS r ON r.skill_id = t.id
    LEFT JOIN (
        SELECT
            skill_id, count(*) AS items, count(*) FILTER (WHERE feedback_type = 'thumbs_up') AS up,
            count(*) FILTER (WHERE feedback_type = 'thumbs_down') AS down
        FROM skill_feedback WHERE tenant_id = 'ask-{n}' GROUP BY 1
    ) AS f ON f.skill_id = t.id
    LEFT JOIN (
        SELECT skill_id, sum(priced_measurements)::bigint AS priced, sum(cost_microcents)::bigint AS cost
        FROM skill_daily_costs WHERE tenant_id = 'ask-{n}' GROUP BY 1
    ) AS m ON m.skill_id = t.id
    WHERE t.tenant_id = 'ask-{n}' AND s.tenant_id = 'ask-{n}' AND s.id = t.id
    """,
)


Build = Callable[[], Statement[Any]]

TEXT = """\
`make bench` writes this page. It lists the questions that a service, a moderator, an analyst or an administrator asks,
the function that answers each, the indexes that serve it, and its time in organisations of three sizes: milliseconds
of one call over a Unix socket, the median of {rounds} rounds. An organisation of 10,000 skills has a tenth as many
users and benchmark runs, twice as many versions, feedback items and views, five times as many ratings and
measurements, and ten times as many events. Pages have their default size. The plans are those of the largest
one; `none` means that the planner reads a small table, or all of a big one.

Where a question reads a whole organisation, or all rows of one skill or user, its time grows with them: the last
column shows it. Reports read the rollups of months and days, so they grow with skills and models, not with events.
"""


# A version with one file, SKILL.md, whose text is "hello".
_HELLO = hashlib.sha256(b"hello").hexdigest()
_MANIFEST = f"{_HELLO}  SKILL.md"
_MANIFEST_HASH = hashlib.sha256(_MANIFEST.encode()).hexdigest()


def _word(number: int) -> str:
    """A word of the descriptions. Word 0 is in nine of ten skills, word 20 in one of ten, word 200 in one of 40."""
    digest = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    return digest[: 3 + number % 6].translate(str.maketrans("0123456789", "ghijklmnop"))


def _when(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


# By subject: the question, the function that answers it, and the call.
QUESTIONS: Mapping[str, Sequence[tuple[str, str, Build]]] = {
    "Organisations and people": [
        ("Which organisation is this?", "tenants.get_tenant", tenants.get_tenant),
        ("Who is this user?", "users.get_user", lambda: users.get_user("u1")),
        ("Who has this email?", "users.get_user_by_email", lambda: users.get_user_by_email("u1@ask.example")),
        ("Who belongs to the organisation?", "users.list_users", users.list_users),
        ("Who are its admins?", "users.list_users", lambda: users.list_users(role="admin")),
    ],
    "Skills and versions": [
        ("What is this skill?", "skills.get_skill", lambda: skills.get_skill("s1")),
        ("Which skill has this slug?", "skills.get_skill_by_slug", lambda: skills.get_skill_by_slug("skill-1")),
        ("What are these 20 skills?", "skills.get_skills", lambda: skills.get_skills(f"s{n}" for n in range(1, 21))),
        ("Which skills changed last?", "skills.list_skills", skills.list_skills),
        (
            "Which skills of two categories changed last?",
            "skills.list_skills",
            lambda: skills.list_skills(category=["category 1", "category 3"]),
        ),
        ("Which skills are there, by name?", "skills.list_skills", lambda: skills.list_skills(sort="name")),
        ("Which skills are used most, ever?", "skills.list_skills", lambda: skills.list_skills(sort="uses")),
        ("Which skills are rated best?", "skills.list_skills", lambda: skills.list_skills(sort="rating")),
        ("Which skills save most hours?", "skills.list_skills", lambda: skills.list_skills(sort="hours_saved")),
        ("Which skills are by this author?", "skills.list_skills", lambda: skills.list_skills(author_id="u1")),
        ("Which skills have a word?", "search.search_skills", lambda: search.search_skills(_word(200))),
        (
            "Which skills have two usual words?",
            "search.search_skills",
            lambda: search.search_skills(f"{_word(20)} {_word(21)}"),
        ),
        (
            "Which skills have a word with this beginning?",
            "search.search_skills",
            lambda: search.search_skills(_word(205)[:3]),
        ),
        ("Which skills have the commonest word?", "search.search_skills", lambda: search.search_skills(_word(0))),
        ("Which skills are similar?", "search.list_similar_skills", lambda: search.list_similar_skills("s1")),
        ("Which categories are there?", "search.list_categories", search.list_categories),
        ("Which tags are there?", "search.list_tags", search.list_tags),
        ("What is this version?", "skills.get_skill_version", lambda: skills.get_skill_version("s1-1")),
        ("Which number has this version?", "skills.get_version_number", lambda: skills.get_version_number("s1-1")),
        ("Which versions has a skill?", "skills.list_skill_versions", lambda: skills.list_skill_versions("s1")),
    ],
    "Imported skills": [
        (
            "Which skills come from a source? (1,000 a page)",
            "imports.list_imported_skills",
            lambda: imports.list_imported_skills("a repository"),
        ),
        ("Whose are these slugs?", "imports.find_slug_owners", lambda: imports.find_slug_owners(["skill-1", "new"])),
        (
            "Was this content published before?",
            "imports.find_earlier_versions",
            lambda: imports.find_earlier_versions(["s1"], ["0" * 64]),
        ),
        (
            "Which contents are not stored yet?",
            "imports.find_missing_contents",
            lambda: imports.find_missing_contents([_HELLO, "0" * 64]),
        ),
        (
            "Which files has a version?",
            "imports.get_version_content",
            lambda: imports.get_version_content("s1-2"),
        ),
    ],
    "Ratings and feedback": [
        ("How did a user rate a skill?", "ratings.get_rating", lambda: ratings.get_rating("u1", "s1")),
        ("Who rated a skill, and how?", "ratings.list_ratings", lambda: ratings.list_ratings("s1")),
        (
            "How did the others rate it?",
            "ratings.list_ratings",
            lambda: ratings.list_ratings("s1", except_user_id="u1"),
        ),
        ("What is this feedback item?", "feedback.get_feedback", lambda: feedback.get_feedback("f1")),
        ("What do people say about a skill?", "feedback.list_feedback", lambda: feedback.list_feedback("s1")),
        ("What must be reviewed next?", "feedback.list_feedback_queue", feedback.list_feedback_queue),
        (
            "Which bug reports must be reviewed next?",
            "feedback.list_feedback_queue",
            lambda: feedback.list_feedback_queue(feedback_type="bug_report"),
        ),
        ("What did a user say?", "feedback.list_user_feedback", lambda: feedback.list_user_feedback("u1")),
        ("How is a skill received?", "feedback.get_feedback_stats", lambda: feedback.get_feedback_stats("s1")),
        (
            "How much feedback came since a time?",
            "feedback.count_feedback_since",
            lambda: feedback.count_feedback_since("s1", _when(30)),
        ),
        (
            "Which examples can a skill learn from?",
            "feedback.list_training_examples",
            lambda: feedback.list_training_examples("s1"),
        ),
    ],
    "Use": [
        ("How much was used in 30 days?", "usage.get_usage_totals", usage.get_usage_totals),
        ("How much was used each day?", "usage.get_usage_trend", usage.get_usage_trend),
        ("How much was used each week?", "usage.get_usage_trend", lambda: usage.get_usage_trend(90, by="week")),
        ("How often was a skill used each day?", "usage.count_uses_by_day", lambda: usage.count_uses_by_day("s1")),
        ("How many people use a skill?", "usage.count_skill_users", lambda: usage.count_skill_users("s1")),
        ("Which skills are used most?", "usage.get_top_skills", usage.get_top_skills),
        ("Which skills are used more than before?", "usage.get_trending_skills", usage.get_trending_skills),
        ("Who uses most?", "usage.get_top_users", usage.get_top_users),
        ("Which tools are used most?", "usage.get_top_tools", usage.get_top_tools),
        ("Who was active last?", "usage.list_active_users", usage.list_active_users),
        (
            "Which events were there? (export, 1,000 a page)",
            "usage.list_usage_events",
            lambda: usage.list_usage_events(since=_when(30)),
        ),
    ],
    "Cost": [
        ("What did everything cost in 30 days?", "tokens.get_cost_totals", tokens.get_cost_totals),
        ("What did everything cost each day?", "tokens.get_total_cost_trend", tokens.get_total_cost_trend),
        ("Which skills cost most?", "tokens.get_cost_by_skill", tokens.get_cost_by_skill),
        ("Which models cost most?", "tokens.get_cost_by_model", tokens.get_cost_by_model),
        ("What does a skill cost?", "tokens.get_skill_cost_stats", lambda: tokens.get_skill_cost_stats("s1")),
        ("What did a skill cost each day?", "tokens.get_cost_trend", lambda: tokens.get_cost_trend("s1")),
        (
            "Which measurements were there? (export, 1,000 a page)",
            "tokens.list_measurements",
            lambda: tokens.list_measurements(since=_when(30)),
        ),
    ],
    "Benchmark runs": [
        ("How did this run end?", "benchmarks.get_benchmark_run", lambda: benchmarks.get_benchmark_run("b2")),
        (
            "How did the last run of a skill end?",
            "benchmarks.get_latest_benchmark_run",
            lambda: benchmarks.get_latest_benchmark_run("s1"),
        ),
        ("Which runs are the newest?", "benchmarks.list_benchmark_runs", benchmarks.list_benchmark_runs),
        (
            "Which runs wait for a worker?",
            "benchmarks.list_benchmark_runs",
            lambda: benchmarks.list_benchmark_runs(status="pending"),
        ),
        ("Which model is best in a run?", "benchmarks.compare_models", lambda: benchmarks.compare_models("b2")),
        (
            "Which model is best over all skills?",
            "benchmarks.get_model_leaderboard",
            benchmarks.get_model_leaderboard,
        ),
    ],
    "Views": [
        ("When did a user view a skill?", "views.get_user_view", lambda: views.get_user_view("u1", "s39")),
        (
            "Which of these skills has a user viewed?",
            "views.get_user_views_for_skills",
            lambda: views.get_user_views_for_skills("u1", ["s39", "s46"]),
        ),
        ("Which skills did a user view last?", "views.list_recently_viewed", lambda: views.list_recently_viewed("u1")),
        ("What's new for a user?", "views.get_whats_new_for_user", lambda: views.get_whats_new_for_user("u1")),
        ("How many skills are new for a user?", "views.count_whats_new", lambda: views.count_whats_new("u1")),
        (
            "What changed on a skill since the last view?",
            "views.detect_changes",
            lambda: views.detect_changes("u1", "s39"),
        ),
    ],
    "Maintenance": [
        ("Which counters differ from their rows?", "metrics.find_metric_drift", metrics.find_metric_drift),
        ("Which skills would a search miss?", "search.find_search_drift", search.find_search_drift),
        (
            "Which day has rows to compare?",
            "rollups.get_next_day",
            lambda: rollups.get_next_day(_when(30).date()),
        ),
        (
            "Which rollups of uses differ on a day?",
            "rollups.find_use_drift",
            lambda: rollups.find_use_drift(_when(3).date()),
        ),
        (
            "Which rollups of cost differ on a day?",
            "rollups.find_cost_drift",
            lambda: rollups.find_cost_drift(_when(3).date()),
        ),
        (
            "How many rows would pruning delete?",
            "retention.count_prunable",
            lambda: retention.count_prunable(event_days=80, measurement_days=80),
        ),
    ],
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
        rows = {
            subject: [
                [
                    question,
                    f"`{function}`",
                    ", ".join(f"`{index}`" for index in _indexes(bench, f"ask-{sizes[-1]}", build())) or "none",
                    *_times({size: lambda t=t, b=build: t.execute(b()) for size, t in asked.items()}),  # type: ignore[misc]
                ]
                for question, function, build in questions
            ]
            for subject, questions in QUESTIONS.items()
        }
        find = {size: lambda size=size: db.find_tenant(f"ask-{size}") for size in asked}
        rows["Organisations and people"].insert(
            0, ["Which organisation has this slug?", "`db.find_tenant`", "`tenants_slug_key`", *_times(find)]
        )
    columns = ["question", "function", "indexes", *(f"{size:,} skills" for size in sizes)]
    tables = [Table(subject, columns, found, texts=3) for subject, found in rows.items()]
    return Topic("Questions and their cost", TEXT.format(rounds=ROUNDS), [], tables, page="queries.md")


def _load(bench: Bench, size: int, tenant: skilldb.Tenant) -> None:
    with bench.admin() as conn, conn.transaction():
        text = _DATA.replace("{n}", str(size)).replace("{hello}", _HELLO)
        conn.execute(text.replace("{manifest}", _MANIFEST).replace("{manifest_hash}", _MANIFEST_HASH).encode())
    with bench.admin() as conn:
        conn.execute(b"VACUUM (ANALYZE)")
        for statement in _SUMS:
            conn.execute(statement.replace("{n}", str(size)).encode())
    assert tenant.execute(metrics.find_metric_drift()) == []


def _times(ask: Mapping[int, Callable[[], object]]) -> list[str]:
    """The median milliseconds of one call, by size. The organisations take turns."""

    def one(call: Callable[[], object]) -> Callable[[], float]:
        """Call for some 20 milliseconds, and at least twice."""
        count = max(2, round(0.02 / max(timed(call), 0.0005)))
        return lambda: timed(lambda: [call() for _ in range(count)]) / count

    found = interleaved({str(size): one(call) for size, call in ask.items()})
    return [short(spread(found[str(size)]).median * 1000) for size in ask]


def _indexes(bench: Bench, tenant: str, statement: Statement[Any]) -> list[str]:
    """The indexes in the generic plans of the statement's steps, as the service uses them."""
    found: dict[str, None] = {}
    with psycopg.connect(bench.service_dsn) as conn:
        guards.set_tenant(conn, tenant)
        for step in statement.steps:
            if not explain.has_plan(step.query):
                conn.execute(step.query.sql)
                continue
            plan = explain.analyse(conn, step.query, {**step.params, "tenant_id": tenant}, generic=True, as_json=True)
            nodes = [plan["Plan"]]
            while nodes:
                node = nodes.pop()
                nodes += node.get("Plans", [])
                if "Index Name" in node:
                    found[node["Index Name"]] = None
        conn.rollback()
    return sorted(found)
