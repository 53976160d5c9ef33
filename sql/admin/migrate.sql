-- Queries of migrate.py on yoyo's own tables. The owner runs them; they do not name a tenant.

-- name: get_role()
-- Whether the role is subject to policies, and whether it sees all organisations: without BYPASSRLS it then owns
-- `tenants`, which must not force row-level security. Without that table nothing hides an organisation.
SELECT
    rolname,
    rolsuper OR rolbypassrls AS bypasses,
    to_regclass('tenants') IS NULL OR NOT row_security_active(to_regclass('tenants')) AS lists_tenants
FROM pg_roles
WHERE rolname = current_user;

-- name: get_journal()
-- Whether yoyo's tables exist.
SELECT to_regclass('_yoyo_migration') IS NOT NULL AS found;

-- name: list_applied()
-- Each applied migration with the checksum recorded when it was last applied. The checksum is NULL after a crash
-- between applying the migration and recording its checksum.
SELECT
    m.migration_id,
    m.applied_at_utc AT TIME ZONE 'UTC' AS applied_at,
    (
        SELECT l.comment FROM _yoyo_log AS l
        WHERE l.migration_hash = m.migration_hash AND l.operation = 'apply'
        ORDER BY l.created_at_utc DESC
        LIMIT 1
    ) AS checksum
FROM _yoyo_migration AS m
ORDER BY m.migration_id;

-- name: get_names()
-- Written as in SQL.
SELECT
    quote_ident(current_database()) AS database,
    quote_ident(current_schema()) AS schema,
    quote_ident(current_user) AS owner;

-- name: note_checksum(migration_id, checksum)
-- yoyo hashes names, not contents.
-- Example: migration_id = '0001_create_app_role',
-- checksum = '0000000000000000000000000000000000000000000000000000000000000000'
UPDATE _yoyo_log
SET comment = %(checksum)s::text
WHERE migration_id = %(migration_id)s::text AND operation = 'apply' AND comment IS NULL;

-- name: has_lock_table()
SELECT to_regclass('yoyo_lock') IS NOT NULL AS found;

-- name: get_lock()
-- The running migration and its start. The number is the process id on the machine that runs it.
SELECT pid, ctime AT TIME ZONE 'UTC' AS since
FROM yoyo_lock;

-- name: remove_lock(process, since)
-- Removes only this lock, not a lock that another run took later.
-- Example: process = 1, since = now() - interval '30 days'
DELETE FROM yoyo_lock
WHERE pid = %(process)s::integer AND ctime AT TIME ZONE 'UTC' = %(since)s::timestamptz
RETURNING pid;

-- name: list_sessions()
-- Other sessions of `skilldb migrate` on this database. After its client was killed, a session lasts until its
-- statement ends.
SELECT
    pid,
    backend_start,
    CASE
        WHEN client_port = -1 THEN 'the server''s own machine'
        ELSE coalesce(host(client_addr), 'an address that this role may not see')
    END AS address
FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'skilldb migrate' AND pid <> pg_backend_pid()
ORDER BY backend_start, pid;

-- name: list_tables()
SELECT relname
FROM pg_class
WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid) AND relnamespace <> 'pg_catalog'::regnamespace;

-- name: list_references()
-- Each foreign key with its columns and the table that it refers to.
SELECT
    c.relname,
    k.conname,
    p.relname AS parent,
    (
        SELECT array_agg(a.attname::text)
        FROM pg_attribute AS a
        WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
    ) AS columns
FROM pg_constraint AS k
INNER JOIN pg_class AS c ON c.oid = k.conrelid
INNER JOIN pg_class AS p ON p.oid = k.confrelid
WHERE k.contype = 'f' AND pg_table_is_visible(c.oid);

-- name: list_indexed_tables()
-- Each with its table.
SELECT x.relname, c.relname AS indexed
FROM pg_index AS i
INNER JOIN pg_class AS x ON x.oid = i.indexrelid
INNER JOIN pg_class AS c ON c.oid = i.indrelid
WHERE pg_table_is_visible(c.oid) AND c.relnamespace <> 'pg_catalog'::regnamespace;
