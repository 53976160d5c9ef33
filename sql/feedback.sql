-- Feedback items on skills, their review, and their counts on skills.

-- name: submit_feedback(id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment, comment,
-- suggested_content, suggested_diff, example_input, example_output, expected_output, quality_score, status,
-- reviewed_by, reviewed_at, review_notes, reply, implemented_version_id, source, created_at)
-- After lock_user_and_skill. One statement writes the row and updates the counts.
-- Example: id = 'skilldb-explain', skill_version_id = :version_id, usage_event_id = NULL,
-- feedback_type = 'thumbs_up', sentiment = NULL, comment = 'An example', suggested_content = NULL,
-- suggested_diff = NULL, example_input = NULL, example_output = NULL, expected_output = NULL, quality_score = NULL,
-- status = 'pending', reviewed_by = NULL, reviewed_at = NULL, review_notes = NULL, reply = NULL,
-- implemented_version_id = NULL, source = 'example', created_at = NULL
WITH submitted AS (
    INSERT INTO skill_feedback (
        tenant_id, id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment, comment,
        suggested_content, suggested_diff, example_input, example_output, expected_output, quality_score,
        status, reviewed_by, reviewed_at, review_notes, reply, implemented_version_id, source, created_at
    )
    VALUES (
        %(tenant_id)s,
        coalesce(%(id)s, gen_random_uuid()::text),
        %(skill_id)s,
        %(skill_version_id)s,
        %(user_id)s,
        %(usage_event_id)s,
        %(feedback_type)s,
        coalesce(
            %(sentiment)s::integer,
            CASE WHEN %(feedback_type)s = 'thumbs_up' THEN 1 WHEN %(feedback_type)s = 'thumbs_down' THEN -1 END
        ),
        %(comment)s,
        %(suggested_content)s,
        %(suggested_diff)s,
        %(example_input)s,
        %(example_output)s,
        %(expected_output)s,
        %(quality_score)s::integer,
        %(status)s,
        %(reviewed_by)s,
        date_trunc('milliseconds', %(reviewed_at)s::timestamptz),
        %(review_notes)s,
        %(reply)s,
        %(implemented_version_id)s,
        %(source)s,
        date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now()))
    )
    RETURNING
        id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment,
        comment, suggested_content, suggested_diff, example_input, example_output, expected_output,
        quality_score, status, reviewed_by, reviewed_at, review_notes, reply, implemented_version_id, source,
        created_at
),

counted AS (
    UPDATE skills AS s
    SET
        total_feedback = s.total_feedback + 1,
        thumbs_up_count = s.thumbs_up_count + added.up,
        thumbs_down_count = s.thumbs_down_count + added.down,
        positive_feedback_pct = positive_percentage(
            s.total_feedback + 1, s.thumbs_up_count + added.up, s.thumbs_down_count + added.down
        ),
        metrics_updated_at = date_trunc('milliseconds', now())
    FROM (
        SELECT
            skill_id,
            (feedback_type = 'thumbs_up')::integer AS up,
            (feedback_type = 'thumbs_down')::integer AS down
        FROM submitted
    ) AS added
    WHERE s.tenant_id = %(tenant_id)s AND s.id = added.skill_id
)

SELECT
    id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment,
    comment, suggested_content, suggested_diff, example_input, example_output, expected_output,
    quality_score, status, reviewed_by, reviewed_at, review_notes, reply, implemented_version_id, source, created_at
FROM submitted;

-- name: check_review_time(created_at, reviewed_at)
-- Before submit_feedback, for a review of another system. The times are compared as they will be stored.
-- Example: created_at = now() - interval '30 days', reviewed_at = now() - interval '3 days'
SELECT
    CASE
        WHEN
            %(reviewed_at)s::timestamptz
            < date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now()))
            THEN raise_invalid_value(
                'reviewed_at', (%(reviewed_at)s::timestamptz)::text, 'is before the feedback was created'
            )
    END AS refused;

-- name: lock_skill_of_version(implemented_version_id)
-- Before lock_feedback. The foreign key of review_feedback waits for a transaction that deletes the version, and that
-- one, delete_skill, waits for the feedback item. Whoever has this lock keeps delete_skill from beginning. A version
-- keeps its skill, also when the feedback item moves to another one.
-- Example: implemented_version_id = :version_id
SELECT s.id
FROM skills AS s
WHERE
    s.tenant_id = %(tenant_id)s
    AND s.id = (
        SELECT v.skill_id
        FROM skill_versions AS v
        WHERE v.tenant_id = %(tenant_id)s AND v.id = %(implemented_version_id)s
    )
