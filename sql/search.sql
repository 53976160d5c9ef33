-- Searches of skills, and the counts of their categories and tags. index_skills in skills.sql writes skill_search.

-- name: read_by_index()
-- Before a query that reads all skills of the organisation. Its generic plan does not know which organisation asks. If
-- few organisations share a table, it would read the rows of all, and a small one would wait as long as the biggest.
SET LOCAL enable_seqscan = off;

-- name: search_skills(words, phrases, unwanted, status, category, tag, after_rank, after_id, limit)
-- Best first. `words` are prefixes; `phrases` and `unwanted` are whole words. A text without words is left out.
-- Reads all: row-level security keeps `@@` out of index conditions, so the words of all skills are compared (ADR 14).
-- Example: words = ARRAY['skill', 'do'], phrases = ARRAY['what skill'], unwanted = ARRAY['nothing'],
-- status = 'published', category = NULL, tag = NULL, after_rank = NULL, after_id = NULL, limit = 20
WITH wanted AS MATERIALIZED (
    SELECT
        w.term,
        w.prefix
    FROM (
        SELECT
            search_words(p.content) AS term,
            TRUE AS prefix
        FROM unnest(%(words)s::text[]) AS p (content)
        UNION ALL
        SELECT
            search_words(p.content),
            FALSE
        FROM unnest(%(phrases)s::text[]) AS p (content)
    ) AS w
    WHERE cardinality(w.term) > 0
),

asked AS MATERIALIZED (
    SELECT
        nullif(
            concat_ws(
                ' & ',
                string_agg(search_term(w.term, w.prefix, ''), ' & '),
                (
                    SELECT string_agg('!' || search_term(search_words(u.content), FALSE, ''), ' & ')
                    FROM unnest(%(unwanted)s::text[]) AS u (content)
                )
            ),
            ''
        )::tsquery AS condition,
        string_agg(search_term(w.term, FALSE, 'A'), ' & ')::tsquery AS all_words_in_name,
        string_agg(search_term(w.term, w.prefix, 'A'), ' & ')::tsquery AS all_in_name,
        string_agg(search_term(w.term, w.prefix, 'AB'), ' & ')::tsquery AS all_in_name_or_tags,
        string_agg(search_term(w.term, w.prefix, 'A'), ' | ')::tsquery AS any_in_name,
        string_agg(search_term(w.term, w.prefix, 'AB'), ' | ')::tsquery AS any_in_name_or_tags
    FROM wanted AS w
),

found AS (
    SELECT
        t.skill_id,
        CASE
            -- First, because most skills that are found have the words in the description alone.
            WHEN NOT coalesce(t.words @@ (SELECT a.any_in_name_or_tags FROM asked AS a), FALSE) THEN 1
            WHEN t.words @@ (SELECT a.all_words_in_name FROM asked AS a) THEN 6
            WHEN t.words @@ (SELECT a.all_in_name FROM asked AS a) THEN 5
            WHEN t.words @@ (SELECT a.all_in_name_or_tags FROM asked AS a) THEN 4
            WHEN t.words @@ (SELECT a.any_in_name FROM asked AS a) THEN 3
            ELSE 2
        END AS rank
    FROM skill_search AS t
    WHERE
        t.tenant_id = %(tenant_id)s
        AND CASE WHEN %(status)s::text IS NULL THEN TRUE ELSE t.status = %(status)s END
        AND CASE WHEN %(category)s::text[] IS NULL THEN TRUE ELSE t.category = ANY(%(category)s::text[]) END
        AND CASE WHEN %(tag)s::text[] IS NULL THEN TRUE ELSE t.tags && %(tag)s::text[] END
        AND CASE
            WHEN (SELECT a.condition FROM asked AS a) IS NULL THEN TRUE
            ELSE t.words @@ (SELECT a.condition FROM asked AS a)
        END
),

page AS MATERIALIZED (
    SELECT
        f.skill_id,
        f.rank
    FROM found AS f
    WHERE (f.rank, f.skill_id) < (SELECT coalesce(%(after_rank)s::bigint, 7), coalesce(%(after_id)s, ''))
    ORDER BY f.rank DESC, f.skill_id DESC
    LIMIT %(limit)s::bigint + 1
)

SELECT
    s.id, s.name, s.slug, s.description, s.category, s.tags, s.status, s.hours_saved, s.author_id,
    s.published_version_id, s.published_version, s.created_at, s.updated_at, s.metrics_updated_at,
    s.total_uses, s.rating_count, s.average_rating,
    s.total_feedback, s.positive_feedback_pct, s.avg_token_cost_microcents,
    p.rank
FROM page AS p
INNER JOIN skills AS s ON s.id = p.skill_id
WHERE s.tenant_id = %(tenant_id)s
ORDER BY p.rank DESC, s.id DESC;

