-- Skills and their versions.

-- name: create_skill(id, name, slug, description, category, tags, status, hours_saved, author_id, created_at,
-- updated_at)
-- After lock_author. Also writes the words of the skill for search_skills.
-- Example: id = 'skilldb-explain', name = 'Example', slug = 'skilldb-explain', description = 'An example',
-- category = 'example', tags = ARRAY['example'], status = 'published', hours_saved = NULL, author_id = :user_id,
-- created_at = NULL, updated_at = NULL
WITH added AS (
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
        total_feedback, positive_feedback_pct, avg_token_cost_microcents
),

indexed AS (
    INSERT INTO skill_search (tenant_id, skill_id, status, category, tags, name_key, words)
    SELECT
        %(tenant_id)s,
        s.id,
        s.status,
        s.category,
        s.tags,
        search_name_key(s.name),
        search_document(s.name, s.slug, s.tags, s.description, u.name)
    FROM added AS s
    LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = s.author_id
    RETURNING skill_id
)

SELECT
    id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, metrics_updated_at,
    total_uses, rating_count, average_rating,
    total_feedback, positive_feedback_pct, avg_token_cost_microcents
FROM added;

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

-- name: get_skills(skill_ids)
SELECT
    id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, metrics_updated_at,
    total_uses, rating_count, average_rating,
    total_feedback, positive_feedback_pct, avg_token_cost_microcents
FROM skills
WHERE tenant_id = %(tenant_id)s AND id = ANY(%(skill_ids)s::text[]);

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
    AND CASE WHEN %(category)s::text[] IS NULL THEN TRUE ELSE category = ANY(%(category)s::text[]) END
    AND CASE WHEN %(tag)s::text[] IS NULL THEN TRUE ELSE tags && %(tag)s::text[] END
ORDER BY updated_at DESC, id DESC
LIMIT %(limit)s::bigint + 1;

-- name: list_skills_by_name(status, category, tag, after_name, after_id, limit)
-- In the order of name_key, which is the same in every locale, and without regard to case and accents. list_skills
-- explains the bound and the filters.
-- Example: status = 'published', category = NULL, tag = NULL, after_name = NULL, after_id = NULL, limit = 10
SELECT
    s.id, s.name, s.slug, s.description, s.category, s.tags, s.status, s.hours_saved, s.author_id,
    s.published_version_id, s.published_version, s.created_at, s.updated_at, s.metrics_updated_at,
    s.total_uses, s.rating_count, s.average_rating,
    s.total_feedback, s.positive_feedback_pct, s.avg_token_cost_microcents
FROM skill_search AS t
INNER JOIN skills AS s ON s.tenant_id = t.tenant_id AND s.id = t.skill_id
WHERE
    t.tenant_id = %(tenant_id)s
    AND s.tenant_id = %(tenant_id)s
    AND (t.name_key, t.skill_id) > (
        SELECT
            coalesce(search_name_key(%(after_name)s), ''),
            coalesce(%(after_id)s, '')
    )
    AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE t.status = %(status)s END
    AND CASE WHEN %(category)s::text[] IS NULL THEN TRUE ELSE t.category = ANY(%(category)s::text[]) END
    AND CASE WHEN %(tag)s::text[] IS NULL THEN TRUE ELSE t.tags && %(tag)s::text[] END
ORDER BY t.name_key, t.skill_id
LIMIT %(limit)s::bigint + 1;

-- name: list_skills_by_figure(sort, status, category, tag, after_figure, after_id, limit)
-- Highest first. -1 stands for an unknown figure, so that it comes last. list_skills explains the filters.
-- Reads all: an index on a counter would end its updates in place, so the skills of the organisation are sorted.
-- Example: sort = 'uses', status = 'published', category = NULL, tag = NULL, after_figure = NULL, after_id = NULL,
-- limit = 10
SELECT
    id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, metrics_updated_at,
    total_uses, rating_count, average_rating,
    total_feedback, positive_feedback_pct, avg_token_cost_microcents
