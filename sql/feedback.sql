-- Feedback items on skills, their review, and their counts on skills.

-- name: submit_feedback(id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment, comment,
-- suggested_content, suggested_diff, example_input, example_output, expected_output, quality_score, source)
-- After lock_user_and_skill. One statement writes the row and updates the counts.
-- Example: id = 'skilldb-explain', skill_version_id = :version_id, usage_event_id = NULL,
-- feedback_type = 'thumbs_up', sentiment = NULL, comment = 'An example', suggested_content = NULL,
-- suggested_diff = NULL, example_input = NULL, example_output = NULL, expected_output = NULL, quality_score = NULL,
-- source = 'example'
WITH submitted AS (
    INSERT INTO skill_feedback (
        tenant_id, id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment, comment,
        suggested_content, suggested_diff, example_input, example_output, expected_output, quality_score, source
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
            CASE %(feedback_type)s WHEN 'thumbs_up' THEN 1 WHEN 'thumbs_down' THEN -1 END
        ),
        %(comment)s,
        %(suggested_content)s,
        %(suggested_diff)s,
        %(example_input)s,
        %(example_output)s,
        %(expected_output)s,
        %(quality_score)s::integer,
        %(source)s
    )
    RETURNING
        id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment,
        comment, suggested_content, suggested_diff, example_input, example_output, expected_output,
        quality_score, status, reviewed_by, reviewed_at, review_notes, source, created_at
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
    quality_score, status, reviewed_by, reviewed_at, review_notes, source, created_at
FROM submitted;

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

-- name: review_feedback(feedback_id, status, reviewed_by, review_notes)
-- The UPDATE checks the transition. An unknown status passes it and is refused by the column's CHECK.
-- Example: feedback_id = 'skilldb-explain', status = 'accepted', reviewed_by = :user_id, review_notes = NULL
-- Run first: submit_feedback
WITH reviewed AS (
    UPDATE skill_feedback
    SET
        status = %(status)s,
        reviewed_by = %(reviewed_by)s,
        reviewed_at = date_trunc('milliseconds', now()),
        review_notes = %(review_notes)s
    WHERE
        tenant_id = %(tenant_id)s
        AND id = %(feedback_id)s
        AND CASE status
            WHEN 'pending' THEN %(status)s NOT IN ('pending', 'implemented')
            WHEN 'accepted' THEN %(status)s NOT IN ('pending', 'accepted')
            WHEN 'dismissed' THEN %(status)s NOT IN ('accepted', 'dismissed', 'implemented')
            ELSE %(status)s NOT IN ('pending', 'accepted', 'dismissed', 'implemented')
        END
    RETURNING
        id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment,
        comment, suggested_content, suggested_diff, example_input, example_output, expected_output,
        quality_score, status, reviewed_by, reviewed_at, review_notes, source, created_at
)

SELECT
    r.id, r.skill_id, r.skill_version_id, r.user_id, r.usage_event_id, r.feedback_type, r.sentiment,
    r.comment, r.suggested_content, r.suggested_diff, r.example_input, r.example_output, r.expected_output,
    r.quality_score, r.status, r.reviewed_by, r.reviewed_at, r.review_notes, r.source, r.created_at
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
    f.quality_score, f.status, f.reviewed_by, f.reviewed_at, f.review_notes, f.source, f.created_at,
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

-- name: list_training_examples(skill_id)
-- Oldest first.
SELECT
    id, skill_id, skill_version_id, user_id, usage_event_id, feedback_type, sentiment,
    comment, suggested_content, suggested_diff, example_input, example_output, expected_output,
    quality_score, status, reviewed_by, reviewed_at, review_notes, source, created_at
FROM skill_feedback
WHERE
    tenant_id = %(tenant_id)s
    AND skill_id = %(skill_id)s
    AND feedback_type = 'training_example'
    AND status = 'accepted'
    AND example_input IS NOT NULL
    AND expected_output IS NOT NULL
ORDER BY created_at, id;
