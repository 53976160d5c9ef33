-- Locks: ACCESS EXCLUSIVE on skills.
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS skills;