FROM skills
WHERE
    tenant_id = %(tenant_id)s
    AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE status = %(status)s END
    AND CASE WHEN %(category)s::text[] IS NULL THEN TRUE ELSE category = ANY(%(category)s::text[]) END
    AND CASE WHEN %(tag)s::text[] IS NULL THEN TRUE ELSE tags && %(tag)s::text[] END
    AND (
        CASE
            WHEN %(sort)s::text = 'uses' THEN total_uses
            WHEN %(sort)s = 'rating' THEN coalesce(average_rating, -1)
            ELSE coalesce(hours_saved, -1)
        END,
        id
    ) < (
        SELECT
            coalesce(%(after_figure)s::bigint, 9223372036854775807),
            coalesce(%(after_id)s, '')
    )
ORDER BY
    CASE
        WHEN %(sort)s = 'uses' THEN total_uses
        WHEN %(sort)s = 'rating' THEN coalesce(average_rating, -1)
        ELSE coalesce(hours_saved, -1)
    END DESC,
    id DESC
LIMIT %(limit)s::bigint + 1;

-- name: list_skills_of_author(author_id, sort, status, category, tag, after_figure, after_id, limit)
-- As list_skills_by_figure, but it sorts the skills of one author, also by their time of change in milliseconds.
-- Example: author_id = :user_id, sort = 'updated', status = 'published', category = NULL, tag = NULL,
-- after_figure = NULL, after_id = NULL, limit = 10
SELECT
    id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, metrics_updated_at,
    total_uses, rating_count, average_rating,
    total_feedback, positive_feedback_pct, avg_token_cost_microcents
FROM skills
WHERE
    tenant_id = %(tenant_id)s
    AND author_id = %(author_id)s
    AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE status = %(status)s END
    AND CASE WHEN %(category)s::text[] IS NULL THEN TRUE ELSE category = ANY(%(category)s::text[]) END
    AND CASE WHEN %(tag)s::text[] IS NULL THEN TRUE ELSE tags && %(tag)s::text[] END
    AND (
        CASE
            WHEN %(sort)s::text = 'uses' THEN total_uses
            WHEN %(sort)s = 'rating' THEN coalesce(average_rating, -1)
            WHEN %(sort)s = 'hours_saved' THEN coalesce(hours_saved, -1)
            ELSE (1000 * extract(EPOCH FROM updated_at))::bigint
        END,
        id
    ) < (
        SELECT
            coalesce(%(after_figure)s::bigint, 9223372036854775807),
            coalesce(%(after_id)s, '')
    )
ORDER BY
    CASE
        WHEN %(sort)s = 'uses' THEN total_uses
        WHEN %(sort)s = 'rating' THEN coalesce(average_rating, -1)
        WHEN %(sort)s = 'hours_saved' THEN coalesce(hours_saved, -1)
        ELSE (1000 * extract(EPOCH FROM updated_at))::bigint
    END DESC,
    id DESC
LIMIT %(limit)s::bigint + 1;

-- name: list_skills_of_author_by_name(author_id, status, category, tag, after_name, after_id, limit)
-- As list_skills_by_name, but it sorts the skills of one author. LATERAL with LIMIT 1 forces one index probe per skill:
-- the order of the index would lead through all skills of the organisation.
-- Example: author_id = :user_id, status = 'published', category = NULL, tag = NULL, after_name = NULL, after_id = NULL,
-- limit = 10
SELECT
    s.id, s.name, s.slug, s.description, s.category, s.tags, s.status, s.hours_saved, s.author_id,
    s.published_version_id, s.published_version, s.created_at, s.updated_at, s.metrics_updated_at,
    s.total_uses, s.rating_count, s.average_rating,
    s.total_feedback, s.positive_feedback_pct, s.avg_token_cost_microcents
FROM skills AS s
CROSS JOIN
    LATERAL (
        SELECT w.name_key
        FROM skill_search AS w
        WHERE w.tenant_id = %(tenant_id)s AND w.skill_id = s.id
        ORDER BY w.skill_id
        LIMIT 1
    ) AS t
