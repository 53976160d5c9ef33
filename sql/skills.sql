-- Skills and their versions.

-- name: create_skill(id, name, slug, description, category, tags, status, hours_saved, author_id, created_at,
-- updated_at)
-- Example: id = 'skilldb-explain', name = 'Example', slug = 'skilldb-explain', description = 'An example',
-- category = 'example', tags = ARRAY['example'], status = 'published', hours_saved = NULL, author_id = :user_id,
-- created_at = NULL, updated_at = NULL
INSERT INTO skills (
    tenant_id, id, name, slug, description, category, tags, status, hours_saved, author_id,
    created_at, updated_at, edited_at
)
VALUES (
    %(tenant_id)s,
    coalesce(%(id)s, gen_random_uuid()::text),
    %(name)s,
    %(slug)s,
    %(description)s,
    %(category)s,
    %(tags)s::text[],
    %(status)s::text,
    %(hours_saved)s::integer,
    %(author_id)s,
    date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now())),
    date_trunc('milliseconds', coalesce(%(updated_at)s::timestamptz, now())),
    date_trunc('milliseconds', coalesce(%(updated_at)s::timestamptz, now()))
)
RETURNING
    id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, metrics_updated_at,
    total_uses, rating_count, average_rating,
    total_feedback, positive_feedback_pct, avg_token_cost_microcents;

-- name: get_skill(skill_id)
SELECT
    id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, metrics_updated_at,
    total_uses, rating_count, average_rating,
    total_feedback, positive_feedback_pct, avg_token_cost_microcents
FROM skills
WHERE tenant_id = %(tenant_id)s AND id = %(skill_id)s;

-- name: get_skill_by_slug(slug)
SELECT
    id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, metrics_updated_at,
    total_uses, rating_count, average_rating,
    total_feedback, positive_feedback_pct, avg_token_cost_microcents
FROM skills
WHERE tenant_id = %(tenant_id)s AND slug = %(slug)s;

-- name: list_skills(status, category, tag, after_updated_at, after_id, limit)
-- Newest change first. The query reads one row more than a page holds, to learn whether there is another page.
-- On the first page the bound is infinite instead of NULL, so that it is an index condition in every plan. In a generic
-- plan `IS NULL OR` would only be a filter. The bound is in a subquery because coalesce() is not leakproof: row-level
-- security keeps such functions out of index conditions.
-- The other filters use CASE. The planner estimates that `IS NULL OR` keeps few rows; its generic plan then sorts all
-- skills.
-- Example: status = 'published', category = NULL, tag = NULL, after_updated_at = NULL, after_id = NULL, limit = 10
SELECT
    id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, metrics_updated_at,
    total_uses, rating_count, average_rating,
    total_feedback, positive_feedback_pct, avg_token_cost_microcents
FROM skills
WHERE
    tenant_id = %(tenant_id)s
    AND (updated_at, id) < (
        SELECT
            coalesce(%(after_updated_at)s::timestamptz, 'infinity'),
            coalesce(%(after_id)s, '')
    )
    AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE status = %(status)s END
    AND CASE WHEN %(category)s::text IS NULL THEN TRUE ELSE category = %(category)s END
    AND CASE WHEN %(tag)s::text IS NULL THEN TRUE ELSE %(tag)s = ANY(tags) END
ORDER BY updated_at DESC, id DESC
LIMIT %(limit)s::bigint + 1;

