-- Locks: none.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-function -- the migration created it
DROP FUNCTION IF EXISTS raise_invalid_value(TEXT, TEXT, TEXT);

-- squawk-ignore ban-drop-function -- the migration created it
DROP FUNCTION IF EXISTS raise_invalid_transition(TEXT, TEXT, TEXT, TEXT);