WHERE
    s.tenant_id = %(tenant_id)s
    AND s.author_id = %(author_id)s
    AND (t.name_key, s.id) > (
        SELECT
            coalesce(search_name_key(%(after_name)s), ''),
            coalesce(%(after_id)s, '')
    )
    AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE s.status = %(status)s END
    AND CASE WHEN %(category)s::text[] IS NULL THEN TRUE ELSE s.category = ANY(%(category)s::text[]) END
    AND CASE WHEN %(tag)s::text[] IS NULL THEN TRUE ELSE s.tags && %(tag)s::text[] END
ORDER BY t.name_key, s.id
LIMIT %(limit)s::bigint + 1;
-- name: check_skill_unchanged(skill_id, expected_updated_at)
-- After lock_skill or lock_skill_key, before update_skill.
-- Example: expected_updated_at = NULL
SELECT
    CASE
        WHEN s.updated_at <> date_trunc('milliseconds', %(expected_updated_at)s::timestamptz)
            THEN raise_conflict('skill', s.id, 'was changed at ' || s.updated_at)
    END AS refused
FROM skills AS s
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s;

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
        (old.name, old.description, old.category, old.tags, old.status)
        <> (n.name, n.description, n.category, n.tags, n.status) AS edited,
        %(expected_updated_at)s::timestamptz IS NOT NULL
        AND (old.slug <> n.slug OR old.hours_saved IS DISTINCT FROM n.hours_saved) AS other,
        (old.updated_at AT TIME ZONE 'UTC' + interval '1 millisecond') AT TIME ZONE 'UTC' AS earliest
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
    updated_at = greatest(
        CASE WHEN edit.edited OR edit.other THEN edit.earliest ELSE s.updated_at END,
        least(
            CASE WHEN edit.edited OR edit.other THEN 'infinity' ELSE '-infinity' END::timestamptz,
            date_trunc('milliseconds', now())
        )
    ),
    edited_at = greatest(
        CASE WHEN edit.edited THEN edit.earliest ELSE s.edited_at END,
        least(
            CASE WHEN edit.edited THEN 'infinity' ELSE '-infinity' END::timestamptz,
            date_trunc('milliseconds', now())
        )
    )
FROM edit
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
RETURNING
    s.id, s.name, s.slug, s.description, s.category, s.tags, s.status, s.hours_saved, s.author_id,
    s.published_version_id, s.published_version, s.created_at, s.updated_at, s.metrics_updated_at,
    s.total_uses, s.rating_count, s.average_rating,
    s.total_feedback, s.positive_feedback_pct, s.avg_token_cost_microcents;

-- name: transfer_skills(from_user_id, to_user_id)
-- After lock_authors. It locks the skills in id order, and changes those alone. The author is no content: updated_at
-- stays. The words of the skills contain the author's name.
-- Example: from_user_id = :user_id, to_user_id = :user_id
WITH locked AS MATERIALIZED (
    SELECT s.id
    FROM skills AS s
    WHERE s.tenant_id = %(tenant_id)s AND s.author_id = %(from_user_id)s
    ORDER BY s.id
    FOR NO KEY UPDATE
),

transferred AS (
    UPDATE skills
    SET author_id = %(to_user_id)s
    WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT k.id FROM locked AS k))
    RETURNING id, name, slug, description, tags
),

indexed AS (
    UPDATE skill_search AS w
    SET words = search_document(p.name, p.slug, p.tags, p.description, u.name)
    FROM transferred AS p
    LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = %(to_user_id)s
    WHERE w.tenant_id = %(tenant_id)s AND w.skill_id = p.id
)

SELECT count(*) AS transferred
FROM transferred;

