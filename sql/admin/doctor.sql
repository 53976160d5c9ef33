-- The queries of doctor.py: catalogue, statistics and settings. They only read, and they do not name a tenant.

-- name: get_server()
-- The current role and the database. Start time, database name and number together identify the database.
SELECT
    d.datname::text AS database,
    current_setting('server_version') AS version,
    current_user::text AS role,
    d.datname || ', number ' || d.oid || ', of the server started '
    || to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') AS identity
FROM pg_database AS d
WHERE d.datname = current_database();

-- name: list_foreign_owners(tables)
-- Tables that the owner role cannot change: it does not own them and is not a member of their owner.
-- Example: tables = ARRAY[1259]
SELECT
    c.relname AS table_name,
    c.relowner::regrole::text AS owner
FROM pg_class AS c
WHERE
    c.oid::bigint = ANY(%(tables)s::bigint[])
    AND NOT pg_has_role(current_user, c.relowner, 'USAGE')
ORDER BY c.relname;

-- name: list_other_roles(tables, service)
-- Lists roles that can reach the tables. Left out: the owner, the service, skilldb_app, PostgreSQL's own roles.
-- `unsafe`: a member of skilldb_app that can bypass the policies.
-- A superuser counts as a member only after an explicit grant. From PostgreSQL 16 on, creating a role makes its
-- creator a member that may only grant; this does not count. Grants to PUBLIC are left out, because the service has
-- them too.
-- `trusted`: a line `skilldb trusts: ...` of the schema's comment names the role, or a role that it may become.
-- Example: tables = ARRAY[1259], service = 'skilldb_service'
WITH RECURSIVE owners (oid) AS (
    SELECT c.relowner
    FROM pg_class AS c
    WHERE c.oid::bigint = ANY(%(tables)s::bigint[])
    UNION
    SELECT r.oid
    FROM pg_roles AS r
    WHERE r.rolname = current_user
),

becomes (role, other) AS (
    SELECT
        r.oid AS role,
        r.oid AS other
    FROM pg_roles AS r
    UNION
    SELECT
        b.role,
        m.roleid
    FROM becomes AS b
    INNER JOIN pg_auth_members AS m ON m.member = b.other
    WHERE
        b.other NOT IN (SELECT o.oid FROM owners AS o)
        AND (
            m.roleid IN (SELECT o.oid FROM owners AS o)
            OR coalesce(to_jsonb(m) ->> 'inherit_option', 'true') = 'true'
            OR to_jsonb(m) ->> 'set_option' = 'true'
        )
),

granted (role, table_name) AS (
    SELECT
        x.grantee,
        c.relname
    FROM pg_class AS c
    CROSS JOIN LATERAL aclexplode(c.relacl) AS x
    WHERE c.oid::bigint = ANY(%(tables)s::bigint[])
    UNION
    SELECT
        x.grantee,
        c.relname
    FROM pg_attribute AS a
    INNER JOIN pg_class AS c ON c.oid = a.attrelid
    CROSS JOIN LATERAL aclexplode(a.attacl) AS x
    WHERE c.oid::bigint = ANY(%(tables)s::bigint[])
),

powers (role, bypasses, reaches, power) AS (
    SELECT
        r.oid,
        true,
        false,
        concat_ws(
            ', ',
            CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
            CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
            CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END
        )
    FROM pg_roles AS r
    WHERE
        (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole)
        AND r.oid NOT IN (SELECT o.oid FROM owners AS o)
    UNION ALL
    SELECT
        o.oid,
        true,
        true,
        'ownership of the tables'
    FROM owners AS o
    UNION ALL
    SELECT
        g.role,
        false,
        true,
        'privileges on ' || min(g.table_name) || coalesce(' and ' || nullif(count(*) - 1, 0) || ' more', '')
    FROM granted AS g
    WHERE g.role NOT IN (SELECT o.oid FROM owners AS o)
    GROUP BY g.role
    UNION ALL
    SELECT
        r.oid,
        false,
        true,
        'privileges on all tables'
    FROM pg_roles AS r
    WHERE r.rolname IN ('pg_read_all_data', 'pg_write_all_data')
),

