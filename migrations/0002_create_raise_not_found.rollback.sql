-- Locks: none.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-function -- the migration created it
DROP FUNCTION IF EXISTS raise_not_found(TEXT, TEXT);
