-- Row locks that come first in a transaction. Users before skills, each in id order, everywhere: two transactions that
-- keep to one order cannot deadlock. A missing row is an error here, before anything is written.

-- name: lock_skill(skill_id)
-- Whoever changes a skill's counters or versions takes this first. NO KEY: foreign keys to the skill need not wait.
SELECT coalesce(
    (
        SELECT s.id
        FROM skills AS s
        WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
        FOR NO KEY UPDATE
    ),
    raise_not_found('skill', %(skill_id)s)
) AS id;

-- name: lock_skill_key(skill_id)
-- Before a change of the slug, which is part of a key: that UPDATE locks the row against foreign keys too, and would
-- have to wait for those that came between.
SELECT coalesce(
    (
        SELECT s.id
        FROM skills AS s
        WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
        FOR UPDATE
    ),
    raise_not_found('skill', %(skill_id)s)
) AS id;

-- name: lock_user_and_skill(user_id, skill_id)
-- As lock_skill, after the user, whose row the foreign key of what is written next would lock, too late. NULL locks
-- nothing. CASE evaluates its conditions in order (PostgreSQL documentation, "Expression Evaluation Rules").
SELECT
    CASE
        WHEN %(user_id)s::text IS NOT NULL AND (
            SELECT u.id
            FROM users AS u
            WHERE u.tenant_id = %(tenant_id)s AND u.id = %(user_id)s
            FOR KEY SHARE
        ) IS NULL THEN raise_not_found('user', %(user_id)s)
        WHEN %(skill_id)s::text IS NOT NULL AND (
            SELECT s.id
            FROM skills AS s
            WHERE s.tenant_id = %(tenant_id)s AND s.id = %(skill_id)s
            FOR NO KEY UPDATE
        ) IS NULL THEN raise_not_found('skill', %(skill_id)s)
    END AS missing;

-- name: lock_users(user_ids)
-- Many users, in id order. The ids must be distinct.
WITH locked AS (
    SELECT u.id
    FROM users AS u
    WHERE u.tenant_id = %(tenant_id)s AND u.id = ANY(%(user_ids)s::text[])
    ORDER BY u.id
    FOR KEY SHARE
)

SELECT
    CASE
        WHEN (SELECT count(*) FROM locked) < cardinality(%(user_ids)s::text[])
            THEN raise_not_found(
                'user',
                (
                    SELECT min(w.id) FROM unnest(%(user_ids)s::text[]) AS w (id)
                    WHERE NOT EXISTS (
                        SELECT FROM locked
                        WHERE locked.id = w.id
                    )
                )
            )
    END AS missing;

-- name: lock_skills(skill_ids)
-- Many skills, in id order. The ids must be distinct.
WITH locked AS (
    SELECT s.id
    FROM skills AS s
    WHERE s.tenant_id = %(tenant_id)s AND s.id = ANY(%(skill_ids)s::text[])
    ORDER BY s.id
    FOR NO KEY UPDATE
)

SELECT
    CASE
        WHEN (SELECT count(*) FROM locked) < cardinality(%(skill_ids)s::text[])
            THEN raise_not_found(
                'skill',
                (
                    SELECT min(w.id) FROM unnest(%(skill_ids)s::text[]) AS w (id)
                    WHERE NOT EXISTS (
                        SELECT FROM locked
                        WHERE locked.id = w.id
                    )
                )
            )
    END AS missing;

-- name: check_skill_version(skill_id, skill_version_id)
-- The foreign key asks for a version of the organisation; it must be one of this skill.
-- Example: skill_version_id = :version_id
SELECT
    CASE
        WHEN %(skill_version_id)s::text IS NOT NULL AND NOT EXISTS (
            SELECT
            FROM skill_versions AS v
            WHERE v.tenant_id = %(tenant_id)s AND v.skill_id = %(skill_id)s AND v.id = %(skill_version_id)s
        ) THEN raise_not_found('version', %(skill_version_id)s)
    END AS missing;