trusted (name) AS (
    SELECT btrim(t.name, E' \t\r')
    FROM
        regexp_matches(
            obj_description(quote_ident(current_schema())::regnamespace, 'pg_namespace'),
            '^skilldb trusts:(.*)$', 'gn'
        ) AS m (line)
    CROSS JOIN LATERAL regexp_split_to_table(m.line[1], ',') AS t (name)
)

SELECT
    r.rolname AS name,
    bool_or(o.rolname = 'skilldb_app') AND bool_or(p.bypasses) AS unsafe,
    array_agg(p.power || CASE WHEN o.oid <> r.oid THEN ' as ' || o.rolname ELSE '' END ORDER BY o.oid <> r.oid, p.power)
    FILTER (WHERE p.power <> '') AS powers,
    shobj_description(r.oid, 'pg_authid') AS comment,
    bool_or(o.rolname::text IN (SELECT t.name FROM trusted AS t)) AS trusted
FROM pg_roles AS r
INNER JOIN becomes AS b ON b.role = r.oid
INNER JOIN pg_roles AS o ON o.oid = b.other
LEFT JOIN powers AS p ON p.role = b.other AND o.rolname <> 'skilldb_app'
WHERE
    r.oid NOT IN (SELECT w.oid FROM owners AS w)
    AND r.rolname NOT IN (%(service)s::text, 'skilldb_app')
    AND r.rolname !~ '^pg_'
GROUP BY r.oid, r.rolname, r.rolsuper
HAVING
    (bool_or(o.rolname = 'skilldb_app') AND bool_or(p.bypasses))
    OR (NOT r.rolsuper AND bool_or(p.reaches))
ORDER BY r.rolname;

-- name: set_generic_plans()
-- Make a plan for any parameters. A plan for NULL omits branches that NULL makes unreachable, and does not check their
-- grants.
SET LOCAL plan_cache_mode = force_generic_plan;

-- name: list_locks()
-- Sessions that hold or wait for a table lock that blocks writers or readers. `since` is the start of the transaction;
-- it is NULL if the role may not see it.
SELECT
    c.oid::regclass::text AS table_name,
    l.granted,
    l.pid,
    a.xact_start AS since
FROM pg_locks AS l
INNER JOIN pg_class AS c ON c.oid = l.relation
INNER JOIN pg_database AS d ON d.oid = l.database
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE
    d.datname = current_database()
    AND c.relkind IN ('r', 'p')
    AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
ORDER BY c.relname ASC, l.granted DESC, l.pid ASC;

-- name: list_indexes()
-- Every index with its uses since `counted_since`, which is NULL if the statistics were never reset. `enforces`: it
-- backs a constraint or a foreign key. `built_by`: the process that is building it now.
SELECT
    t.relname AS table_name,
    c.relname AS name,
    p.pid AS built_by,
    d.stats_reset AS counted_since,
    i.indisvalid AND i.indisready AND i.indislive AS usable,
    i.indisunique OR i.indisexclusion AS enforces,
    coalesce(si.idx_scan, 0) AS scans,
    coalesce(st.seq_scan, 0) + coalesce(st.idx_scan, 0) AS table_scans,
    coalesce(st.n_live_tup, 0) AS table_rows,
    obj_description(i.indexrelid, 'pg_class') AS comment
FROM pg_index AS i
INNER JOIN pg_class AS c ON c.oid = i.indexrelid
INNER JOIN pg_class AS t ON t.oid = i.indrelid
INNER JOIN pg_namespace AS n ON n.oid = t.relnamespace
INNER JOIN pg_stat_database AS d ON d.datname = current_database()
LEFT JOIN pg_stat_all_indexes AS si ON si.indexrelid = i.indexrelid
LEFT JOIN pg_stat_all_tables AS st ON st.relid = i.indrelid
LEFT JOIN pg_stat_progress_create_index AS p ON p.index_relid = i.indexrelid AND p.datid = d.datid
WHERE n.nspname = current_schema()
ORDER BY t.relname, c.relname;

