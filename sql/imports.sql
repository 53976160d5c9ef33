-- Skills that are imported in bulk, and the source of each.

-- name: lock_imported_skills(id)
-- Lock those of the skills that exist, in id order.
-- Example: 5 rows of id = :skill_ids
SELECT s.id
FROM skills AS s
WHERE s.tenant_id = %(tenant_id)s AND s.id = ANY(%(id)s::text[])
ORDER BY s.id
FOR NO KEY UPDATE;

-- name: create_imported_skills(id, slug, columns, author_id, expected_version_id)
-- After lock_imported_skills. A skill whose slug is taken is left out. In the order of slugs, so that two imports of
-- the same skills wait for each other in one order.
-- Example: 5 rows of id = 'skilldb-explain', slug = 'skilldb-explain',
-- columns = '{"name": "Example", "description": "An example", "category": "example"}', author_id = NULL,
-- expected_version_id = NULL
INSERT INTO skills (tenant_id, id, name, slug, description, category, tags, status, author_id)
SELECT
    %(tenant_id)s,
    w.id,
    w.columns ->> 'name',
    w.slug,
    w.columns ->> 'description',
    w.columns ->> 'category',
    CASE
        WHEN w.columns ? 'tags' THEN ARRAY(SELECT jsonb_array_elements_text(w.columns -> 'tags'))
        ELSE '{}'::text[]
    END,
    coalesce(w.columns ->> 'status', 'published'),
    w.author_id
FROM
    unnest(
        %(id)s::text[],
        %(slug)s::text[],
        %(columns)s::jsonb[],
        %(author_id)s::text[],
        %(expected_version_id)s::text[]
    ) WITH ORDINALITY AS w (id, slug, columns, author_id, expected_version_id, position)
WHERE
    w.expected_version_id IS NULL
    AND NOT EXISTS (
        SELECT FROM skills AS s
        WHERE s.tenant_id = %(tenant_id)s AND s.id = w.id
    )
ORDER BY w.slug, w.position
ON CONFLICT (tenant_id, slug) DO NOTHING;

-- name: update_imported_skills(source, id, columns, expected_version_id)
-- After create_imported_skills. A column keeps its value if the source has not changed it since the last import: people
-- may have. A skill whose published version is not the expected one keeps everything. Times move as in update_skill.
-- Example: 5 rows of source = 'example', id = :skill_ids,
-- columns = '{"description": "Another example"}', expected_version_id = NULL
WITH edit AS (
    SELECT
        old.id,
        n.name,
        n.description,
        n.category,
        n.tags,
        n.status,
        (old.updated_at AT TIME ZONE 'UTC' + interval '1 millisecond') AT TIME ZONE 'UTC' AS earliest
    FROM
        unnest(%(id)s::text[], %(columns)s::jsonb[], %(expected_version_id)s::text[])
            AS w (id, columns, expected_version_id)
    INNER JOIN skills AS old ON old.tenant_id = %(tenant_id)s AND old.id = w.id
    LEFT JOIN skill_sources AS o
        ON o.tenant_id = %(tenant_id)s AND o.skill_id = w.id AND o.source = %(source)s
    CROSS JOIN
        LATERAL (
            SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') AS changes
            FROM jsonb_each(w.columns) AS e
            WHERE o.imported -> e.key IS DISTINCT FROM e.value
        ) AS c
    CROSS JOIN LATERAL jsonb_populate_record(old, c.changes) AS n
    WHERE
        old.published_version_id IS NOT DISTINCT FROM w.expected_version_id
        AND (old.name, old.description, old.category, old.tags, old.status)
        IS DISTINCT FROM (n.name, n.description, n.category, n.tags, n.status)
)

UPDATE skills AS s
SET
    name = edit.name,
    description = edit.description,
    category = edit.category,
    tags = edit.tags,
    status = edit.status,
    updated_at = greatest(edit.earliest, date_trunc('milliseconds', now())),
    edited_at = greatest(edit.earliest, date_trunc('milliseconds', now()))
FROM edit
WHERE s.tenant_id = %(tenant_id)s AND s.id = edit.id;

