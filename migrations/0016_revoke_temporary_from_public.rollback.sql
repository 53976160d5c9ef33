-- Gives every role back what it has of a new database.
-- Locks: none on tables.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF pg_has_role((SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database()), 'MEMBER') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO public', current_database());
    END IF;
END
$$;