FOR KEY SHARE;

-- name: lock_feedback(feedback_id)
-- Lock first, so that a refused transition reports the current status.
SELECT coalesce(
    (
        SELECT f.id
        FROM skill_feedback AS f
        WHERE f.tenant_id = %(tenant_id)s AND f.id = %(feedback_id)s
        FOR NO KEY UPDATE
    ),
    raise_not_found('feedback', %(feedback_id)s)
) AS id;

-- name: check_implemented_version(feedback_id, implemented_version_id)
-- After lock_feedback. Like check_skill_version, for the skill of the feedback item.
-- Example: implemented_version_id = :version_id, feedback_id = 'skilldb-explain'
-- Run first: submit_feedback
SELECT
    CASE
        WHEN NOT EXISTS (
            SELECT
            FROM skill_feedback AS f
            INNER JOIN skill_versions AS v ON v.tenant_id = %(tenant_id)s AND v.skill_id = f.skill_id
            WHERE
                f.tenant_id = %(tenant_id)s
                AND f.id = %(feedback_id)s
                AND v.id = %(implemented_version_id)s
        ) THEN raise_not_found('version', %(implemented_version_id)s)
    END AS missing;

-- name: review_feedback(feedback_id, status, reviewed_by, review_notes, reply, implemented_version_id)
-- The UPDATE checks the transition. An unknown status passes it and is refused by the column's CHECK. The notes are
-- those of the last change of status; the author has read the reply, so only another reply replaces it.
-- Example: feedback_id = 'skilldb-explain', status = 'accepted', reviewed_by = :user_id, review_notes = NULL,
-- reply = 'An example', implemented_version_id = NULL
-- Run first: submit_feedback
WITH reviewed AS (
    UPDATE skill_feedback
    SET
        status = coalesce(%(status)s, status),
        reviewed_by = %(reviewed_by)s,
        reviewed_at = date_trunc('milliseconds', now()),
        review_notes = coalesce(%(review_notes)s, CASE WHEN %(status)s::text IS NULL THEN review_notes END),
        reply = coalesce(%(reply)s, reply),
        implemented_version_id = coalesce(%(implemented_version_id)s, implemented_version_id)
    WHERE
        tenant_id = %(tenant_id)s
        AND id = %(feedback_id)s
        AND CASE
            WHEN %(status)s::text IS NULL THEN TRUE
            WHEN status = 'pending' THEN %(status)s NOT IN ('pending', 'implemented')
            WHEN status = 'accepted' THEN %(status)s NOT IN ('pending', 'accepted')
            WHEN status = 'dismissed' THEN %(status)s NOT IN ('accepted', 'dismissed', 'implemented')
            ELSE %(status)s NOT IN ('pending', 'accepted', 'dismissed', 'implemented')
        END
    RETURNING
        id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment,
        comment, suggested_content, suggested_diff, example_input, example_output, expected_output,
        quality_score, status, reviewed_by, reviewed_at, review_notes, reply, implemented_version_id, source,
        created_at
)

SELECT
    r.id, r.skill_id, r.skill_version_id, r.user_id, r.usage_event_id, r.feedback_type, r.sentiment,
    r.comment, r.suggested_content, r.suggested_diff, r.example_input, r.example_output, r.expected_output,
    r.quality_score, r.status, r.reviewed_by, r.reviewed_at, r.review_notes, r.reply, r.implemented_version_id,
    r.source, r.created_at
FROM skill_feedback AS f
LEFT JOIN reviewed AS r ON r.id = f.id
WHERE
    f.tenant_id = %(tenant_id)s
    AND f.id = %(feedback_id)s
    AND coalesce(r.id, raise_invalid_transition('feedback', f.id, f.status, 'become ' || %(status)s)) IS NOT NULL;

-- name: list_feedback(skill_id, feedback_type, status, after_created_at, after_id, limit)
-- Newest first. list_skills explains the bound and the extra row.
-- Example: feedback_type = NULL, status = NULL, after_created_at = NULL, after_id = NULL, limit = 10
SELECT
    f.id, f.skill_id, f.skill_version_id, f.user_id, f.usage_event_id, f.feedback_type, f.sentiment,
    f.comment, f.suggested_content, f.suggested_diff, f.example_input, f.example_output, f.expected_output,
    f.quality_score, f.status, f.reviewed_by, f.reviewed_at, f.review_notes, f.reply, f.implemented_version_id,
    f.source, f.created_at,
    u.name AS user_name,
    r.name AS reviewer_name
