-- Locks: SHARE on user_skill_views while its index is built; SHARE UPDATE EXCLUSIVE on it and on skills.
SET LOCAL lock_timeout = '5s';

CREATE INDEX IF NOT EXISTS user_skill_views_user_last_viewed_idx ON user_skill_views (user_id, last_viewed_at);

ALTER TABLE user_skill_views RESET (fillfactor);
ALTER TABLE skills RESET (fillfactor);
