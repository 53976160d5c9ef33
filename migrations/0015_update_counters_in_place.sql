-- Counters and views are updated in place (PostgreSQL documentation, "Heap-Only Tuples"): no index of the table is
-- written, and the old row's space is free again without VACUUM. It takes two things: room on the page for the new row,
-- and no index on a column that changes. last_viewed_at changes with every view; no query orders or filters by it, and
-- user_skill_views_user_skill_key finds a user's views. Rows that are there already get their room as they move.
-- Locks: SHARE UPDATE EXCLUSIVE on skills and user_skill_views; ACCESS EXCLUSIVE on the latter, briefly, for the index.
SET LOCAL lock_timeout = '5s';

ALTER TABLE skills SET (fillfactor = 90);
ALTER TABLE user_skill_views SET (fillfactor = 90);

DROP INDEX IF EXISTS user_skill_views_user_last_viewed_idx;
