-- Creates skilldb_app, the group role of all service logins, and revokes TEMPORARY on the database from PUBLIC.
-- skilldb_app owns nothing and is subject to the policies.
-- A role belongs to the whole server: another database may have created it already.
-- Locks: none on tables.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'skilldb_app') THEN
        CREATE ROLE skilldb_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
EXCEPTION
    -- Two databases of one server were migrated at the same time.
    WHEN duplicate_object OR unique_violation THEN
        RAISE NOTICE 'role skilldb_app was created by another database meanwhile';
END
$$;

-- Every role may use the schema public. Services cannot use another schema until this grant.
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

-- A temporary table outlives the transaction that created it. The next organisation on the same connection could read
-- it. A temporary view or function could also stand in for the real one.
-- PUBLIC has TEMPORARY on each new database. CREATE DATABASE ... TEMPLATE and a dump without --create do not copy the
-- database's privileges: revoke it on the copy again.
DO $$
BEGIN
    IF pg_has_role((SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database()), 'MEMBER') THEN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM public', current_database());
    ELSE
        RAISE NOTICE 'TEMPORARY on the database is kept: only its owner can revoke it';
    END IF;
END
$$;
