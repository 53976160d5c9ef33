-- Locks: none.
-- squawk-ignore-file ban-drop-function -- the migration created them
SET LOCAL lock_timeout = '5s';

DROP FUNCTION IF EXISTS raise_conflict(TEXT, TEXT, TEXT);
DROP FUNCTION IF EXISTS raise_invalid_value(TEXT, TEXT, TEXT);
DROP FUNCTION IF EXISTS raise_invalid_transition(TEXT, TEXT, TEXT, TEXT);
DROP FUNCTION IF EXISTS raise_not_found(TEXT, TEXT);
