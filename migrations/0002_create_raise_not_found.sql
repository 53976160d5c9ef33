-- A step that needs a row and finds none must fail inside the database, before the commit that travels with it
-- in the same round trip. SQL alone cannot raise an error of a chosen SQLSTATE; this can, and does nothing else.
-- Locks: none.
SET LOCAL lock_timeout = '5s';

CREATE OR REPLACE FUNCTION raise_not_found(kind TEXT, id TEXT) RETURNS TEXT
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' does not exist', kind, left(id, 100)) USING ERRCODE = 'no_data_found';
END
$$;

COMMENT ON FUNCTION raise_not_found(TEXT, TEXT) IS
'Always raises SQLSTATE P0002, naming what was not found. Returns text only so that it can stand in an expression.';

REVOKE ALL ON FUNCTION raise_not_found(TEXT, TEXT) FROM public;
GRANT EXECUTE ON FUNCTION raise_not_found(TEXT, TEXT) TO skilldb_app;