-- name: index_imported_skills(id)
-- After update_imported_skills: the words for a search, as index_skills writes them. Rows that stay the same are not
-- written again.
-- Example: 5 rows of id = :skill_ids
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
WHERE s.tenant_id = %(tenant_id)s AND s.id = ANY(%(id)s::text[])
ON CONFLICT (tenant_id, skill_id) DO UPDATE
    SET
        status = excluded.status,
        category = excluded.category,
        tags = excluded.tags,
        name_key = excluded.name_key,
        words = excluded.words
    WHERE
    (skill_search.status, skill_search.category, skill_search.tags, skill_search.name_key, skill_search.words)
    IS DISTINCT FROM (excluded.status, excluded.category, excluded.tags, excluded.name_key, excluded.words);

-- name: publish_imported_versions(
-- source, id, version_id, expected_version_id, path, content_url, content_hash, metadata, columns, commit_hash,
-- committed_at)
-- After update_imported_skills. Adds no version if the published version already has this content, or if the source had
-- it at the last import: people may have published another one since. Notes what was imported, for the next import to
-- compare with. The outcomes are in the order of the items.
-- Example: 5 rows of source = 'example', id = :skill_ids, version_id = NULL, expected_version_id = NULL,
-- path = 'example', content_url = 'example.md',
-- content_hash = '0000000000000000000000000000000000000000000000000000000000000000', metadata = NULL,
-- columns = '{"name": "Example"}', commit_hash = NULL, committed_at = NULL
WITH item AS MATERIALIZED (
    SELECT
        s.tenant_id,
        s.id AS skill_id,
        s.name,
        s.description,
        s.updated_at,
        w.version_id,
        w.path,
        w.content_url,
        w.content_hash,
        w.metadata,
        w.columns,
        w.commit_hash,
        w.committed_at,
        (p.content_hash IS DISTINCT FROM w.content_hash AND o.content_hash IS DISTINCT FROM w.content_hash) AS is_new
    FROM
        unnest(
            %(id)s::text[],
            %(version_id)s::text[],
            %(expected_version_id)s::text[],
            %(path)s::text[],
            %(content_url)s::text[],
            %(content_hash)s::text[],
            %(metadata)s::jsonb[],
            %(columns)s::jsonb[],
            %(commit_hash)s::text[],
            %(committed_at)s::timestamptz[]
        )
            AS w (
                id, version_id, expected_version_id, path, content_url, content_hash, metadata, columns, commit_hash,
                committed_at
            )
    INNER JOIN skills AS s ON s.tenant_id = %(tenant_id)s AND s.id = w.id
    LEFT JOIN skill_versions AS p ON p.tenant_id = %(tenant_id)s AND p.id = s.published_version_id
    LEFT JOIN skill_sources AS o
        ON o.tenant_id = %(tenant_id)s AND o.skill_id = s.id AND o.source = %(source)s
    WHERE s.published_version_id IS NOT DISTINCT FROM w.expected_version_id
),

noted AS (
    INSERT INTO skill_sources (
        tenant_id, skill_id, source, path, content_hash, imported, commit_hash, committed_at
    )
    SELECT
        i.tenant_id,
        i.skill_id,
        %(source)s,
        i.path,
        i.content_hash,
        i.columns,
        i.commit_hash,
        date_trunc('milliseconds', i.committed_at)
    FROM item AS i
    ON CONFLICT (tenant_id, skill_id) DO UPDATE
        SET
            source = excluded.source,
            path = excluded.path,
            content_hash = excluded.content_hash,
            imported = CASE
                WHEN skill_sources.source = excluded.source THEN skill_sources.imported || excluded.imported
                ELSE excluded.imported
            END,
            commit_hash = excluded.commit_hash,
            committed_at = excluded.committed_at,
            imported_at = excluded.imported_at
),

