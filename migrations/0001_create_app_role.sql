-- The group role that every service login is a member of. It owns nothing and cannot bypass isolation.
-- Locks: none on tables. A role belongs to the whole server, so another database may have made it already.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'skilldb_app') THEN
        CREATE ROLE skilldb_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
EXCEPTION
    -- Two databases of one server, migrated at the same time.
    WHEN duplicate_object OR unique_violation THEN
        RAISE NOTICE 'role skilldb_app was created by another database meanwhile';
END
$$;

-- Every role may use the schema public. Another schema is closed to the services until this.
DO $$
BEGIN
    IF NOT has_schema_privilege('skilldb_app', current_schema(), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO skilldb_app', current_schema());
        IF NOT has_schema_privilege('skilldb_app', current_schema(), 'USAGE') THEN
            RAISE EXCEPTION 'only the owner of schema % can let skilldb_app use it: GRANT USAGE ON SCHEMA % TO skilldb_app',
            quote_ident(current_schema()), quote_ident(current_schema());
        END IF;
    END IF;
END
$$;
