-- What embedded.py asks of the server it has started. The superuser runs these queries. They do not name a tenant.

-- name: create_logins()
-- The two logins: the owner migrates, the service works. Creates only what is missing.
DO $$
BEGIN
    -- Another session of this server, in any database, may be running this too, or migrating: wait until it has ended.
    -- Otherwise both find that a role is missing, and the second one fails. Logging in does not wait for this lock.
    PERFORM set_config('lock_timeout', '60s', true);
    LOCK TABLE pg_authid IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'skilldb_app') THEN
        CREATE ROLE skilldb_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'skilldb_owner') THEN
        CREATE ROLE skilldb_owner LOGIN NOSUPERUSER CREATEROLE BYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'skilldb_service') THEN
        CREATE ROLE skilldb_service LOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
    GRANT skilldb_app TO skilldb_service;
    -- For sessions of other programs. A value that somebody set later is kept.
    IF NOT EXISTS (
        SELECT FROM pg_db_role_setting WHERE setrole = 'skilldb_service'::regrole AND setdatabase = 0
    ) THEN
        ALTER ROLE skilldb_service SET statement_timeout = '60s';
        ALTER ROLE skilldb_service SET idle_in_transaction_session_timeout = '60s';
    END IF;
END
$$;

-- name: has_database()
SELECT exists(
    SELECT 1 FROM pg_database
    WHERE datname = 'skilldb'
) AS found;

-- name: create_database()
CREATE DATABASE skilldb OWNER skilldb_owner;
