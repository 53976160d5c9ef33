-- Locks: ACCESS EXCLUSIVE on skills, briefly: dropping a column does not rewrite the table.
-- squawk-ignore-file ban-drop-column, ban-drop-constraint -- they were added by the migration
SET LOCAL lock_timeout = '5s';

ALTER TABLE skills
DROP CONSTRAINT IF EXISTS skills_feedback_counts_check,
DROP CONSTRAINT IF EXISTS skills_token_cost_check,
DROP COLUMN IF EXISTS avg_token_cost_microcents,
DROP COLUMN IF EXISTS positive_feedback_pct,
DROP COLUMN IF EXISTS token_cost_sum_microcents,
DROP COLUMN IF EXISTS priced_measurement_count,
DROP COLUMN IF EXISTS thumbs_down_count,
DROP COLUMN IF EXISTS thumbs_up_count,
DROP COLUMN IF EXISTS total_feedback;
