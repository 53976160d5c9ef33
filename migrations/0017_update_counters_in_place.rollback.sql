-- Locks: SHARE UPDATE EXCLUSIVE on user_skill_views and skills.
SET LOCAL lock_timeout = '5s';

ALTER TABLE user_skill_views RESET (fillfactor);
ALTER TABLE skills RESET (fillfactor);
