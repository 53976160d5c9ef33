-- What `skilldb harden` prints or, as a superuser, runs. No tenant in any of it.
-- Afterwards a service sets the tenant through one function, once per transaction. A SELECT that an attacker smuggles
-- into a call can then not name another organisation, because it may not call set_config().

-- name: create_setter_role()
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'skilldb_setter') THEN
        CREATE ROLE skilldb_setter NOLOGIN;
    END IF;
END
$$;

-- name: create_setter_schema()
CREATE SCHEMA IF NOT EXISTS skilldb_hardening;

-- name: create_setter()
-- It has no SET clause: that would undo the search_path at its end. So each name in it is qualified.
CREATE OR REPLACE FUNCTION skilldb_hardening.begin_call(
    tenant_id TEXT, slug TEXT, search_path TEXT, statement_timeout TEXT, lock_timeout TEXT
)
RETURNS VOID
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
BEGIN
    IF pg_catalog.textne(coalesce(pg_catalog.current_setting('app.current_tenant_id', true), ''), '')
        OR pg_catalog.textne(coalesce(pg_catalog.current_setting('app.current_tenant_slug', true), ''), '')
    THEN
        RAISE EXCEPTION 'the tenant of this transaction is set already' USING ERRCODE = '42501';
    END IF;
    PERFORM pg_catalog.set_config('app.current_tenant_id', tenant_id, true);
    PERFORM pg_catalog.set_config('app.current_tenant_slug', coalesce(slug, ''), true);
    PERFORM pg_catalog.set_config('standard_conforming_strings', 'on', true);
    PERFORM pg_catalog.set_config('DateStyle', 'ISO', true);
    PERFORM pg_catalog.set_config('array_nulls', 'on', true);
    PERFORM pg_catalog.set_config('row_security', 'on', true);
    PERFORM pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true);
    PERFORM pg_catalog.set_config('statement_timeout', statement_timeout, true);
    PERFORM pg_catalog.set_config('lock_timeout', lock_timeout, true);
    PERFORM pg_catalog.set_config('search_path', search_path, true);
END
$$;

-- name: own_setter()
ALTER FUNCTION skilldb_hardening.begin_call OWNER TO skilldb_setter;

-- name: revoke_setter()
REVOKE ALL ON FUNCTION skilldb_hardening.begin_call FROM public;

-- name: grant_setter_schema()
GRANT USAGE ON SCHEMA skilldb_hardening TO skilldb_app;

-- name: grant_setter()
GRANT EXECUTE ON FUNCTION skilldb_hardening.begin_call TO skilldb_app;

-- name: grant_set_config()
GRANT EXECUTE ON FUNCTION pg_catalog.set_config TO skilldb_setter;

-- name: revoke_set_config()
REVOKE EXECUTE ON FUNCTION pg_catalog.set_config FROM public;

-- name: list_set_config_users(schema)
-- The roles that go on calling set_config(), as pg_dump does: the owner of the schema, and logins with BYPASSRLS.
-- Example: schema = 'public'
SELECT r.rolname AS name
FROM pg_roles AS r
WHERE
    NOT r.rolsuper
    AND (
        (r.rolcanlogin AND r.rolbypassrls)
        OR r.oid = (
            SELECT n.nspowner FROM pg_namespace AS n
            WHERE n.nspname = cast(%(schema)s AS TEXT)
        )
    )
ORDER BY r.rolname;

-- name: has_citus()
SELECT exists(
    SELECT FROM pg_extension
    WHERE extname = 'citus'
) AS has_citus;

-- name: is_superuser()
SELECT rolsuper FROM pg_roles
WHERE rolname = current_user;
