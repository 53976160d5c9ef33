-- What top.py asks of pg_stat_statements. Run by the owner, for all organisations together: a query's text has no values.

-- name: get_extension()
-- How far pg_stat_statements is there, and whether the role may read the texts of what other roles run.
SELECT
    quote_ident(current_user) AS role,
    EXISTS (
        SELECT FROM pg_available_extensions
        WHERE name = 'pg_stat_statements'
    ) AS available,
    -- The setting is there where the server has loaded the library at its start.
    current_setting('pg_stat_statements.max', true) IS NOT NULL AS loaded,
    e.extnamespace::regnamespace::text AS schema_name,
    string_to_array(e.extversion, '.')::integer[] AS version,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS reads_all
FROM (SELECT) AS one
LEFT JOIN pg_extension AS e ON e.extname = 'pg_stat_statements';

-- name: set_schema(schema_name)
-- Where the extension is: it may be in any schema.
SELECT set_config('search_path', %(schema_name)s::text, true);

-- name: list_statements()
-- Our queries by the comment behind their first word, and NULL for all other statements of this database together.
-- A query has an entry for each role, and for each text where it was changed.
SELECT
    substring(s.query FROM '^\w+ /\* ([a-z_]+\.[a-z0-9_]+) \*/') AS name,
    sum(s.calls)::bigint AS calls,
    sum(s.total_exec_time) AS total_ms,
    sum(s.rows)::bigint AS returned
FROM pg_stat_statements AS s
INNER JOIN pg_database AS d ON d.oid = s.dbid
WHERE d.datname = current_database()
GROUP BY 1
ORDER BY 3 DESC;
