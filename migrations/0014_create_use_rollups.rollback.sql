-- Locks: ACCESS EXCLUSIVE on pending_uses, user_monthly_uses, tool_monthly_uses and skill_monthly_uses, and on tenants,
-- users and skills, to which they refer.
-- squawk-ignore-file ban-drop-table, ban-drop-function -- the migration created them
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS pending_uses;
DROP TABLE IF EXISTS user_monthly_uses;
DROP TABLE IF EXISTS tool_monthly_uses;
DROP TABLE IF EXISTS skill_monthly_uses;
DROP FUNCTION IF EXISTS uses_between(BIGINT[], DATE, DATE, DATE);
DROP FUNCTION IF EXISTS uses_on(DATE, BIGINT);
DROP AGGREGATE IF EXISTS sum_uses(BIGINT[]);
DROP FUNCTION IF EXISTS add_uses(BIGINT[], BIGINT[]);
