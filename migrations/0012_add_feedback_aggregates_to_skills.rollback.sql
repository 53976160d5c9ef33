-- Locks: ACCESS EXCLUSIVE on skills, briefly: dropping a column does not rewrite the table.
-- squawk-ignore-file ban-drop-column, ban-drop-function, ban-drop-domain -- they were added by the migration
SET LOCAL lock_timeout = '5s';

ALTER TABLE skills
DROP COLUMN IF EXISTS avg_token_cost_microcents,
DROP COLUMN IF EXISTS positive_feedback_pct,
DROP COLUMN IF EXISTS token_cost_sum_microcents,
DROP COLUMN IF EXISTS priced_measurement_count,
DROP COLUMN IF EXISTS thumbs_down_count,
DROP COLUMN IF EXISTS thumbs_up_count,
DROP COLUMN IF EXISTS total_feedback;

DROP FUNCTION IF EXISTS mean_cost(BIGINT, BIGINT);
DROP FUNCTION IF EXISTS positive_percentage(BIGINT, BIGINT, BIGINT);
DROP DOMAIN IF EXISTS skills_token_cost;
DROP DOMAIN IF EXISTS skills_positive_feedback_pct;
DROP DOMAIN IF EXISTS skills_feedback_count;
