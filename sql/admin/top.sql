-- Queries of top.py on pg_stat_statements. The owner runs them, for all organisations together.

-- name: get_extension()
-- Whether pg_stat_statements is loaded and installed, and whether the role may read other roles' queries.
SELECT
    r.rolname::regrole::text AS role,
    n.nspname AS schema_name,
    'pg_stat_statements' IN (SELECT a.name FROM pg_available_extensions AS a) AS available,
    -- The setting exists if the server loaded the library when it started.
    'pg_stat_statements.max' IN (SELECT s.name FROM pg_settings AS s) AS loaded,
    string_to_array(e.extversion, '.')::integer[] AS version,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS reads_all
FROM pg_roles AS r
LEFT JOIN pg_extension AS e ON e.extname = 'pg_stat_statements'
LEFT JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE r.rolname = current_user;

-- name: list_statements()
-- skilldb's queries, by the comment after their first word. NULL: all other statements of this database together.
-- A query has one entry per role and per version of its text. From PostgreSQL 18 on the text may be a PREPARE.
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