-- name: update_skill(skill_id, changes, expected_updated_at)
-- After lock_skill or lock_skill_key. A column whose key is missing in `changes` keeps its value. updated_at moves only
-- when the content changes, or when any value changes and an updated_at is expected: of the callers that expect the
-- same one, the first then stops the others. It moves by a millisecond at least, although a transaction that began
-- earlier may write later. The time zone keeps the sum IMMUTABLE: Citus allows no other functions of columns.
-- Example: changes = '{"description": "Another example"}', expected_updated_at = NULL
WITH edit AS (
    SELECT
        n.name,
        n.slug,
        n.description,
        n.category,
        n.tags,
        n.status,
        n.hours_saved,
        CASE
            WHEN old.updated_at <> date_trunc('milliseconds', %(expected_updated_at)s::timestamptz)
                THEN raise_conflict('skill', old.id, 'was changed at ' || old.updated_at)::boolean
            ELSE
                (old.name, old.description, old.category, old.tags, old.status)
                <> (n.name, n.description, n.category, n.tags, n.status)
        END AS edited,
        %(expected_updated_at)s::timestamptz IS NOT NULL
        AND (old.slug, old.hours_saved) IS DISTINCT FROM (n.slug, n.hours_saved) AS other,
        greatest(
            (old.updated_at AT TIME ZONE 'UTC' + interval '1 millisecond') AT TIME ZONE 'UTC',
            date_trunc('milliseconds', now())
        ) AS changed_at
    FROM skills AS old
    CROSS JOIN LATERAL jsonb_populate_record(old, %(changes)s::jsonb) AS n
    WHERE old.tenant_id = %(tenant_id)s AND old.id = %(skill_id)s
)

UPDATE skills AS s
SET
    name = edit.name,
    slug = edit.slug,
    description = edit.description,
    category = edit.category,
    tags = edit.tags,
    status = edit.status,
    hours_saved = edit.hours_saved,
    updated_at = CASE WHEN edit.edited OR edit.other THEN edit.changed_at ELSE s.updated_at END,
    edited_at = CASE WHEN edit.edited THEN edit.changed_at ELSE s.edited_at END
FROM edit
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
RETURNING
    s.id, s.name, s.slug, s.description, s.category, s.tags, s.status, s.hours_saved, s.author_id,
    s.published_version_id, s.published_version, s.created_at, s.updated_at, s.metrics_updated_at,
    s.total_uses, s.rating_count, s.average_rating,
    s.total_feedback, s.positive_feedback_pct, s.avg_token_cost_microcents;

-- name: publish_skill_version(skill_id, id, content_url, content_hash, content_type, metadata, created_by, created_at)
-- After lock_skill, so that two publishers get consecutive numbers. Adds no version if the published version already
-- has this content. The times of a skill's versions never go backwards.
-- Example: id = 'skilldb-explain', content_url = 'example.md',
-- content_hash = '0000000000000000000000000000000000000000000000000000000000000000', content_type = 'text/markdown',
-- metadata = NULL, created_by = :user_id, created_at = NULL
WITH present AS (
    SELECT
        v.id, v.skill_id, v.version, v.content_url, v.content_hash, v.content_type, v.name, v.description,
        v.metadata, v.created_by, v.created_at
    FROM skills AS s
    INNER JOIN skill_versions AS v ON v.tenant_id = s.tenant_id AND v.id = s.published_version_id
    WHERE
        s.tenant_id = %(tenant_id)s
        AND v.tenant_id = %(tenant_id)s
        AND s.id = %(skill_id)s
        AND v.content_hash = %(content_hash)s
),

added AS (
    INSERT INTO skill_versions (
        tenant_id, id, skill_id, version, content_url, content_hash, content_type, name, description,
        metadata, created_by, created_at
    )
    SELECT
        s.tenant_id,
        coalesce(%(id)s, gen_random_uuid()::text),
        s.id,
        1 + coalesce(
            (
                SELECT max(v.version) FROM skill_versions AS v
                WHERE v.tenant_id = %(tenant_id)s AND v.skill_id = %(skill_id)s
            ),
            0
        ),
        %(content_url)s,
        %(content_hash)s,
        %(content_type)s,
        s.name,
        s.description,
        %(metadata)s::jsonb,
        %(created_by)s,
        CASE
            WHEN %(created_at)s::timestamptz IS NULL THEN greatest(s.updated_at, date_trunc('milliseconds', now()))
            WHEN date_trunc('milliseconds', %(created_at)s::timestamptz) < latest.created_at
                THEN raise_invalid_value(
                    'created_at', (%(created_at)s::timestamptz)::text,
                    'is before ' || latest.created_at || ', when the skill or its latest version was created'
                )::timestamptz
            ELSE date_trunc('milliseconds', %(created_at)s::timestamptz)
        END
    FROM skills AS s
    CROSS JOIN LATERAL (
        SELECT greatest(
            s.created_at,
            (
                SELECT w.created_at FROM skill_versions AS w
                WHERE w.tenant_id = %(tenant_id)s AND w.skill_id = %(skill_id)s
                ORDER BY w.version DESC
                LIMIT 1
            )
        ) AS created_at
    ) AS latest
    WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s AND NOT EXISTS (SELECT FROM present)
    RETURNING
        id, skill_id, version, content_url, content_hash, content_type, name, description,
        metadata, created_by, created_at
),

