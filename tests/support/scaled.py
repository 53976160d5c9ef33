"""Loads a big, consistent and reproducible data set: many organisations, one of which has half of all rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import psycopg
from psycopg.sql import SQL, Identifier

BIG = "t01"
"""The organisation with half of all rows. Of the others, those with higher numbers have fewer."""
SMALL = "t50"
"""The organisation with the fewest rows, if there are 50."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The minimum numbers of rows of each table, over all organisations."""

    tenants: int = 50
    users: int = 12_000
    skills: int = 24_000
    versions: int = 60_000
    views: int = 210_000
    ratings: int = 105_000
    usage_events: int = 510_000
    feedback: int = 60_000
    measurements: int = 210_000
    runs: int = 15_000
    results: int = 90_000


def load(dsn: str, sizes: Sizes | None = None) -> None:
    """Write the data into a migrated, empty database, as the superuser. Then ANALYZE, so that plans are stable.

    Foreign keys are not checked while loading. The ids are computed, so they exist.
    """
    with psycopg.connect(dsn) as conn:
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute("SELECT setseed(0.5)")
        for statement in _STATEMENTS:
            conn.execute(_filled(statement, sizes or Sizes()))
    with psycopg.connect(dsn, autocommit=True) as conn:
        # Set it for the database, not for the session, because autovacuum may analyse a table again.
        setting = SQL("ALTER DATABASE {} SET default_statistics_target = 1000").format(Identifier(conn.info.dbname))
        conn.execute(setting)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")


def _filled(statement: str, sizes: Sizes) -> bytes:
    for name, size in asdict(sizes).items():
        statement = statement.replace(f":{name}", str(size))
    return statement.encode()


