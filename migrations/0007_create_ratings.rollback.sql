-- Locks: ACCESS EXCLUSIVE on ratings.
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS ratings;