-- name: check_version_time(skill_id, content_hash, created_at)
-- After lock_skill, before a version whose time is given. The times of a skill's versions never go backwards.
-- Example: content_hash = '0000000000000000000000000000000000000000000000000000000000000000', created_at = NULL
SELECT
    CASE
        WHEN date_trunc('milliseconds', %(created_at)s::timestamptz) < latest.created_at
            THEN raise_invalid_value(
                'created_at', (%(created_at)s::timestamptz)::text,
                'is before ' || latest.created_at || ', when the skill or its latest version was created'
            )
    END AS refused
FROM (
    SELECT
        greatest(
            s.created_at,
            (
                SELECT v.created_at FROM skill_versions AS v
                WHERE v.tenant_id = %(tenant_id)s AND v.skill_id = %(skill_id)s
                ORDER BY v.version DESC
                LIMIT 1
            )
        ) AS created_at
    FROM skills AS s
    WHERE
        s.tenant_id = %(tenant_id)s
        AND s.id = %(skill_id)s
        -- add_version then adds none.
        AND NOT EXISTS (
            SELECT FROM skill_versions AS p
            WHERE
                p.tenant_id = %(tenant_id)s
                AND p.id = s.published_version_id
                AND p.content_hash = %(content_hash)s
        )
) AS latest;

-- name: add_version(skill_id, id, content_url, content_hash, content_type, metadata, created_by, created_at)
-- After lock_skill, so that two publishers get consecutive numbers. Adds no version if the published version already
-- has this content.
-- Example: id = 'skilldb-explain', content_url = 'example.md',
-- content_hash = '0000000000000000000000000000000000000000000000000000000000000000', content_type = 'text/markdown',
-- metadata = NULL, created_by = :user_id, created_at = NULL
INSERT INTO skill_versions AS n (
    tenant_id, id, skill_id, version, content_url, content_hash, content_type, name, description,
    metadata, created_by, created_at
)
SELECT
    s.tenant_id,
    %(id)s,
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
        ELSE date_trunc('milliseconds', %(created_at)s::timestamptz)
    END
FROM skills AS s
WHERE
    s.tenant_id = %(tenant_id)s
    AND s.id = %(skill_id)s
    AND NOT EXISTS (
        SELECT FROM skill_versions AS p
        WHERE
            p.tenant_id = %(tenant_id)s
            AND p.id = s.published_version_id
            AND p.content_hash = %(content_hash)s
    )
RETURNING n.id;

-- name: publish_skill_version(skill_id, id, content_hash)
-- After add_version. If that added none, the published version has this content, and stays. updated_at always moves, as
-- in update_skill.
-- Example: id = 'skilldb-explain',
-- content_hash = '0000000000000000000000000000000000000000000000000000000000000000'
-- Run first: add_version
WITH published AS (
    UPDATE skills AS s
    SET
        published_version_id = v.id,
        published_version = v.version,
        updated_at = greatest(
            (s.updated_at AT TIME ZONE 'UTC' + interval '1 millisecond') AT TIME ZONE 'UTC',
            v.created_at
        )
    FROM skill_versions AS v
    WHERE
        s.tenant_id = %(tenant_id)s
        AND v.tenant_id = %(tenant_id)s
        AND s.id = %(skill_id)s
        AND v.id = %(id)s
        AND v.skill_id = s.id
        AND NOT EXISTS (
            SELECT FROM skill_versions AS p
            WHERE
                p.tenant_id = %(tenant_id)s
                AND p.id = s.published_version_id
                AND p.content_hash = %(content_hash)s
        )
)

SELECT
    n.id, n.skill_id, n.version, n.content_url, n.content_hash, n.content_type, n.name, n.description,
    n.metadata, n.created_by, n.created_at
FROM skill_versions AS n
WHERE
    n.tenant_id = %(tenant_id)s
    AND n.id = (
        SELECT CASE WHEN p.content_hash = %(content_hash)s THEN p.id ELSE %(id)s END
        FROM skills AS s
        LEFT JOIN skill_versions AS p ON p.tenant_id = %(tenant_id)s AND p.id = s.published_version_id
        WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
    );