-- name: list_definitions()
-- Every column, constraint and index of the schema's own tables, with its definition. NOT NULL is part of the column:
-- the constraint that it is from PostgreSQL 18 on is left out. So is an index that belongs to a constraint.
-- Domains and SQL functions are listed with them, because they say what a column may hold.
WITH tables AS (
    SELECT
        c.oid,
        c.relname AS name
    FROM pg_class AS c
    WHERE
        c.relkind IN ('r', 'p')
        AND c.relnamespace = quote_ident(current_schema())::regnamespace
        AND c.relname !~ '^_?yoyo'
),

domain_constraints AS (
    SELECT
        c.contypid AS domain_oid,
        string_agg(pg_get_constraintdef(c.oid), ' ' ORDER BY c.conname) AS definition
    FROM pg_constraint AS c
    WHERE c.contypid <> 0
    GROUP BY c.contypid
),

definitions (name, definition) AS (
    SELECT
        'column ' || t.name || '.' || a.attname,
        concat_ws(
            ' ',
            format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN 'NOT NULL' END,
            CASE a.attgenerated WHEN '' THEN 'DEFAULT ' WHEN 's' THEN 'STORED ' ELSE 'VIRTUAL ' END
            || pg_get_expr(d.adbin, d.adrelid)
        )
    FROM pg_attribute AS a
    INNER JOIN tables AS t ON t.oid = a.attrelid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT
        'constraint ' || t.name || '.' || k.conname,
        pg_get_constraintdef(k.oid)
    FROM pg_constraint AS k
    INNER JOIN tables AS t ON t.oid = k.conrelid
    WHERE k.contype <> 'n'
    UNION ALL
    SELECT
        'index ' || c.relname,
        -- PostgreSQL includes the schema's name, whatever the search_path.
        replace(pg_get_indexdef(i.indexrelid), ' ON ' || quote_ident(current_schema()) || '.', ' ON ')
    FROM pg_index AS i
    INNER JOIN pg_class AS c ON c.oid = i.indexrelid
    INNER JOIN tables AS t ON t.oid = i.indrelid
    WHERE
        NOT EXISTS (
            SELECT FROM pg_constraint AS k
            WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
        )
    UNION ALL
    SELECT
        'domain ' || y.typname,
        concat_ws(' ', format_type(y.typbasetype, y.typtypmod), k.definition)
    FROM pg_type AS y
    LEFT JOIN domain_constraints AS k ON k.domain_oid = y.oid
    WHERE y.typtype = 'd' AND y.typnamespace = quote_ident(current_schema())::regnamespace
    UNION ALL
    SELECT
        'function ' || p.oid::regprocedure,
        -- One line, however PostgreSQL breaks it.
        regexp_replace(pg_get_function_sqlbody(p.oid), '\s+', ' ', 'g')
    FROM pg_proc AS p
    INNER JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname = 'sql'
    WHERE p.pronamespace = quote_ident(current_schema())::regnamespace
)

SELECT
    name,
    definition
FROM definitions
ORDER BY name COLLATE "C";

-- name: list_redundant_indexes()
-- Index `other` serves every query that index `name` serves. `name` has the same columns or, if it enforces nothing,
-- the first of them. Of two equal indexes, `other` is the one of a constraint, or else the older one.
WITH indexes AS (
    SELECT
        i.indexrelid AS oid,
        i.indrelid AS table_oid,
        c.relam AS method,
        i.indnkeyatts AS width,
        i.indnullsnotdistinct AS nulls_equal,
        i.indkey::smallint[] AS columns,
        i.indclass::oid[] AS classes,
        i.indcollation::oid[] AS collations,
        i.indoption::smallint[] AS options,
        m.amname = 'btree' AS ordered,
        coalesce(pg_get_expr(i.indexprs, i.indrelid), '') AS expressions,
        coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
        i.indisunique OR i.indisexclusion AS enforces,
        i.indexrelid IN (SELECT k.conindid FROM pg_constraint AS k) AS constrained
    FROM pg_index AS i
    INNER JOIN pg_class AS c ON c.oid = i.indexrelid
    INNER JOIN pg_am AS m ON m.oid = c.relam
    WHERE i.indisvalid AND c.relnamespace = quote_ident(current_schema())::regnamespace
)