added AS (
    INSERT INTO skill_versions (
        tenant_id, id, skill_id, version, content_url, content_hash, content_type, name, description, metadata,
        created_at
    )
    SELECT
        i.tenant_id,
        coalesce(i.version_id, gen_random_uuid()::text),
        i.skill_id,
        1 + coalesce(
            (
                SELECT max(v.version) FROM skill_versions AS v
                WHERE v.tenant_id = %(tenant_id)s AND v.skill_id = i.skill_id
            ),
            0
        ),
        i.content_url,
        i.content_hash,
        'text/markdown',
        i.name,
        i.description,
        i.metadata,
        greatest(i.updated_at, date_trunc('milliseconds', now()))
    FROM item AS i
    WHERE i.is_new
    RETURNING id, skill_id, version, created_at
),

published AS (
    UPDATE skills AS s
    SET
        published_version_id = added.id,
        published_version = added.version,
        updated_at = greatest(
            (s.updated_at AT TIME ZONE 'UTC' + interval '1 millisecond') AT TIME ZONE 'UTC',
            added.created_at
        )
    FROM added
    WHERE s.tenant_id = %(tenant_id)s AND s.id = added.skill_id
)

SELECT
    w.id AS skill_id,
    CASE WHEN i.is_new THEN 'published' WHEN NOT i.is_new THEN 'written' ELSE 'skipped' END AS outcome
FROM unnest(%(id)s::text[]) WITH ORDINALITY AS w (id, position)
LEFT JOIN item AS i ON i.skill_id = w.id
ORDER BY w.position;

-- name: list_imported_skills(source, after_created_at, after_id, limit)
-- Newest first. The bound is written as in list_skills.
-- Example: source = 'source 1', after_created_at = NULL, after_id = NULL, limit = 10
SELECT
    o.skill_id, s.slug, o.source, o.path, o.content_hash, o.imported, o.commit_hash, o.committed_at, o.created_at,
    o.imported_at, s.published_version_id
FROM skill_sources AS o
INNER JOIN skills AS s ON s.tenant_id = %(tenant_id)s AND s.id = o.skill_id
WHERE
    o.tenant_id = %(tenant_id)s
    AND o.source = %(source)s
    AND (o.created_at, o.skill_id) < (
        SELECT
            coalesce(%(after_created_at)s::timestamptz, 'infinity'),
            coalesce(%(after_id)s, '')
    )
ORDER BY o.created_at DESC, o.skill_id DESC
LIMIT %(limit)s::bigint + 1;

-- name: find_slug_owners(slugs)
-- LATERAL with LIMIT 1 forces one index probe per skill.
-- Example: 5 rows of slugs = :slug
SELECT
    s.slug, s.id AS skill_id, s.published_version_id, o.source, o.path
FROM skills AS s
LEFT JOIN LATERAL (
    SELECT
        r.source,
        r.path
    FROM skill_sources AS r
    WHERE r.tenant_id = %(tenant_id)s AND r.skill_id = s.id
    ORDER BY r.skill_id
    LIMIT 1
) AS o ON TRUE
WHERE s.tenant_id = %(tenant_id)s AND s.slug = ANY(%(slugs)s::text[])
ORDER BY s.slug;

-- name: find_earlier_versions(skill_ids, content_hashes)
-- Example: 5 rows of skill_ids = :skill_ids,
-- content_hashes = '0000000000000000000000000000000000000000000000000000000000000000'
SELECT
    v.skill_id, v.content_hash, v.version
FROM (
    SELECT DISTINCT
        u.skill_id,
        u.content_hash
    FROM unnest(%(skill_ids)s::text[], %(content_hashes)s::text[]) AS u (skill_id, content_hash)
) AS w
INNER JOIN skill_versions AS v
    ON v.tenant_id = %(tenant_id)s AND v.skill_id = w.skill_id AND v.content_hash = w.content_hash
INNER JOIN skills AS s ON s.tenant_id = %(tenant_id)s AND s.id = v.skill_id
WHERE s.published_version_id IS DISTINCT FROM v.id
ORDER BY v.skill_id, v.version;

