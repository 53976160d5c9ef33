-- Locks: ACCESS EXCLUSIVE on skill_search, and on tenants and skills, to which it refers.
-- squawk-ignore-file ban-drop-table, ban-drop-function -- the migration created them
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS skill_search;
DROP FUNCTION IF EXISTS search_term(TEXT[], BOOLEAN, TEXT);
DROP FUNCTION IF EXISTS search_name_key(TEXT);
DROP FUNCTION IF EXISTS search_document(TEXT, TEXT, TEXT[], TEXT, TEXT);
DROP FUNCTION IF EXISTS search_words(TEXT);
