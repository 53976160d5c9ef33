-- Locks: ACCESS EXCLUSIVE on skills, and on tenants and users, to which it refers.
-- squawk-ignore-file ban-drop-table, ban-drop-function, ban-drop-domain -- the migration created them
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS skills;

DROP FUNCTION IF EXISTS mean_rating(BIGINT, BIGINT);
DROP DOMAIN IF EXISTS skills_tags;
DROP DOMAIN IF EXISTS skills_status;
DROP DOMAIN IF EXISTS skills_hours_saved;
DROP DOMAIN IF EXISTS skills_published_version;
DROP DOMAIN IF EXISTS skills_total_uses;
DROP DOMAIN IF EXISTS skills_rating_count;
DROP DOMAIN IF EXISTS skills_rating_sum;
DROP DOMAIN IF EXISTS skills_average_rating;
