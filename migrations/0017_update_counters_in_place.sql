-- Counters and views are updated in place (PostgreSQL documentation, "Heap-Only Tuples"): no index of the table is
-- written, and the old row's space is free again without VACUUM. It takes two things: no index on a column that
-- changes, which holds since 0015 (last_viewed_at was in one), and room on the page for the new row. Rows that are
-- there already get their room as they move.
-- Locks: SHARE UPDATE EXCLUSIVE on skills and user_skill_views.
SET LOCAL lock_timeout = '5s';

ALTER TABLE skills SET (fillfactor = 90);
ALTER TABLE user_skill_views SET (fillfactor = 90);