published AS (
    UPDATE skills AS s
    SET
        published_version_id = added.id,
        published_version = added.version,
        updated_at = greatest(s.updated_at, added.created_at)
    FROM added
    WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
)

SELECT
    id, skill_id, version, content_url, content_hash, content_type, name, description,
    metadata, created_by, created_at
FROM added
UNION ALL
SELECT
    id, skill_id, version, content_url, content_hash, content_type, name, description,
    metadata, created_by, created_at
FROM present;

-- name: publish_existing_version(skill_id, version)
-- After lock_skill. The version that is already published stays it, and nothing is written. Users who saw another
-- version learn of it, so updated_at moves like that of a new version.
-- Example: version = 1
WITH chosen AS (
    SELECT
        v.id, v.skill_id, v.version, v.content_url, v.content_hash, v.content_type, v.name, v.description,
        v.metadata, v.created_by, v.created_at
    FROM skill_versions AS v
    WHERE v.tenant_id = %(tenant_id)s AND v.skill_id = %(skill_id)s AND v.version = %(version)s::integer
),

published AS (
    UPDATE skills AS s
    SET
        published_version_id = chosen.id,
        published_version = chosen.version,
        updated_at = greatest(s.updated_at, date_trunc('milliseconds', now()))
    FROM chosen
    WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s AND s.published_version <> chosen.version
)

SELECT
    coalesce(c.id, raise_not_found('version', %(version)s::integer::text)) AS id,
    c.skill_id, c.version, c.content_url, c.content_hash, c.content_type, c.name, c.description,
    c.metadata, c.created_by, c.created_at
FROM (SELECT 1 AS one) AS present
LEFT JOIN chosen AS c ON true;

-- name: get_skill_version(version_id)
SELECT
    id, skill_id, version, content_url, content_hash, content_type, name, description,
    metadata, created_by, created_at
FROM skill_versions
WHERE tenant_id = %(tenant_id)s AND id = %(version_id)s;

-- name: list_skill_versions(skill_id)
-- Newest first.
SELECT
    id, skill_id, version, content_url, content_hash, content_type, name, description,
    metadata, created_by, created_at
FROM skill_versions
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
ORDER BY version DESC;

-- name: get_version_number(version_id)
SELECT version
FROM skill_versions
WHERE tenant_id = %(tenant_id)s AND id = %(version_id)s;

-- name: lock_users_of_skill(skill_id)
-- The first step of a merge, before lock_skills: to move a view, its foreign key locks the user. delete_user then waits
-- for the merge, instead of looking for ratings where they were. Whoever writes ratings, events, feedback items,
-- measurements or rollups of a skill locks the skill first, and waits for the merge as well. Who views it does not.
WITH locked AS (
    SELECT u.id
    FROM users AS u
    WHERE
        u.tenant_id = %(tenant_id)s
        AND u.id = ANY(
            ARRAY(
                SELECT r.user_id
                FROM ratings AS r
                WHERE r.tenant_id = %(tenant_id)s AND r.skill_id = %(skill_id)s
                UNION
                SELECT v.user_id
                FROM user_skill_views AS v
                WHERE v.tenant_id = %(tenant_id)s AND v.skill_id = %(skill_id)s
            )
        )
    ORDER BY u.id
    FOR KEY SHARE
)

SELECT count(*) AS users
FROM locked;

