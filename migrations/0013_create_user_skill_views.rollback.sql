-- Locks: ACCESS EXCLUSIVE on user_skill_views.
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS user_skill_views;
