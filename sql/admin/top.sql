-- What top.py asks of pg_stat_statements. Run by the owner, of all organisations together.

-- name: get_extension()
-- How far pg_stat_statements is there, and whether the role may read the texts of what other roles run.
SELECT
    r.rolname::regrole::text AS role,
    n.nspname AS schema_name,
    'pg_stat_statements' IN (SELECT a.name FROM pg_available_extensions AS a) AS available,
    -- The setting is there where the server has loaded the library at its start.
    'pg_stat_statements.max' IN (SELECT s.name FROM pg_settings AS s) AS loaded,
    string_to_array(e.extversion, '.')::integer[] AS version,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS reads_all
FROM pg_roles AS r
LEFT JOIN pg_extension AS e ON e.extname = 'pg_stat_statements'
LEFT JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE r.rolname = current_user;

-- name: list_statements()
-- Our queries by the comment behind their first word, and NULL for all other statements of this database together.
-- A query has an entry for each role, and for each text where it was changed. From PostgreSQL 18 on its text is that of
-- PREPARE where it was first seen in one, as the doctor's are.
SELECT
    substring(s.query FROM '^(?:PREPARE .* AS )?\w+ /\* ([a-z_]+\.[a-z0-9_]+) \*/') AS name,
    sum(s.calls)::bigint AS calls,
    sum(s.total_exec_time) AS total_ms,
    sum(s.rows)::bigint AS returned
FROM pg_stat_statements AS s
INNER JOIN pg_database AS d ON d.oid = s.dbid
WHERE d.datname = current_database()
GROUP BY name
ORDER BY total_ms DESC;
