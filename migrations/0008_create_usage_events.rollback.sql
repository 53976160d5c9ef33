-- Locks: ACCESS EXCLUSIVE on usage_events.
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS usage_events;
