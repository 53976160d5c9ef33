-- A temporary table outlives the transaction, and with it the organisation, that made it: the next organisation on the
-- same connection could read it. A temporary view or function can stand in the way of the real one.
-- The privilege is the database's, and every role has it from the beginning. CREATE DATABASE ... TEMPLATE and a dump
-- without --create leave it behind: a copy has it again.
-- Locks: none on tables.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF pg_has_role((SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database()), 'MEMBER') THEN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM public', current_database());
    ELSE
        RAISE NOTICE 'TEMPORARY on the database is kept: only its owner can revoke it';
    END IF;
END
$$;
