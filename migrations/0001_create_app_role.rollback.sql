-- Grants TEMPORARY to PUBLIC again, as on a new database, and drops the role.
-- The role is kept if a login is a member of it, or if another database has granted to it.
-- Locks: none on tables.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF pg_has_role((SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database()), 'MEMBER') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO public', current_database());
    END IF;
END
$$;

DO $$
BEGIN
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM skilldb_app', current_schema());
EXCEPTION
    WHEN undefined_object THEN
        RAISE NOTICE 'there is no role skilldb_app';
END
$$;

DO $$
BEGIN
    IF EXISTS (
        SELECT 1
        FROM pg_auth_members AS m
        INNER JOIN pg_roles AS g ON g.oid = m.roleid
        INNER JOIN pg_roles AS l ON l.oid = m.member
        WHERE g.rolname = 'skilldb_app' AND l.rolcanlogin AND l.rolname <> current_user
    ) THEN
        RAISE NOTICE 'role skilldb_app is kept: logins are members of it';
    ELSE
        DROP ROLE IF EXISTS skilldb_app;
    END IF;
EXCEPTION
    WHEN dependent_objects_still_exist OR insufficient_privilege THEN
        RAISE NOTICE 'role skilldb_app is kept: another database uses it, or another role created it';
END
$$;