-- name: publish_existing_version(skill_id, version)
-- After lock_skill. The version that is already published stays it, and nothing is written. Users who saw another
-- version learn of it, so updated_at moves as for a new version.
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
        updated_at = greatest(
            (s.updated_at AT TIME ZONE 'UTC' + interval '1 millisecond') AT TIME ZONE 'UTC',
            date_trunc('milliseconds', now())
        )
    FROM chosen
    WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s AND s.published_version <> chosen.version
)

SELECT
    c.skill_id, c.version, c.content_url, c.content_hash, c.content_type, c.name, c.description,
    c.metadata, c.created_by, c.created_at,
    coalesce(c.id, raise_not_found('version', %(version)s::integer::text)) AS id
FROM skills AS s
LEFT JOIN chosen AS c ON c.skill_id = s.id
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s;

-- name: get_skill_version(version_id)
SELECT
    id, skill_id, version, content_url, content_hash, content_type, name, description,
    metadata, created_by, created_at
FROM skill_versions
WHERE tenant_id = %(tenant_id)s AND id = %(version_id)s;

-- name: list_skill_versions(skill_id, after_version, limit)
-- Newest first. list_skills explains the bound and the extra row. The bound of the first page is above every INTEGER.
-- Example: after_version = NULL, limit = 10
SELECT
    id, skill_id, version, content_url, content_hash, content_type, name, description,
    metadata, created_by, created_at
FROM skill_versions
WHERE
    tenant_id = %(tenant_id)s
    AND skill_id = %(skill_id)s
    AND version < (SELECT coalesce(%(after_version)s::bigint, 2147483648))
ORDER BY version DESC
LIMIT %(limit)s::bigint + 1;

-- name: get_version_number(version_id)
SELECT version
FROM skill_versions
WHERE tenant_id = %(tenant_id)s AND id = %(version_id)s;

-- name: delete_skill(skill_id)
-- The foreign keys delete its versions, ratings, views, events, feedback items, measurements and benchmark runs.
DELETE FROM skills
WHERE tenant_id = %(tenant_id)s AND id = %(skill_id)s
RETURNING id;

-- name: index_skills(skill_ids)
-- After lock_skills, lock_skill or lock_skill_key, as a statement of its own: who changes a skill's name, slug, tags,
-- description, category, status or author runs this in the same transaction. Everybody who writes a row of skill_search
-- holds the lock of its skill, so the last one to write has seen what the others changed. A new author is locked by
-- lock_author or more before, so that the author's name is not changed meanwhile.
INSERT INTO skill_search (tenant_id, skill_id, status, category, tags, name_key, words)
SELECT
    %(tenant_id)s,
    s.id,
    s.status,
    s.category,
    s.tags,
    search_name_key(s.name),
    search_document(s.name, s.slug, s.tags, s.description, u.name)
FROM skills AS s
LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = s.author_id
WHERE s.tenant_id = %(tenant_id)s AND s.id = ANY(%(skill_ids)s::text[])
ON CONFLICT (tenant_id, skill_id) DO UPDATE
    SET
        status = excluded.status,
        category = excluded.category,
        tags = excluded.tags,
        name_key = excluded.name_key,
        words = excluded.words;

-- name: index_skills_of_author(user_id)
-- After the author's name was changed, and then lock_skills_of_author, each as a statement of its own.
INSERT INTO skill_search (tenant_id, skill_id, status, category, tags, name_key, words)
SELECT
    %(tenant_id)s,
    s.id,
    s.status,
    s.category,
    s.tags,
    search_name_key(s.name),
    search_document(s.name, s.slug, s.tags, s.description, u.name)
FROM skills AS s
INNER JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = s.author_id
WHERE s.tenant_id = %(tenant_id)s AND s.author_id = %(user_id)s
ON CONFLICT (tenant_id, skill_id) DO UPDATE
    SET
        status = excluded.status,
        category = excluded.category,
        tags = excluded.tags,
        name_key = excluded.name_key,
        words = excluded.words;
