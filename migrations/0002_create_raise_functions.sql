-- Functions that raise an error of a chosen SQLSTATE, which plain SQL cannot do.
-- A call sends its COMMIT in the same round trip as its steps. A step that must fail therefore fails in the database:
-- if a row is missing, if a status forbids a change, if a value is not allowed, or if another caller was faster.
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
'Always raises SQLSTATE P0002, naming what was not found. Returns text so that an expression can call it.';

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
'Always raises SQLSTATE 55000, naming the status and what it forbids. Returns text so that an expression can call it.';

CREATE OR REPLACE FUNCTION raise_invalid_value(kind TEXT, value TEXT, reason TEXT) RETURNS TEXT
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' %s', kind, left(value, 100), reason) USING ERRCODE = 'invalid_parameter_value';
END
$$;

COMMENT ON FUNCTION raise_invalid_value(TEXT, TEXT, TEXT) IS
'Always raises SQLSTATE 22023, naming the value and why it is refused. Returns text so that an expression can call it.';

-- PostgreSQL has no SQLSTATE for this. The SQL standard leaves classes that begin with I to Z to implementations.
CREATE OR REPLACE FUNCTION raise_conflict(kind TEXT, id TEXT, reason TEXT) RETURNS TEXT
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' %s', kind, left(id, 100), reason) USING ERRCODE = 'SK001';
END
$$;

COMMENT ON FUNCTION raise_conflict(TEXT, TEXT, TEXT) IS
'Always raises SQLSTATE SK001, naming what another caller changed. Returns text so that an expression can call it.';

REVOKE ALL ON FUNCTION raise_not_found(TEXT, TEXT) FROM public;
REVOKE ALL ON FUNCTION raise_invalid_transition(TEXT, TEXT, TEXT, TEXT) FROM public;
REVOKE ALL ON FUNCTION raise_invalid_value(TEXT, TEXT, TEXT) FROM public;
REVOKE ALL ON FUNCTION raise_conflict(TEXT, TEXT, TEXT) FROM public;
GRANT EXECUTE ON FUNCTION raise_not_found(TEXT, TEXT) TO skilldb_app;
GRANT EXECUTE ON FUNCTION raise_invalid_transition(TEXT, TEXT, TEXT, TEXT) TO skilldb_app;
GRANT EXECUTE ON FUNCTION raise_invalid_value(TEXT, TEXT, TEXT) TO skilldb_app;
GRANT EXECUTE ON FUNCTION raise_conflict(TEXT, TEXT, TEXT) TO skilldb_app;