-- name: list_similar_skills(skill_id, limit)
-- Three points for each shared tag, two for the same category, one for each word of the name in the other's name.
-- Reads all: row-level security keeps `&&` and `@@` out of index conditions.
-- Example: limit = 10
WITH own AS MATERIALIZED (
    SELECT
        s.category,
        s.tags,
        search_words(left(s.name, 1000)) AS words
    FROM skills AS s
    WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
),

terms AS MATERIALIZED (
    SELECT search_term(ARRAY[w.word], FALSE, 'A')::tsquery AS term
    FROM own AS o
    CROSS JOIN LATERAL (SELECT DISTINCT u.word FROM unnest(o.words) AS u (word)) AS w
),

alike AS (
    SELECT
        t.skill_id,
        3 * (
            SELECT count(DISTINCT x.tag)
            FROM unnest(t.tags) AS x (tag)
            WHERE x.tag = ANY((SELECT o.tags FROM own AS o)::text[])
        )
        + CASE WHEN t.category = (SELECT o.category FROM own AS o) THEN 2 ELSE 0 END
        + (
            SELECT count(*)
            FROM terms AS w
            WHERE t.words @@ w.term
        ) AS rank
    FROM skill_search AS t
    WHERE
        t.tenant_id = %(tenant_id)s
        AND t.status = 'published'
        AND t.skill_id <> %(skill_id)s
        AND (
            t.category = (SELECT o.category FROM own AS o)
            OR t.tags && (SELECT o.tags FROM own AS o)
            OR t.words @@ (SELECT string_agg(w.term::text, ' | ')::tsquery FROM terms AS w)
        )
),

page AS MATERIALIZED (
    SELECT
        a.skill_id,
        a.rank
    FROM alike AS a
    ORDER BY a.rank DESC, a.skill_id DESC
    LIMIT %(limit)s::bigint
)

SELECT
    s.id, s.name, s.slug, s.description, s.category, s.tags, s.status, s.hours_saved, s.author_id,
    s.published_version_id, s.published_version, s.created_at, s.updated_at, s.metrics_updated_at,
    s.total_uses, s.rating_count, s.average_rating,
    s.total_feedback, s.positive_feedback_pct, s.avg_token_cost_microcents,
    p.rank
FROM page AS p
INNER JOIN skills AS s ON s.id = p.skill_id
WHERE s.tenant_id = %(tenant_id)s
ORDER BY p.rank DESC, s.id DESC;

-- name: list_categories(after_skills, after_category, limit)
-- The category with most skills first.
-- Reads all: it counts all skills.
-- Example: after_skills = NULL, after_category = NULL, limit = 10
SELECT
    c.category,
    c.skills
FROM (
    SELECT
        category,
        count(*) AS skills
    FROM skills
    WHERE tenant_id = %(tenant_id)s AND status = 'published'
    GROUP BY category
) AS c
WHERE
    (-c.skills, c.category) > (
        SELECT
            -coalesce(%(after_skills)s::bigint, 9223372036854775807),
            coalesce(%(after_category)s, '')
    )
ORDER BY c.skills DESC, c.category ASC
LIMIT %(limit)s::bigint + 1;

-- name: list_tags(after_skills, after_tag, limit)
-- The tag with most skills first.
-- Reads all: it counts the tags of all skills.
-- Example: after_skills = NULL, after_tag = NULL, limit = 10
SELECT
    c.tag,
    c.skills
FROM (
    SELECT
        t.tag,
        count(*) AS skills
    FROM skills AS s
    CROSS JOIN LATERAL (SELECT DISTINCT u.tag FROM unnest(s.tags) AS u (tag)) AS t
    WHERE s.tenant_id = %(tenant_id)s AND s.status = 'published'
    GROUP BY t.tag
) AS c
WHERE
    (-c.skills, c.tag) > (
        SELECT
            -coalesce(%(after_skills)s::bigint, 9223372036854775807),
            coalesce(%(after_tag)s, '')
    )
ORDER BY c.skills DESC, c.tag ASC
LIMIT %(limit)s::bigint + 1;

-- name: find_search_drift()
-- The skills whose row of skill_search is missing or is not what index_skills would write. delete_user takes the name
-- of an author away at once, but the words of the author's skills follow in its batches: they are no drift until then.
-- Reads all: it compares every skill.
SELECT s.id
FROM skills AS s
LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = s.author_id
LEFT JOIN skill_search AS t ON t.tenant_id = %(tenant_id)s AND t.skill_id = s.id
WHERE
    s.tenant_id = %(tenant_id)s
    AND u.deleting_since IS NULL
    AND (t.status, t.category, t.tags, t.name_key, t.words) IS DISTINCT FROM (
        s.status::text,
        s.category,
        s.tags::text[],
        search_name_key(s.name),
        search_document(s.name, s.slug, s.tags, s.description, u.name)
    )
ORDER BY s.id;