-- name: store_contents(hash, body, is_binary)
-- In the order of hashes, so that two calls that store the same contents wait for each other in one order.
-- Example: 1 rows of hash = '0000000000000000000000000000000000000000000000000000000000000000', body = 'example',
-- is_binary = FALSE
WITH stored AS (
    INSERT INTO skill_contents (tenant_id, hash, body, is_binary)
    SELECT
        %(tenant_id)s,
        w.hash,
        w.body,
        w.is_binary
    FROM
        unnest(%(hash)s::text[], %(body)s::text[], %(is_binary)s::boolean[])
            AS w (hash, body, is_binary)
    ORDER BY w.hash
    ON CONFLICT (tenant_id, hash) DO NOTHING
    RETURNING hash
)

SELECT count(*) AS stored
FROM stored;

-- name: find_missing_contents(hashes)
-- Example: 5 rows of hashes = '0000000000000000000000000000000000000000000000000000000000000000'
SELECT coalesce(array_agg(w.hash), '{}') AS missing
FROM (
    SELECT DISTINCT u.hash
    FROM unnest(%(hashes)s::text[]) AS u (hash)
    WHERE u.hash IS NOT NULL
) AS w
WHERE
    NOT EXISTS (
        SELECT FROM skill_contents AS c
        WHERE c.tenant_id = %(tenant_id)s AND c.hash = w.hash
    );

-- name: get_version_content(version_id)
-- A line of a manifest is a hash, two spaces and a path.
WITH file AS MATERIALIZED (
    SELECT
        left(l.line, 64) AS hash,
        substr(l.line, 67) AS path
    FROM skill_versions AS v
    INNER JOIN skill_contents AS m ON m.tenant_id = %(tenant_id)s AND m.hash = v.content_hash
    CROSS JOIN LATERAL regexp_split_to_table(m.body, chr(10)) AS l (line)
    WHERE v.tenant_id = %(tenant_id)s AND v.id = %(version_id)s
)

SELECT
    f.path, c.body, c.is_binary
FROM file AS f
CROSS JOIN
    LATERAL (
        SELECT
            s.body,
            s.is_binary
        FROM skill_contents AS s
        WHERE s.tenant_id = %(tenant_id)s AND s.hash = f.hash
        ORDER BY s.hash
        LIMIT 1
    ) AS c
WHERE f.path <> '';

-- name: diff_versions(version_id, to_version_id)
-- The files that are not the same in both versions.
-- Example: to_version_id = :version_id
WITH file AS MATERIALIZED (
    SELECT
        v.id = %(to_version_id)s AS is_new,
        left(l.line, 64) AS hash,
        substr(l.line, 67) AS path
    FROM skill_versions AS v
    INNER JOIN skill_contents AS m ON m.tenant_id = %(tenant_id)s AND m.hash = v.content_hash
    CROSS JOIN LATERAL regexp_split_to_table(m.body, chr(10)) AS l (line)
    WHERE v.tenant_id = %(tenant_id)s AND v.id IN (%(version_id)s, %(to_version_id)s)
),

changed AS (
    SELECT
        f.path,
        min(f.hash) FILTER (WHERE NOT f.is_new) AS old_hash,
        min(f.hash) FILTER (WHERE f.is_new) AS new_hash
    FROM file AS f
    WHERE f.path <> '' AND %(version_id)s <> %(to_version_id)s
    GROUP BY f.path
    HAVING
        min(f.hash) FILTER (WHERE NOT f.is_new)
        IS DISTINCT FROM min(f.hash) FILTER (WHERE f.is_new)
)

SELECT
    h.path,
    o.body AS old_body,
    n.body AS new_body,
    coalesce(o.is_binary, FALSE) OR coalesce(n.is_binary, FALSE) AS is_binary
FROM changed AS h
LEFT JOIN LATERAL (
    SELECT
        s.body,
        s.is_binary
    FROM skill_contents AS s
    WHERE s.tenant_id = %(tenant_id)s AND s.hash = h.old_hash
    ORDER BY s.hash
    LIMIT 1
) AS o ON TRUE
LEFT JOIN LATERAL (
    SELECT
        t.body,
        t.is_binary
    FROM skill_contents AS t
    WHERE t.tenant_id = %(tenant_id)s AND t.hash = h.new_hash
    ORDER BY t.hash
    LIMIT 1
) AS n ON TRUE
WHERE o.body IS NOT NULL OR n.body IS NOT NULL;
