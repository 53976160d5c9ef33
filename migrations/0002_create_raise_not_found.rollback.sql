-- Locks: none.
SET LOCAL lock_timeout = '5s';

DROP FUNCTION IF EXISTS raise_not_found(TEXT, TEXT);
