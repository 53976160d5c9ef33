"""The data: a small organisation to measure the clients, and a big one to measure growth."""

from __future__ import annotations

import skilldb
from benchmarks.harness import Bench, say, short, timed
from skilldb.admin import drift, rollups

SMALL = "small"
USERS = SKILLS = 1000
SMALL_VIEWS_A_USER = 20

BIG = "big"
BIG_SKILLS = 100_000
VIEWS_A_USER = 100

# A user of the small organisation has viewed twenty skills, ten apart. Half of them changed later.
_SMALL = f"""
INSERT INTO tenants (id, name, slug) VALUES ('{SMALL}', 'Small', '{SMALL}');
INSERT INTO users (tenant_id, id, email) SELECT '{SMALL}', n, n || '@example.com' FROM generate_series(1, {USERS}) AS n;
INSERT INTO skills (tenant_id, id, name, slug, description, category, published_version, updated_at)
SELECT '{SMALL}', n, 'Skill ' || n, 'skill-' || n, 'What it does', 'testing', 3,
    date_trunc('milliseconds', now()) - (n % 2 + n / 1000.0) * interval '2 days'
FROM generate_series(1, {SKILLS}) AS n;
INSERT INTO user_skill_views (tenant_id, user_id, skill_id, last_viewed_version, last_viewed_at)
SELECT '{SMALL}', u, 1 + (u * 7 + k * 10) % {SKILLS}, 3, now() - interval '2 days'
FROM generate_series(1, {USERS}) AS u, generate_series(1, {SMALL_VIEWS_A_USER}) AS k;
INSERT INTO skill_versions (
    tenant_id, id, skill_id, version, content_url, content_hash, content_type, name, description
)
SELECT '{SMALL}', n || '-' || v, n, v, 'https://example.com/' || n, repeat('0', 64), 'text/markdown', 'Skill', 'It'
FROM generate_series(1, {SKILLS}) AS n, generate_series(1, 3) AS v;
INSERT INTO ratings (tenant_id, skill_id, user_id, rating)
SELECT '{SMALL}', n, u, 1 + u % 5 FROM generate_series(1, {SKILLS}) AS n, generate_series(1, 20) AS u;
INSERT INTO skill_feedback (tenant_id, skill_id, user_id, feedback_type, comment)
SELECT '{SMALL}', n, u, 'suggestion', 'More of it' FROM generate_series(1, {SKILLS}) AS n, generate_series(1, 20) AS u;
INSERT INTO token_measurements (tenant_id, skill_id, user_id, model_name, input_tokens, output_tokens)
SELECT '{SMALL}', n, u, 'a model', 1000, 200 FROM generate_series(1, {SKILLS}) AS n, generate_series(1, 20) AS u;
INSERT INTO usage_events (tenant_id, skill_id, user_id, tool_name, created_at)
SELECT '{SMALL}', n, u, 'editor', now() - u * interval '1 day'
FROM generate_series(1, {SKILLS}) AS n, generate_series(1, 20) AS u;
"""

# Twenty seconds between the changes of two skills: a month holds all of them. One in a hundred changed in the last
# six hours, and was viewed before.
_BIG = f"""
INSERT INTO tenants (id, name, slug) VALUES ('{BIG}', 'Big', '{BIG}');
INSERT INTO users (tenant_id, id, email) SELECT '{BIG}', n, n || '@example.com' FROM generate_series(1, 100000) AS n;
INSERT INTO skills (tenant_id, id, name, slug, description, category, published_version, updated_at)
SELECT '{BIG}', n, 'Skill ' || n, 'skill-' || n, 'What it does', 'testing', 3,
    date_trunc('milliseconds', now()) - n * interval '20 seconds'
FROM generate_series(1, {BIG_SKILLS}) AS n;
"""

# The factors are coprime to the number of skills, so that a user's views are distinct and spread over all skills.
_VIEWS = f"""
INSERT INTO user_skill_views (tenant_id, user_id, skill_id, last_viewed_version, last_viewed_at)
SELECT '{BIG}', u, 1 + (u::bigint * 7919 + k * 991) %% {BIG_SKILLS}, 3, now() - interval '20000 seconds'
FROM generate_series(%s::integer, %s::integer) AS u, generate_series(1, {VIEWS_A_USER}) AS k
"""

# Statements that drop the keys and indexes of user_skill_views, and statements that build them again.
_KEYS = """
SELECT
    format('ALTER TABLE user_skill_views DROP CONSTRAINT %I', conname),
    format('ALTER TABLE user_skill_views ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE conrelid = 'user_skill_views'::regclass AND contype IN ('p', 'u')
UNION ALL
SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
FROM pg_index AS i
WHERE
    indrelid = 'user_skill_views'::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u'))
"""


def load_small(bench: Bench) -> None:
    """Load the small organisation."""
    _load(bench, "the small organisation", _SMALL)
    with skilldb.connect(bench.service_dsn, max_size=1, statement_timeout=0) as db:
        roll_up(db.tenant(SMALL))


def roll_up(tenant: skilldb.Tenant) -> None:
    """Build the rollups of an organisation from its raw rows, and its counters from both."""
    for _ in rollups.recount(tenant, repair=True):
        pass
    for _ in rollups.fold(tenant):
        pass
    for _ in drift.check([tenant], repair=True):
        pass


def load_big(bench: Bench) -> None:
    """Load the big organisation, without views."""
    _load(bench, "the big organisation", _BIG)


def load_views(bench: Bench, first: int, last: int) -> None:
    """Load a hundred views for each of these users of the big organisation.

    Loading many views drops the keys and indexes first and builds them again.
    """

    def load() -> None:
        with bench.admin() as conn:
            keys = conn.execute(_KEYS.encode()).fetchall() if last - first >= 50_000 else []
            for drop, _ in keys:
                conn.execute(str(drop).encode())
            conn.execute(_VIEWS.encode(), (first, last))
            for _, build in keys:
                conn.execute(str(build).encode())
            conn.execute(b"VACUUM (ANALYZE) user_skill_views")

    say(f"  {(last - first + 1) * VIEWS_A_USER:,} views loaded in {short(timed(load))} s")


def _load(bench: Bench, what: str, sql: str) -> None:
    def load() -> None:
        with bench.admin() as conn:
            conn.execute(sql.encode())
            conn.execute(b"VACUUM (ANALYZE)")

    say(f"  {what} loaded in {short(timed(load))} s")
