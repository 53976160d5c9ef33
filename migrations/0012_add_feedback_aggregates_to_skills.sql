-- Counts and sums of feedback and token cost on skills, and their averages.
-- Locks: ACCESS EXCLUSIVE on skills, to the end of the transaction. A column of a domain rewrites the table, which has
-- one row per skill. One statement adds all columns, so the table is rewritten once. Then the existing
-- feedback items and measurements are counted. The lock keeps new ones out meanwhile: their foreign key to skills waits
-- for it. An older version of skilldb does not count what it writes afterwards: stop it before, or run
-- `skilldb check --repair` after it has stopped.
SET LOCAL lock_timeout = '5s';

-- 0005 explains domains and these functions.
DO $$
BEGIN
    IF to_regtype('skills_feedback_count') IS NULL THEN
        CREATE DOMAIN skills_feedback_count AS BIGINT CONSTRAINT feedback_count_check CHECK (VALUE >= 0);
    END IF;

    IF to_regtype('skills_positive_feedback_pct') IS NULL THEN
        CREATE DOMAIN skills_positive_feedback_pct AS INTEGER CONSTRAINT positive_feedback_pct_check
        CHECK (VALUE BETWEEN 0 AND 100);
    END IF;

    IF to_regtype('skills_token_cost') IS NULL THEN
        CREATE DOMAIN skills_token_cost AS BIGINT CONSTRAINT token_cost_check CHECK (VALUE >= 0);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION positive_percentage(feedback BIGINT, thumbs_up BIGINT, thumbs_down BIGINT) RETURNS INTEGER
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN CASE
    -- There cannot be more thumbs than feedback items. The domain skills_positive_feedback_pct refuses -1.
    WHEN feedback < thumbs_up + thumbs_down THEN -1
    -- Not round(), which would round a quotient that was rounded before.
    ELSE div(201 * thumbs_up::NUMERIC + thumbs_down, 2 * nullif(thumbs_up + thumbs_down, 0)::NUMERIC)::INTEGER
END;

CREATE OR REPLACE FUNCTION mean_cost(cost_sum BIGINT, priced BIGINT) RETURNS BIGINT
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN div(2 * cost_sum::NUMERIC + priced, 2 * nullif(priced, 0)::NUMERIC)::BIGINT;

COMMENT ON FUNCTION positive_percentage(BIGINT, BIGINT, BIGINT) IS
'Percentage of thumbs up among all thumbs, rounded half up. NULL without thumbs; -1 if there are fewer feedback items.';
COMMENT ON FUNCTION mean_cost(BIGINT, BIGINT) IS
'Mean cost of the priced measurements, rounded half up. NULL without a priced measurement.';

REVOKE ALL ON FUNCTION positive_percentage(BIGINT, BIGINT, BIGINT) FROM public;
REVOKE ALL ON FUNCTION mean_cost(BIGINT, BIGINT) FROM public;
GRANT EXECUTE ON FUNCTION positive_percentage(BIGINT, BIGINT, BIGINT) TO skilldb_app;
GRANT EXECUTE ON FUNCTION mean_cost(BIGINT, BIGINT) TO skilldb_app;

ALTER TABLE skills
ADD COLUMN IF NOT EXISTS total_feedback SKILLS_FEEDBACK_COUNT NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS thumbs_up_count SKILLS_FEEDBACK_COUNT NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS thumbs_down_count SKILLS_FEEDBACK_COUNT NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS positive_feedback_pct SKILLS_POSITIVE_FEEDBACK_PCT,
ADD COLUMN IF NOT EXISTS priced_measurement_count SKILLS_TOKEN_COST NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS token_cost_sum_microcents SKILLS_TOKEN_COST NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS avg_token_cost_microcents SKILLS_TOKEN_COST;

-- Organisation by organisation, with the tenant setting: a role that is subject to the policies would otherwise see no
-- row. Row-level security on tenants is not forced, so the owner lists them.
DO $$
DECLARE
    organisation TEXT;
BEGIN
    FOR organisation IN SELECT t.id FROM tenants AS t ORDER BY t.id LOOP
        PERFORM set_config('app.current_tenant_id', organisation, true), set_config('row_security', 'on', true);

        UPDATE skills AS s
        SET
            total_feedback = r.total_feedback,
            thumbs_up_count = r.thumbs_up_count,
            thumbs_down_count = r.thumbs_down_count,
            positive_feedback_pct = positive_percentage(
                r.total_feedback, r.thumbs_up_count, r.thumbs_down_count
            ),
            priced_measurement_count = r.priced_measurement_count,
            token_cost_sum_microcents = r.token_cost_sum_microcents,
            avg_token_cost_microcents = mean_cost(r.token_cost_sum_microcents, r.priced_measurement_count),
            metrics_updated_at = date_trunc('milliseconds', now())
        FROM (
            SELECT
                k.id,
                coalesce(f.total, 0) AS total_feedback,
                coalesce(f.up, 0) AS thumbs_up_count,
                coalesce(f.down, 0) AS thumbs_down_count,
                coalesce(m.priced, 0) AS priced_measurement_count,
                coalesce(m.cost, 0)::BIGINT AS token_cost_sum_microcents
            FROM skills AS k
            LEFT JOIN (
                SELECT
                    skill_id,
                    count(*) AS total,
                    count(*) FILTER (WHERE feedback_type = 'thumbs_up') AS up,
                    count(*) FILTER (WHERE feedback_type = 'thumbs_down') AS down
                FROM skill_feedback
                WHERE tenant_id = organisation
                GROUP BY skill_id
            ) AS f ON f.skill_id = k.id
            LEFT JOIN (
                SELECT
                    skill_id,
                    count(estimated_cost_microcents) AS priced,
                    sum(estimated_cost_microcents) AS cost
                FROM token_measurements
                WHERE tenant_id = organisation
                GROUP BY skill_id
            ) AS m ON m.skill_id = k.id
            WHERE k.tenant_id = organisation
        ) AS r
        WHERE
            s.tenant_id = organisation
            AND s.id = r.id
            AND (
                s.total_feedback, s.thumbs_up_count, s.thumbs_down_count,
                s.priced_measurement_count, s.token_cost_sum_microcents
            ) <> (
                r.total_feedback, r.thumbs_up_count, r.thumbs_down_count,
                r.priced_measurement_count, r.token_cost_sum_microcents
            );
        PERFORM set_config('row_security', 'off', true);
    END LOOP;
    PERFORM set_config('app.current_tenant_id', '', true);
END
$$;

COMMENT ON COLUMN skills.total_feedback IS 'Number of feedback items, of every type.';
COMMENT ON COLUMN skills.thumbs_up_count IS 'Number of thumbs up.';
COMMENT ON COLUMN skills.thumbs_down_count IS 'Number of thumbs down.';
COMMENT ON COLUMN skills.positive_feedback_pct IS
'Percentage of thumbs up among all thumbs, 0 to 100, rounded half up. NULL without thumbs.';
COMMENT ON COLUMN skills.priced_measurement_count IS 'Number of token measurements that have a cost.';
COMMENT ON COLUMN skills.token_cost_sum_microcents IS 'Sum of their costs in microcents: $1 is 100,000,000.';
COMMENT ON COLUMN skills.avg_token_cost_microcents IS
'Mean cost of a measurement in microcents, rounded half up. NULL without a priced measurement.';

GRANT UPDATE (
    total_feedback, thumbs_up_count, thumbs_down_count, positive_feedback_pct,
    priced_measurement_count, token_cost_sum_microcents, avg_token_cost_microcents
) ON skills TO skilldb_app;
