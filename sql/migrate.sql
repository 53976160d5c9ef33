-- What migrate.py asks of yoyo's own tables. Run by the owner; no tenant in any of it.

-- name: get_role()
-- Whether policies hold the role, which then would not see the rows that a migration must change.
SELECT
    rolname,
    rolsuper OR rolbypassrls AS bypasses
FROM pg_roles
WHERE rolname = current_user;

-- name: get_journal()
-- Whether yoyo's tables are there.
SELECT to_regclass('_yoyo_migration') IS NOT NULL AS found;

-- name: list_applied()
-- Each applied migration with the checksum that was noted when it was last applied, NULL where a crash came between.
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

-- name: note_checksum(migration_id, checksum)
-- yoyo hashes names, not contents.
UPDATE _yoyo_log
SET comment = %(checksum)s::text
WHERE migration_id = %(migration_id)s::text AND operation = 'apply' AND comment IS NULL;

-- name: get_lock()
-- Who migrates, since when.
SELECT pid, ctime AT TIME ZONE 'UTC' AS since
FROM yoyo_lock;
