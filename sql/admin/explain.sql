-- Example parameters for explain.py.

-- name: find_examples()
-- Reads all: finds the skill and the user with the most rows.
WITH busiest_skill AS (
    SELECT
        s.id,
        s.slug,
        s.published_version_id
    FROM skills AS s
    WHERE s.tenant_id = %(tenant_id)s
    ORDER BY s.total_uses + s.rating_count + s.total_feedback + s.priced_measurement_count DESC, s.id ASC
    LIMIT 1
),

busiest_user AS (
    SELECT v.user_id AS id
    FROM user_skill_views AS v
    WHERE v.tenant_id = %(tenant_id)s
    GROUP BY v.user_id
    ORDER BY count(*) DESC, v.user_id ASC
    LIMIT 1
),

some_users AS (
    SELECT u.id
    FROM users AS u
    WHERE u.tenant_id = %(tenant_id)s
    ORDER BY u.id
    LIMIT 50
),

newest_skills AS (
    SELECT s.id
    FROM skills AS s
    WHERE s.tenant_id = %(tenant_id)s
    ORDER BY s.updated_at DESC, s.id DESC
    LIMIT 50
)

SELECT
    coalesce(
        (
            SELECT t.id FROM tenants AS t
            WHERE t.id = %(tenant_id)s
        ),
        raise_not_found('tenant', %(tenant_id)s)
    ) AS tenant_id,
    (SELECT b.id FROM busiest_skill AS b) AS skill_id,
    (SELECT b.slug FROM busiest_skill AS b) AS slug,
    (SELECT b.published_version_id FROM busiest_skill AS b) AS version_id,
    coalesce((SELECT b.id FROM busiest_user AS b), (SELECT min(u.id) FROM some_users AS u)) AS user_id,
    ARRAY(SELECT u.id FROM some_users AS u) AS user_ids,
    ARRAY(SELECT n.id FROM newest_skills AS n) AS skill_ids,
    (
        SELECT f.id FROM skill_feedback AS f
        WHERE f.tenant_id = %(tenant_id)s
        ORDER BY f.id
        LIMIT 1
    ) AS feedback_id,
    (
        SELECT e.id FROM usage_events AS e
        WHERE e.tenant_id = %(tenant_id)s
        ORDER BY e.id
        LIMIT 1
    ) AS event_id,
    (
        SELECT r.benchmark_run_id FROM benchmark_results AS r
        WHERE r.tenant_id = %(tenant_id)s
        ORDER BY r.id
        LIMIT 1
    ) AS run_id;