-- name: delete_older_ratings(skill_id, target_skill_id)
-- Who rated both keeps the newer rating, and that of the target if both are equally new.
-- Example: target_skill_id = :skill_id
WITH older AS (
    SELECT CASE WHEN r.updated_at > t.updated_at THEN t.id ELSE r.id END AS id
    FROM ratings AS r
    INNER JOIN ratings AS t
        ON t.tenant_id = %(tenant_id)s AND t.user_id = r.user_id AND t.skill_id = %(target_skill_id)s
    WHERE r.tenant_id = %(tenant_id)s AND r.skill_id = %(skill_id)s
)

DELETE FROM ratings
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT o.id FROM older AS o));

-- name: move_ratings(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
UPDATE ratings
SET skill_id = %(target_skill_id)s
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s;

-- name: move_feedback(skill_id, target_skill_id)
-- The versions of the source are none of the target's.
-- Example: target_skill_id = :skill_id
UPDATE skill_feedback
SET
    skill_id = %(target_skill_id)s,
    skill_version_id = NULL
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s;

-- name: move_events(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
UPDATE usage_events
SET skill_id = %(target_skill_id)s
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s;

-- name: move_measurements(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
UPDATE token_measurements
SET skill_id = %(target_skill_id)s
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s;

-- name: lock_views_of_skills(skill_id, target_skill_id)
-- In the order in which a call with several views locks them. Only a view that is already stored locks no skill.
-- Example: target_skill_id = :skill_id
WITH locked AS (
    SELECT v.id
    FROM user_skill_views AS v
    WHERE
        v.tenant_id = %(tenant_id)s
        AND v.skill_id = ANY(ARRAY[%(skill_id)s, %(target_skill_id)s])
        AND v.user_id = ANY(
            ARRAY(
                SELECT w.user_id
                FROM user_skill_views AS w
                WHERE w.tenant_id = %(tenant_id)s AND w.skill_id = %(skill_id)s
            )
        )
    ORDER BY v.skill_id, v.user_id
    FOR UPDATE
)

SELECT count(*) AS views
FROM locked;

-- name: move_views(skill_id, target_skill_id)
-- Who viewed only the source has seen no version of the target. Not an UPDATE: a user may view the target for the first
-- time meanwhile.
-- Example: target_skill_id = :skill_id
WITH moved AS (
    DELETE FROM user_skill_views
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
    RETURNING id, user_id, last_viewed_at, view_count
)

INSERT INTO user_skill_views AS v (tenant_id, id, user_id, skill_id, last_viewed_at, view_count)
SELECT
    %(tenant_id)s,
    moved.id,
    moved.user_id,
    %(target_skill_id)s,
    moved.last_viewed_at,
    moved.view_count
FROM moved
ON CONFLICT (tenant_id, user_id, skill_id) DO UPDATE
    SET
        last_viewed_at = greatest(v.last_viewed_at, excluded.last_viewed_at),
        view_count = v.view_count + excluded.view_count;

-- name: move_monthly_uses(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
WITH moved AS (
    DELETE FROM skill_monthly_uses
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
    RETURNING month, uses_to_day
)

INSERT INTO skill_monthly_uses AS m (tenant_id, skill_id, month, uses_to_day)
SELECT
    %(tenant_id)s,
    %(target_skill_id)s,
    moved.month,
    moved.uses_to_day
FROM moved
ON CONFLICT (tenant_id, skill_id, month) DO UPDATE
    SET uses_to_day = add_uses(m.uses_to_day, excluded.uses_to_day);

-- name: move_daily_costs(skill_id, target_skill_id)
-- Example: target_skill_id = :skill_id
WITH moved AS (
    DELETE FROM skill_daily_costs
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s
    RETURNING
        day, model_name, measurements, priced_measurements, cost_microcents,
        input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
)

INSERT INTO skill_daily_costs AS d (
    tenant_id, skill_id, day, model_name, measurements, priced_measurements, cost_microcents,
    input_tokens, output_tokens, total_tokens, timed_measurements, latency_ms
)
SELECT
    %(tenant_id)s,
    %(target_skill_id)s,
    moved.day,
    moved.model_name,
    moved.measurements,
    moved.priced_measurements,
    moved.cost_microcents,
    moved.input_tokens,
    moved.output_tokens,
    moved.total_tokens,
    moved.timed_measurements,
    moved.latency_ms
FROM moved
ON CONFLICT (tenant_id, skill_id, day, model_name) DO UPDATE
    SET
        measurements = d.measurements + excluded.measurements,
        priced_measurements = d.priced_measurements + excluded.priced_measurements,
        cost_microcents = d.cost_microcents + excluded.cost_microcents,
        input_tokens = d.input_tokens + excluded.input_tokens,
        output_tokens = d.output_tokens + excluded.output_tokens,
        total_tokens = d.total_tokens + excluded.total_tokens,
        timed_measurements = d.timed_measurements + excluded.timed_measurements,
        latency_ms = d.latency_ms + excluded.latency_ms;

-- name: add_counters(skill_id, target_skill_id)
-- The ratings are counted again, because those of who rated both did not all move.
-- Example: target_skill_id = :skill_id
UPDATE skills AS t
SET
    total_uses = t.total_uses + s.total_uses,
    rating_count = r.rating_count,
    rating_sum = r.rating_sum,
    average_rating = mean_rating(r.rating_sum, r.rating_count),
    total_feedback = t.total_feedback + s.total_feedback,
    thumbs_up_count = t.thumbs_up_count + s.thumbs_up_count,
    thumbs_down_count = t.thumbs_down_count + s.thumbs_down_count,
    positive_feedback_pct = positive_percentage(
        t.total_feedback + s.total_feedback,
        t.thumbs_up_count + s.thumbs_up_count,
        t.thumbs_down_count + s.thumbs_down_count
    ),
    priced_measurement_count = t.priced_measurement_count + s.priced_measurement_count,
    token_cost_sum_microcents = t.token_cost_sum_microcents + s.token_cost_sum_microcents,
    avg_token_cost_microcents = mean_cost(
        t.token_cost_sum_microcents + s.token_cost_sum_microcents,
        t.priced_measurement_count + s.priced_measurement_count
    ),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM skills AS s
CROSS JOIN (
    SELECT
        count(*) AS rating_count,
        coalesce(sum(rating), 0) AS rating_sum
    FROM ratings
    WHERE tenant_id = %(tenant_id)s AND skill_id = %(target_skill_id)s
) AS r
WHERE
    t.tenant_id = %(tenant_id)s
    AND s.tenant_id = %(tenant_id)s
    AND t.id = %(target_skill_id)s
    AND s.id = %(skill_id)s;

-- name: archive_merged_skill(skill_id)
-- After add_counters. The times move as in update_skill.
WITH archived AS (
    SELECT
        old.id,
        CASE
            WHEN old.status <> 'archived'
                THEN greatest(
                    (old.updated_at AT TIME ZONE 'UTC' + interval '1 millisecond') AT TIME ZONE 'UTC',
                    date_trunc('milliseconds', now())
                )
        END AS edited_at
    FROM skills AS old
    WHERE old.tenant_id = %(tenant_id)s AND old.id = %(skill_id)s
)

UPDATE skills AS s
SET
    status = 'archived',
    updated_at = greatest(s.updated_at, archived.edited_at),
    edited_at = greatest(s.edited_at, archived.edited_at),
    total_uses = 0,
    rating_count = 0,
    rating_sum = 0,
    average_rating = mean_rating(0, 0),
    total_feedback = 0,
    thumbs_up_count = 0,
    thumbs_down_count = 0,
    positive_feedback_pct = positive_percentage(0, 0, 0),
    priced_measurement_count = 0,
    token_cost_sum_microcents = 0,
    avg_token_cost_microcents = mean_cost(0, 0),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM archived
WHERE s.tenant_id = %(tenant_id)s AND s.id = archived.id;

-- name: delete_skill(skill_id)
-- The foreign keys delete its versions, ratings, views, events, feedback items, measurements and benchmark runs.
DELETE FROM skills
WHERE tenant_id = %(tenant_id)s AND id = %(skill_id)s
RETURNING id;
