-- Ratings, one for each user and skill, and their count and sum on skills.

-- name: count_rating(user_id, skill_id, rating, created_at)
-- After lock_user_and_skill, which is a statement of its own, and before rate_skill. Only a statement that begins after
-- the lock sees the rating that the previous holder of the lock wrote. The statement adds the difference, so that its
-- cost does not grow with the number of ratings. It counts no rating that rate_skill does not write.
-- Example: rating = 4, created_at = NULL
UPDATE skills AS s
SET
    rating_count = s.rating_count + added.ratings,
    rating_sum = s.rating_sum + added.stars,
    average_rating = mean_rating(s.rating_sum + added.stars, s.rating_count + added.ratings),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM (
    SELECT
        1 - count(*) AS ratings,
        %(rating)s::integer - coalesce(sum(r.rating), 0) AS stars,
        max(r.updated_at) AS updated_at
    FROM ratings AS r
    WHERE r.tenant_id = %(tenant_id)s AND r.user_id = %(user_id)s AND r.skill_id = %(skill_id)s
) AS added
WHERE
    s.tenant_id = %(tenant_id)s
    AND s.id = %(skill_id)s
    -- rate_skill refuses any other rating, and names the column.
    AND %(rating)s::integer BETWEEN 1 AND 5
    AND coalesce(added.updated_at <= date_trunc('milliseconds', %(created_at)s::timestamptz), TRUE);

-- name: rate_skill(user_id, skill_id, rating, comment, hours_saved_estimate, created_at)
-- After count_rating. A rating whose time is given does not replace a later one, which is then returned.
-- Example: rating = 4, comment = 'An example', hours_saved_estimate = NULL, created_at = NULL
-- Run first: count_rating
INSERT INTO ratings (tenant_id, user_id, skill_id, rating, comment, hours_saved_estimate, created_at, updated_at)
VALUES (
    %(tenant_id)s,
    %(user_id)s,
    %(skill_id)s,
    %(rating)s::integer,
    %(comment)s,
    %(hours_saved_estimate)s::integer,
    date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now())),
    date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now()))
)
ON CONFLICT (tenant_id, user_id, skill_id) DO UPDATE
    SET
        rating = CASE
            WHEN %(created_at)s::timestamptz IS NULL OR ratings.updated_at <= excluded.updated_at THEN excluded.rating
            ELSE ratings.rating
        END,
        comment = CASE
            WHEN %(created_at)s::timestamptz IS NULL OR ratings.updated_at <= excluded.updated_at THEN excluded.comment
            ELSE ratings.comment
        END,
        hours_saved_estimate = CASE
            WHEN %(created_at)s::timestamptz IS NULL OR ratings.updated_at <= excluded.updated_at
                THEN excluded.hours_saved_estimate
            ELSE ratings.hours_saved_estimate
        END,
        updated_at = greatest(ratings.updated_at, excluded.updated_at)
RETURNING id, skill_id, user_id, rating, comment, hours_saved_estimate, created_at, updated_at;

-- name: get_rating(user_id, skill_id)
SELECT id, skill_id, user_id, rating, comment, hours_saved_estimate, created_at, updated_at
FROM ratings
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND skill_id = %(skill_id)s;

-- name: delete_rating(user_id, skill_id)
-- After lock_rated_skill.
WITH deleted AS (
    DELETE FROM ratings
    WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND skill_id = %(skill_id)s
    RETURNING rating
)

UPDATE skills AS s
SET
    rating_count = s.rating_count - 1,
    rating_sum = s.rating_sum - deleted.rating,
    average_rating = mean_rating(s.rating_sum - deleted.rating, s.rating_count - 1),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM deleted
WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
RETURNING s.id;

-- name: lock_rated_skill(skill_id)
-- Works like lock_skill, but a missing skill raises no error: it has no rating to delete.
SELECT id
FROM skills
WHERE tenant_id = %(tenant_id)s AND id = %(skill_id)s
FOR NO KEY UPDATE;

-- name: list_ratings(skill_id, except_user_id, after_updated_at, after_id, limit)
-- Newest first. list_skills explains the bound and the extra row.
-- Example: except_user_id = NULL, after_updated_at = NULL, after_id = NULL, limit = 10
SELECT
    r.id, r.skill_id, r.user_id, r.rating, r.comment, r.hours_saved_estimate, r.created_at, r.updated_at,
    u.name AS user_name
FROM ratings AS r
LEFT JOIN users AS u ON u.tenant_id = %(tenant_id)s AND u.id = r.user_id
WHERE
    r.tenant_id = %(tenant_id)s
    AND r.skill_id = %(skill_id)s
    AND r.user_id IS DISTINCT FROM %(except_user_id)s
    AND (r.updated_at, r.id) < (
        SELECT
            coalesce(%(after_updated_at)s::timestamptz, 'infinity'),
            coalesce(%(after_id)s, '')
    )
ORDER BY r.updated_at DESC, r.id DESC
LIMIT %(limit)s::bigint + 1;
