-- As raise_not_found: what a workflow or a run's list of models does not allow must fail inside the database.
-- Locks: none.
SET LOCAL lock_timeout = '5s';

CREATE OR REPLACE FUNCTION raise_invalid_transition(kind TEXT, id TEXT, status TEXT, wanted TEXT) RETURNS TEXT
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' is %s: it cannot %s', kind, id, status, wanted)
    USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;

COMMENT ON FUNCTION raise_invalid_transition(TEXT, TEXT, TEXT, TEXT) IS
'Always raises SQLSTATE 55000, naming the status and what it forbids. Returns text only to stand in an expression.';

CREATE OR REPLACE FUNCTION raise_invalid_value(kind TEXT, value TEXT, reason TEXT) RETURNS TEXT
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' %s', kind, left(value, 100), reason) USING ERRCODE = 'invalid_parameter_value';
END
$$;

COMMENT ON FUNCTION raise_invalid_value(TEXT, TEXT, TEXT) IS
'Always raises SQLSTATE 22023, naming the value and why it is refused. Returns text only to stand in an expression.';

REVOKE ALL ON FUNCTION raise_invalid_transition(TEXT, TEXT, TEXT, TEXT) FROM public;
REVOKE ALL ON FUNCTION raise_invalid_value(TEXT, TEXT, TEXT) FROM public;
GRANT EXECUTE ON FUNCTION raise_invalid_transition(TEXT, TEXT, TEXT, TEXT) TO skilldb_app;
GRANT EXECUTE ON FUNCTION raise_invalid_value(TEXT, TEXT, TEXT) TO skilldb_app;
