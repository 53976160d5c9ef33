-- The users of an organisation.

-- name: create_user(id, email, name, role)
-- Example: id = 'skilldb-explain', email = 'skilldb-explain@example.com', name = 'Example', role = 'member'
INSERT INTO users (tenant_id, id, email, name, role)
VALUES (%(tenant_id)s, coalesce(%(id)s, gen_random_uuid()::text), %(email)s, %(name)s, %(role)s)
RETURNING id, email, name, role, created_at, updated_at;

-- name: get_user(user_id)
SELECT id, email, name, role, created_at, updated_at
FROM users
WHERE tenant_id = %(tenant_id)s AND id = %(user_id)s;

-- name: lock_user_for_deletion(user_id)
-- The first step of deleting a user. While it holds this lock, nobody can write a row for the user.
SELECT id
FROM users
WHERE tenant_id = %(tenant_id)s AND id = %(user_id)s
FOR UPDATE;

-- name: lock_skills_of_user(user_id)
-- The second step locks every skill whose rows will be deleted or changed, in id order.
-- Reads all: for a user of many skills, one pass over the skills is cheaper than a probe for each of them.
SELECT s.id
FROM skills AS s
WHERE
    s.tenant_id = %(tenant_id)s
    AND s.id IN (
        SELECT r.skill_id FROM ratings AS r
        WHERE r.tenant_id = %(tenant_id)s AND r.user_id = %(user_id)s
        UNION
        SELECT v.skill_id FROM user_skill_views AS v
        WHERE v.tenant_id = %(tenant_id)s AND v.user_id = %(user_id)s
        UNION
        SELECT e.skill_id FROM usage_events AS e
        WHERE e.tenant_id = %(tenant_id)s AND e.user_id = %(user_id)s
        UNION
        SELECT f.skill_id FROM skill_feedback AS f
        WHERE f.tenant_id = %(tenant_id)s AND f.user_id = %(user_id)s
        UNION
        SELECT w.skill_id FROM skill_feedback AS w
        WHERE w.tenant_id = %(tenant_id)s AND w.reviewed_by = %(user_id)s
        UNION
        SELECT m.skill_id FROM token_measurements AS m
        WHERE m.tenant_id = %(tenant_id)s AND m.user_id = %(user_id)s
    )
ORDER BY s.id
FOR NO KEY UPDATE;

-- name: withdraw_ratings_of_user(user_id)
-- The foreign key deletes the ratings themselves together with the user.
-- Reads all: for a user with many ratings, one pass over the skills is cheaper than a probe for each of them.
UPDATE skills AS s
SET
    rating_count = s.rating_count - 1,
    rating_sum = s.rating_sum - r.rating,
    average_rating = mean_rating(s.rating_sum - r.rating, s.rating_count - 1),
    metrics_updated_at = date_trunc('milliseconds', now())
FROM ratings AS r
WHERE
    s.tenant_id = %(tenant_id)s
    AND r.tenant_id = %(tenant_id)s
    AND r.skill_id = s.id
    AND r.user_id = %(user_id)s;

-- name: anonymise_usage_of_user(user_id)
UPDATE usage_events
SET user_id = NULL
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s;

-- name: anonymise_pending_uses_of_user(user_id)
-- It waits for no row: fold_uses has locked the others, and then sees that the user is gone.
WITH pending AS MATERIALIZED (
    SELECT p.id
    FROM pending_uses AS p
    WHERE p.tenant_id = %(tenant_id)s AND p.user_id = %(user_id)s
    FOR UPDATE SKIP LOCKED
)

UPDATE pending_uses
SET user_id = NULL
WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT p.id FROM pending AS p));

-- name: anonymise_feedback_of_user(user_id)
UPDATE skill_feedback
SET user_id = NULL
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s;

-- name: anonymise_reviews_of_user(user_id)
UPDATE skill_feedback
SET reviewed_by = NULL
WHERE tenant_id = %(tenant_id)s AND reviewed_by = %(user_id)s;

-- name: anonymise_measurements_of_user(user_id)
UPDATE token_measurements
SET user_id = NULL
WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s;

-- name: delete_user(user_id)
-- Example: user_id = 'skilldb-explain'
-- Run first: create_user, withdraw_ratings_of_user, anonymise_usage_of_user, anonymise_pending_uses_of_user,
-- anonymise_feedback_of_user, anonymise_reviews_of_user, anonymise_measurements_of_user
DELETE FROM users
WHERE tenant_id = %(tenant_id)s AND id = %(user_id)s
RETURNING id;