FROM skill_feedback AS f
LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = f.user_id
LEFT JOIN users AS r ON r.tenant_id = %(tenant_id)s AND r.id = f.reviewed_by
WHERE
    f.tenant_id = %(tenant_id)s
    AND f.skill_id = %(skill_id)s
    AND (f.created_at, f.id) < (
        SELECT
            coalesce(%(after_created_at)s::timestamptz, 'infinity'),
            coalesce(%(after_id)s, '')
    )
    AND (%(feedback_type)s::text IS NULL OR f.feedback_type = %(feedback_type)s)
    AND (%(status)s::text IS NULL OR f.status = %(status)s)
ORDER BY f.created_at DESC, f.id DESC
LIMIT %(limit)s::bigint + 1;

-- name: count_feedback_since(skill_id, since)
-- Example: since = now() - interval '30 days'
SELECT count(*) AS feedback
FROM skill_feedback
WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s AND created_at > %(since)s::timestamptz;

-- name: get_feedback(feedback_id)
-- Subqueries force one index probe for each name. With joins PostgreSQL may read all users.
SELECT
    f.id, f.skill_id, f.skill_version_id, f.user_id, f.usage_event_id, f.feedback_type, f.sentiment,
    f.comment, f.suggested_content, f.suggested_diff, f.example_input, f.example_output, f.expected_output,
    f.quality_score, f.status, f.reviewed_by, f.reviewed_at, f.review_notes, f.reply, f.implemented_version_id,
    f.source, f.created_at,
    s.name AS skill_name,
    s.slug AS skill_slug,
    (
        SELECT u.name FROM users AS u
        WHERE u.tenant_id = %(tenant_id)s AND u.id = f.user_id
    ) AS user_name,
    (
        SELECT r.name FROM users AS r
        WHERE r.tenant_id = %(tenant_id)s AND r.id = f.reviewed_by
    ) AS reviewer_name
FROM skill_feedback AS f
INNER JOIN skills AS s ON s.tenant_id = %(tenant_id)s AND s.id = f.skill_id
WHERE f.tenant_id = %(tenant_id)s AND f.id = %(feedback_id)s;

-- name: list_feedback_queue(status, feedback_type, after_created_at, after_id, limit)
-- Oldest first, over all skills. Each type is one range of skill_feedback_queue_idx, of which the query reads a page at
-- most: one index serves it with and without a type. list_skills explains the bound and the extra row.
-- Example: status = 'pending', feedback_type = NULL, after_created_at = NULL, after_id = NULL, limit = 10
SELECT
    f.id, f.skill_id, f.skill_version_id, f.user_id, f.usage_event_id, f.feedback_type, f.sentiment,
    f.comment, f.suggested_content, f.suggested_diff, f.example_input, f.example_output, f.expected_output,
    f.quality_score, f.status, f.reviewed_by, f.reviewed_at, f.review_notes, f.reply, f.implemented_version_id,
    f.source, f.created_at,
    u.name AS user_name,
    r.name AS reviewer_name,
    s.name AS skill_name,
    s.slug AS skill_slug
FROM (
    SELECT p.id, p.created_at
    FROM
        unnest(
            CASE
                WHEN %(feedback_type)s::text IS NULL
                    THEN ARRAY['thumbs_up', 'thumbs_down', 'suggestion', 'training_example', 'bug_report']
                ELSE ARRAY[%(feedback_type)s]
            END
        ) AS t (feedback_type)
    CROSS JOIN
        LATERAL (
            SELECT w.id, w.created_at
            FROM skill_feedback AS w
            WHERE
                w.tenant_id = %(tenant_id)s
                AND w.status = %(status)s
                AND w.feedback_type = t.feedback_type
                AND (w.created_at, w.id) > (
                    SELECT
                        coalesce(%(after_created_at)s::timestamptz, '-infinity'),
                        coalesce(%(after_id)s, '')
                )
            ORDER BY w.created_at, w.id
            LIMIT %(limit)s::bigint + 1
        ) AS p
    ORDER BY p.created_at, p.id
    LIMIT %(limit)s::bigint + 1
) AS q
INNER JOIN skill_feedback AS f ON f.tenant_id = %(tenant_id)s AND f.id = q.id
INNER JOIN skills AS s ON s.tenant_id = %(tenant_id)s AND s.id = f.skill_id
LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = f.user_id
LEFT JOIN users AS r ON r.tenant_id = %(tenant_id)s AND r.id = f.reviewed_by
ORDER BY q.created_at, q.id;

