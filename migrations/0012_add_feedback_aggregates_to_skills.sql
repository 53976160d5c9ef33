-- Counts and sums of feedback and token cost on skills, and the averages generated from them.
-- Locks: ACCESS EXCLUSIVE on skills, to the end of the transaction. The stored generated columns rewrite the table,
-- which has one row per skill. One statement adds all columns, so the table is rewritten once. The checks read it once
-- more. Then the existing feedback items and measurements are counted. The lock keeps new ones out meanwhile: their
-- foreign key to skills waits for it. An older version of skilldb does not count what it writes afterwards: stop it
-- before, or run `skilldb check --repair` after it has stopped.
SET LOCAL lock_timeout = '5s';

ALTER TABLE skills
ADD COLUMN IF NOT EXISTS total_feedback BIGINT NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS thumbs_up_count BIGINT NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS thumbs_down_count BIGINT NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS priced_measurement_count BIGINT NOT NULL DEFAULT 0,
ADD COLUMN IF NOT EXISTS token_cost_sum_microcents BIGINT NOT NULL DEFAULT 0,
-- squawk-ignore adding-field-with-default -- rewritten once for all columns, one row per skill
ADD COLUMN IF NOT EXISTS positive_feedback_pct INTEGER GENERATED ALWAYS AS (
    -- Not round(), which would round a quotient that was rounded before.
    div(
        201 * thumbs_up_count::NUMERIC + thumbs_down_count,
        2 * nullif(thumbs_up_count + thumbs_down_count, 0)::NUMERIC
    )::INTEGER
) STORED,
-- squawk-ignore adding-field-with-default -- rewritten once for all columns, one row per skill
ADD COLUMN IF NOT EXISTS avg_token_cost_microcents BIGINT GENERATED ALWAYS AS (
    -- Use div(), not round(): NUMERIC division rounds first.
    div(
        2 * token_cost_sum_microcents::NUMERIC + priced_measurement_count,
        2 * nullif(priced_measurement_count, 0)::NUMERIC
    )::BIGINT
) STORED;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_constraint
        WHERE conname = 'skills_feedback_counts_check' AND conrelid = 'skills'::REGCLASS
    ) THEN
        ALTER TABLE skills ADD CONSTRAINT skills_feedback_counts_check CHECK (
            thumbs_up_count >= 0
            AND thumbs_down_count >= 0
            AND total_feedback >= thumbs_up_count + thumbs_down_count
        );
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_constraint
        WHERE conname = 'skills_token_cost_check' AND conrelid = 'skills'::REGCLASS
    ) THEN
        ALTER TABLE skills ADD CONSTRAINT skills_token_cost_check CHECK (
            priced_measurement_count >= 0 AND token_cost_sum_microcents >= 0
        );
    END IF;
END
$$;

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
            priced_measurement_count = r.priced_measurement_count,
            token_cost_sum_microcents = r.token_cost_sum_microcents,
            metrics_updated_at = date_trunc('milliseconds', now())
        FROM (
            SELECT
                k.id,
                coalesce(f.total, 0) AS total_feedback,
                coalesce(f.up, 0) AS thumbs_up_count,
                coalesce(f.down, 0) AS thumbs_down_count,
                coalesce(m.priced, 0) AS priced_measurement_count,
                coalesce(m.cost, 0) AS token_cost_sum_microcents
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
    total_feedback, thumbs_up_count, thumbs_down_count, priced_measurement_count, token_cost_sum_microcents
) ON skills TO skilldb_app;