# The square of a random number chooses a row's owner, skill or user, so a few have many rows. `shares` has the numbers
# of rows of each organisation; `u` and `s` number its users and skills.
_STATEMENTS = (
    """
    CREATE TEMPORARY TABLE shares ON COMMIT DROP AS
    SELECT
        't' || lpad(n::text, 2, '0') AS tenant_id,
        share,
        ceil(:users * share)::integer AS users,
        ceil(:skills * share)::integer AS skills
    FROM (
        SELECT
            n,
            CASE n WHEN 1 THEN 0.5 ELSE 0.5 / n / sum(1.0 / n) FILTER (WHERE n > 1) OVER () END AS share
        FROM generate_series(1, :tenants) AS t (n)
    ) AS t
    """,
    "ANALYZE shares",
    """
    INSERT INTO tenants (id, name, slug)
    SELECT tenant_id, 'Organisation ' || tenant_id, tenant_id
    FROM shares
    """,
    "INSERT INTO horizons (tenant_id) SELECT tenant_id FROM shares",
    """
    INSERT INTO users (tenant_id, id, email, name, created_at)
    SELECT tenant_id, 'u' || u, 'u' || u || '@' || tenant_id || '.example', 'User ' || u, now() - interval '800 days'
    FROM shares, generate_series(1, users) AS g (u)
    ORDER BY u
    """,
    """
    INSERT INTO skills (
        tenant_id, id, name, slug, description, category, tags, status, author_id, created_at, updated_at, edited_at
    )
    SELECT
        tenant_id, 's' || s, 'Skill ' || s, 'skill-' || s, repeat('What skill ' || s || ' does. ', 5),
        'category ' || s % 20, ARRAY['tag ' || s % 50, 'tag ' || s % 7],
        CASE s % 10 WHEN 1 THEN 'draft' WHEN 2 THEN 'archived' WHEN 3 THEN 'pending_review' ELSE 'published' END,
        'u' || 1 + s % users,
        now() - interval '730 days', changed, changed
    FROM shares, generate_series(1, skills) AS g (s), LATERAL (
        SELECT date_trunc('milliseconds', now() - interval '1 day' * 400 * random() * (s + 1) / (s + 1)) AS changed
    ) AS c
    ORDER BY s
    """,
    """
    INSERT INTO skill_search (tenant_id, skill_id, status, category, tags, name_key, words)
    SELECT
        s.tenant_id, s.id, s.status, s.category, s.tags, search_name_key(s.name),
        search_document(s.name, s.slug, s.tags, s.description, u.name)
    FROM skills AS s
    LEFT JOIN users AS u ON u.tenant_id = s.tenant_id AND u.id = s.author_id
    """,
    """
    INSERT INTO skill_versions (
        tenant_id, id, skill_id, version, content_url, content_hash, content_type, name, description, created_by,
        created_at
    )
    SELECT
        s.tenant_id, s.id || '-' || v, s.id, v, s.id || '/' || v || '.md', repeat(md5(s.id || v), 2), 'text/markdown',
        s.name, s.description, s.author_id, s.updated_at - interval '30 days' * (versions - v)
    FROM (
        SELECT *, 1 + (row_number() OVER (PARTITION BY tenant_id ORDER BY id) % (2 * :versions / :skills)) AS versions
        FROM skills
    ) AS s, generate_series(1, versions) AS g (v)
    ORDER BY v
    """,
    """
    UPDATE skills AS s SET published_version_id = v.id, published_version = v.version
    FROM (
        SELECT DISTINCT ON (tenant_id, skill_id) tenant_id, skill_id, id, version
        FROM skill_versions ORDER BY tenant_id, skill_id, version DESC
    ) AS v
    WHERE v.tenant_id = s.tenant_id AND v.skill_id = s.id
    """,
    # Every third skill is imported, from one of two sources.
    """
    INSERT INTO skill_sources (tenant_id, skill_id, source, path, content_hash, imported, created_at)
    SELECT
        s.tenant_id, s.id, 'source ' || v.version % 2, 'skills/' || s.slug, v.content_hash,
        jsonb_build_object('name', s.name, 'description', s.description), s.created_at + interval '1 second' * random()
    FROM skills AS s
    INNER JOIN skill_versions AS v ON v.tenant_id = s.tenant_id AND v.id = s.published_version_id
    WHERE s.id LIKE '%0' OR s.id LIKE '%3' OR s.id LIKE '%7'
    """,
    # The content of each published version: a manifest, and the file that it names.
    """
    INSERT INTO skill_contents (tenant_id, hash, body, is_binary)
    SELECT DISTINCT v.tenant_id, c.hash, c.body, FALSE
    FROM skills AS s
    INNER JOIN skill_versions AS v ON v.tenant_id = s.tenant_id AND v.id = s.published_version_id,
    LATERAL (
        VALUES
        (v.content_hash, repeat(md5('file' || v.id), 2) || '  SKILL.md' || chr(10)),
        (repeat(md5('file' || v.id), 2), repeat('What skill ' || v.id || ' does. ', 20))
    ) AS c (hash, body)
    """,
    # User u has viewed a share of the skills that falls with the root of u. Each pair occurs once.
    """
    INSERT INTO user_skill_views (
        tenant_id, id, user_id, skill_id, last_viewed_at, last_viewed_version, view_count
    )
    SELECT
        tenant_id, 'v' || u || '-' || k, 'u' || u, 's' || 1 + (u * 31 + k) % skills,
        date_trunc('milliseconds', now() - interval '1 day' * 300 * random()), 1, 1 + k % 9
    FROM (
        SELECT
            *,
            least(
                skills, ceil(1.1 * :views * share / sqrt(u) / sum(1 / sqrt(u)) OVER (PARTITION BY tenant_id))
            )::integer AS seen
        FROM shares, generate_series(1, users) AS g (u)
    ) AS s, generate_series(1, seen) AS h (k)
    ORDER BY k
    """,
    """
    INSERT INTO ratings (tenant_id, id, skill_id, user_id, rating, created_at, updated_at)
    SELECT
        tenant_id, 'r' || id, skill_id, user_id, 1 + floor(5 * sqrt(random()))::integer, last_viewed_at, last_viewed_at
    FROM user_skill_views
    WHERE view_count % 9 < 5
    """,
    """
    INSERT INTO usage_events (tenant_id, tool_name, skill_id, user_id, created_at)
    SELECT
        tenant_id, 'tool ' || n % 9,
        CASE WHEN n % 20 > 0 THEN 's' || 1 + floor(skills * random() ^ 2) END,
        CASE WHEN n % 10 > 0 THEN 'u' || 1 + floor(users * random() ^ 2) END,
        now() - interval '365 days' * (n - random()) / ceil(:usage_events * share)
    FROM shares, generate_series(1, ceil(:usage_events * share)::integer) AS g (n)
    ORDER BY 5
    """,
    """
    INSERT INTO skill_feedback (
        tenant_id, id, skill_id, skill_version_id, user_id, feedback_type, sentiment, comment, example_input,
        expected_output, status, reviewed_by, reviewed_at, created_at, reply, implemented_version_id
    )
    SELECT
        tenant_id, 'f' || n, skill, CASE WHEN n % 3 = 0 THEN skill || '-1' END,
        CASE WHEN n % 5 > 0 THEN 'u' || 1 + floor(users * random() ^ 2) END, kind,
        CASE kind WHEN 'thumbs_up' THEN 1 WHEN 'thumbs_down' THEN -1 END, 'Comment ' || n,
        CASE kind WHEN 'training_example' THEN 'in' END, CASE kind WHEN 'training_example' THEN 'out' END,
        status, CASE WHEN status <> 'pending' THEN 'u' || 1 + n % users END,
        CASE WHEN status <> 'pending' THEN now() END,
        now() - interval '365 days' * (n - random()) / ceil(:feedback * share),
        CASE WHEN status <> 'pending' THEN 'Reply ' || n END, CASE WHEN status = 'implemented' THEN skill || '-1' END
    FROM shares, generate_series(1, ceil(:feedback * share)::integer) AS g (n), LATERAL (
        SELECT
            's' || 1 + floor(skills * random() ^ 2) AS skill,
            (ARRAY['thumbs_up', 'thumbs_up', 'thumbs_down', 'suggestion', 'training_example', 'bug_report'])[1 + n % 6]
            AS kind,
            (ARRAY['pending', 'accepted', 'dismissed', 'implemented'])[1 + n % 7 % 4] AS status
    ) AS c
    ORDER BY 14
    """,
    """
    INSERT INTO token_measurements (
        tenant_id, id, skill_id, user_id, input_tokens, output_tokens, total_tokens, model_name,
        estimated_cost_microcents, latency_ms, created_at
    )
    SELECT
        tenant_id, 'm' || n, 's' || 1 + floor(skills * random() ^ 2),
        CASE WHEN n % 10 > 0 THEN 'u' || 1 + floor(users * random() ^ 2) END,
        n % 5000, n % 900, n % 5000 + n % 900, 'model ' || n % 4,
        CASE WHEN n % 8 > 0 THEN 300 * (n % 5000) + 1500 * (n % 900) END, n % 3000,
        now() - interval '365 days' * (n - random()) / ceil(:measurements * share)
    FROM shares, generate_series(1, ceil(:measurements * share)::integer) AS g (n)
    ORDER BY 11
    """,
    *(
        f"""
        INSERT INTO {table} (tenant_id, {key}, month, uses_to_day)
        SELECT tenant_id, {key}, date_trunc('month', day::timestamp)::date, sum_uses(uses_on(day, uses))
        FROM (
            SELECT tenant_id, {key}, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS uses
            FROM usage_events
            WHERE {key} IS NOT NULL
            GROUP BY 1, 2, 3
        ) AS d
        GROUP BY 1, 2, 3
        """  # noqa: S608
        for table, key in (
            ("skill_monthly_uses", "skill_id"),
            ("tool_monthly_uses", "tool_name"),
            ("user_monthly_uses", "user_id"),
        )
    ),
    """
    INSERT INTO pending_uses (tenant_id, day, tool_name, user_id, uses)
    SELECT tenant_id, '2000-01-01'::date + n, 'tool ' || n % 9, 'u' || 1 + n % 9, 1
    FROM shares, generate_series(1, ceil(:usage_events * share / 2000)::integer) AS g (n)
    """,
    """
    INSERT INTO skill_daily_costs (
        tenant_id, skill_id, day, model_name, measurements, priced_measurements, cost_microcents,
        input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
    )
    SELECT
        tenant_id, skill_id, (created_at AT TIME ZONE 'UTC')::date, model_name,
        count(*), count(estimated_cost_microcents), coalesce(sum(estimated_cost_microcents), 0),
        sum(input_tokens), sum(output_tokens), sum(total_tokens), count(latency_ms), sum(latency_ms)
    FROM token_measurements
    GROUP BY 1, 2, 3, 4
    """,
    """
    INSERT INTO benchmark_runs (
        tenant_id, id, skill_id, skill_version_id, triggered_by, status, worker, models, started_at, completed_at,
        created_at
    )
    SELECT
        tenant_id, 'b' || n, skill, CASE WHEN n % 2 = 0 THEN skill || '-1' END, 'u' || 1 + n % users,
        status, CASE WHEN status <> 'pending' THEN 'worker ' || n % 9 END,
        ARRAY['model 0', 'model 1', 'model 2'], CASE WHEN status <> 'pending' THEN at END,
        CASE WHEN status IN ('completed', 'failed') THEN at END, at
    FROM shares, generate_series(1, ceil(:runs * share)::integer) AS g (n), LATERAL (
        SELECT
            's' || 1 + floor(skills * random() ^ 2) AS skill,
            now() - interval '365 days' * (n - random()) / ceil(:runs * share) AS at,
            CASE
                WHEN n % 30 = 0 THEN 'failed' WHEN n % 30 = 1 THEN 'pending' WHEN n % 90 = 2 THEN 'running'
                ELSE 'completed'
            END AS status
    ) AS c
    ORDER BY at
    """,
    """
    INSERT INTO benchmark_results (
        tenant_id, id, benchmark_run_id, model_name, model_provider, test_case_index, total_tokens, latency_ms,
        estimated_cost_microcents, quality_score, matches_expected, created_at
    )
    SELECT
        b.tenant_id, b.id || '-' || m || '-' || c, b.id, 'model ' || m, 'anthropic', c, 900, 700, 1000 * (m + 1),
        60 + 10 * m + c, c > 0, b.created_at
    FROM benchmark_runs AS b, generate_series(0, 2) AS g (m), generate_series(0, :results / :runs / 3 - 1) AS h (c)
    WHERE b.status <> 'pending'
    """,
    """
    UPDATE skills AS s
    SET
        total_uses = coalesce(e.events, 0), rating_count = coalesce(r.ratings, 0), rating_sum = coalesce(r.total, 0),
        average_rating = mean_rating(r.total, r.ratings),
        total_feedback = coalesce(f.pieces, 0), thumbs_up_count = coalesce(f.up, 0),
        thumbs_down_count = coalesce(f.down, 0), positive_feedback_pct = positive_percentage(f.pieces, f.up, f.down),
        priced_measurement_count = coalesce(m.priced, 0), token_cost_sum_microcents = coalesce(m.cost, 0),
        avg_token_cost_microcents = mean_cost(m.cost, m.priced), metrics_updated_at = now()
    FROM skills AS t
    LEFT JOIN (
        SELECT tenant_id, skill_id, count(*) AS events FROM usage_events GROUP BY tenant_id, skill_id
    ) AS e ON e.tenant_id = t.tenant_id AND e.skill_id = t.id
    LEFT JOIN (
        SELECT tenant_id, skill_id, count(*) AS ratings, sum(rating) AS total FROM ratings GROUP BY tenant_id, skill_id
    ) AS r ON r.tenant_id = t.tenant_id AND r.skill_id = t.id
    LEFT JOIN (
        SELECT
            tenant_id, skill_id, count(*) AS pieces,
            count(*) FILTER (WHERE feedback_type = 'thumbs_up') AS up,
            count(*) FILTER (WHERE feedback_type = 'thumbs_down') AS down
        FROM skill_feedback GROUP BY tenant_id, skill_id
    ) AS f ON f.tenant_id = t.tenant_id AND f.skill_id = t.id
    LEFT JOIN (
        SELECT
            tenant_id, skill_id, count(estimated_cost_microcents) AS priced,
            sum(estimated_cost_microcents)::bigint AS cost
        FROM token_measurements GROUP BY tenant_id, skill_id
    ) AS m ON m.tenant_id = t.tenant_id AND m.skill_id = t.id
    WHERE s.tenant_id = t.tenant_id AND s.id = t.id
    """,
)