-- name: list_user_feedback(user_id, after_created_at, after_id, limit)
-- Newest first. list_skills explains the bound and the extra row.
-- Example: after_created_at = NULL, after_id = NULL, limit = 10
SELECT
    f.id, f.skill_id, f.skill_version_id, f.user_id, f.usage_event_id, f.feedback_type, f.sentiment,
    f.comment, f.suggested_content, f.suggested_diff, f.example_input, f.example_output, f.expected_output,
    f.quality_score, f.status, f.reviewed_by, f.reviewed_at, f.review_notes, f.reply, f.implemented_version_id,
    f.source, f.created_at,
    u.name AS user_name,
    r.name AS reviewer_name,
    s.name AS skill_name,
    s.slug AS skill_slug
FROM skill_feedback AS f
INNER JOIN skills AS s ON s.tenant_id = %(tenant_id)s AND s.id = f.skill_id
LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = f.user_id
LEFT JOIN users AS r ON r.tenant_id = %(tenant_id)s AND r.id = f.reviewed_by
WHERE
    f.tenant_id = %(tenant_id)s
    AND f.user_id = %(user_id)s
    AND (f.created_at, f.id) < (
        SELECT
            coalesce(%(after_created_at)s::timestamptz, 'infinity'),
            coalesce(%(after_id)s, '')
    )
ORDER BY f.created_at DESC, f.id DESC
LIMIT %(limit)s::bigint + 1;

-- name: get_feedback_stats(skill_id, days)
-- Means are rounded half up, also below zero: floor() of the number and a half.
-- Example: days = 30
SELECT
    s.id AS skill_id,
    count(f.id) AS total_feedback,
    count(*) FILTER (WHERE f.feedback_type = 'thumbs_up') AS thumbs_up_count,
    count(*) FILTER (WHERE f.feedback_type = 'thumbs_down') AS thumbs_down_count,
    count(*) FILTER (WHERE f.feedback_type = 'suggestion') AS suggestion_count,
    count(*) FILTER (WHERE f.feedback_type = 'training_example') AS training_example_count,
    count(*) FILTER (WHERE f.feedback_type = 'bug_report') AS bug_report_count,
    count(*) FILTER (WHERE f.status = 'pending') AS pending_count,
    count(*) FILTER (WHERE f.status = 'accepted') AS accepted_count,
    count(*) FILTER (WHERE f.status = 'dismissed') AS dismissed_count,
    count(*) FILTER (WHERE f.status = 'implemented') AS implemented_count,
    min(f.created_at) FILTER (WHERE f.status = 'pending') AS oldest_pending_at,
    positive_percentage(
        count(f.id),
        count(*) FILTER (WHERE f.feedback_type = 'thumbs_up'),
        count(*) FILTER (WHERE f.feedback_type = 'thumbs_down')
    ) AS positive_feedback_pct,
    floor(100.0 * sum(f.sentiment) / nullif(count(f.sentiment), 0) + 0.5)::integer AS average_sentiment,
    floor(100.0 * sum(f.quality_score) / nullif(count(f.quality_score), 0) + 0.5)::integer AS average_quality_score
FROM skills AS s
LEFT JOIN skill_feedback AS f
    ON
        f.tenant_id = %(tenant_id)s
        AND f.skill_id = %(skill_id)s
        AND f.created_at >= now() - make_interval(hours => 24 * %(days)s::integer)
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
GROUP BY s.id;

-- name: list_training_examples(skill_id, after_created_at, after_id, limit)
-- Oldest first. list_skills explains the bound and the extra row.
-- Example: after_created_at = NULL, after_id = NULL, limit = 10
SELECT
    id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment,
    comment, suggested_content, suggested_diff, example_input, example_output, expected_output,
    quality_score, status, reviewed_by, reviewed_at, review_notes, reply, implemented_version_id, source, created_at
FROM skill_feedback
WHERE
    tenant_id = %(tenant_id)s
    AND skill_id = %(skill_id)s
    AND (created_at, id) > (
        SELECT
            coalesce(%(after_created_at)s::timestamptz, '-infinity'),
            coalesce(%(after_id)s, '')
    )
    AND feedback_type = 'training_example'
    AND status = 'accepted'
    AND example_input IS NOT NULL
    AND expected_output IS NOT NULL
ORDER BY created_at, id
LIMIT %(limit)s::bigint + 1;