SELECT DISTINCT ON (a.oid)
    a.oid::regclass::text AS name,
    b.oid::regclass::text AS other
FROM indexes AS a
INNER JOIN indexes AS b ON b.table_oid = a.table_oid AND b.oid <> a.oid
WHERE
    b.method = a.method
    AND b.predicate = a.predicate
    AND b.expressions = a.expressions
    AND (b.width = a.width OR (b.width > a.width AND a.ordered))
    -- Counts from 0, like the vectors of the catalogue.
    AND b.columns[0:a.width - 1] = a.columns[0:a.width - 1]
    AND b.classes[0:a.width - 1] = a.classes[0:a.width - 1]
    AND b.collations[0:a.width - 1] = a.collations[0:a.width - 1]
    AND b.options[0:a.width - 1] = a.options[0:a.width - 1]
    AND a.columns[a.width:] <@ b.columns
    AND CASE
        WHEN NOT a.enforces AND (b.enforces OR cardinality(b.columns) > cardinality(a.columns)) THEN true
        WHEN a.enforces <> b.enforces OR b.width > a.width OR a.nulls_equal <> b.nulls_equal THEN false
        ELSE (a.constrained, -a.oid::bigint) < (b.constrained, -b.oid::bigint)
    END
ORDER BY a.oid, b.oid;

-- name: list_large_tables(least)
-- Tables with at least so many rows, including dead ones, and their last vacuum and analyse. A crash, an upgrade or
-- pg_stat_reset() sets the counts to 0. Then use reltuples or, if the table was never analysed (-1), its size at a
-- hundred rows per page.
-- Example: least = 10000
SELECT
    s.relname AS table_name,
    s.n_live_tup AS live,
    s.n_dead_tup AS dead,
    s.n_mod_since_analyze AS changed,
    greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
    greatest(s.last_analyze, s.last_autoanalyze) AS analysed_at,
    c.reltuples < 0 AS never_analysed
FROM pg_stat_user_tables AS s
INNER JOIN pg_class AS c ON c.oid = s.relid
WHERE
    s.schemaname = current_schema()
    AND greatest(
        s.n_live_tup + s.n_dead_tup,
        CASE
            WHEN c.reltuples < 0 THEN 100 * pg_relation_size(c.oid) / current_setting('block_size')::integer
            ELSE c.reltuples
        END
    ) >= %(least)s::bigint
ORDER BY s.relname;

-- name: list_unlogged_tables()
SELECT oid::regclass::text AS table_name
FROM pg_class
WHERE relkind IN ('r', 'p') AND relpersistence = 'u' AND relnamespace = quote_ident(current_schema())::regnamespace
ORDER BY relname;

-- name: list_switched_off()
-- Settings of the server that vacuum and analyse need to run.
SELECT name
FROM pg_settings
WHERE name IN ('autovacuum', 'track_counts') AND setting = 'off'
ORDER BY name;

-- name: get_connections()
-- Connections to all databases of the server, and the limit without the connections reserved for superusers.
SELECT
    (
        SELECT coalesce(sum(s.numbackends), 0)
        FROM pg_stat_database AS s
        WHERE s.datid <> 0
    )::bigint AS in_use,
    current_setting('max_connections')::bigint
    - current_setting('superuser_reserved_connections')::bigint
    - coalesce(current_setting('reserved_connections', true), '0')::bigint AS available;

-- name: list_timeouts()
-- The settings of this session, from the server, the database, the role or the DSN.
SELECT
    name,
    setting <> '0' AS is_set,
    current_setting(name) AS value
FROM pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout')
ORDER BY name;
