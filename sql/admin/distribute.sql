-- What distribute.py asks on a Citus cluster, as the owner. These queries name no tenant. Those that read pg_dist_...
-- need the extension.

-- name: get_cluster()
-- Whether the database has Citus, and whether the role bypasses the policies.
SELECT
    r.rolname AS role,
    exists(
        SELECT FROM pg_extension AS e
        WHERE e.extname = 'citus'
    ) AS is_cluster,
    r.rolsuper OR r.rolbypassrls AS bypasses
FROM pg_roles AS r
WHERE r.rolname = current_user;

-- name: list_nodes()
-- The nodes that may hold shards, without the coordinator.
SELECT
    n.isactive AS is_active,
    n.nodename || ':' || n.nodeport AS node
FROM pg_dist_node AS n
WHERE n.noderole = 'primary' AND n.groupid <> 0
ORDER BY n.nodeid;

-- name: list_placed_tables()
-- The tables of the schema that Citus holds. A reference table has no distribution column.
SELECT
    c.relname::text AS name,
    p.partmethod = 'h' AS is_distributed
FROM pg_dist_partition AS p
INNER JOIN pg_class AS c ON c.oid = p.logicalrelid
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace
ORDER BY c.relname;

-- name: list_undistributed_functions()
SELECT f.oid::regprocedure::text AS name
FROM pg_proc AS f
WHERE
    f.pronamespace = quote_ident(current_schema())::regnamespace
    AND NOT EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
    )
    AND NOT EXISTS (
        SELECT FROM pg_dist_object AS o
        WHERE o.classid = 'pg_proc'::regclass AND o.objid = f.oid
    )
-- An aggregate needs its function first.
ORDER BY f.prokind = 'a', f.oid;

-- name: list_tables_to_place()
-- The tables of the organisations, and `tenants`.
SELECT
    c.relname::text AS name,
    a.attname IS NOT NULL AS has_tenant_id
FROM pg_class AS c
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE
    c.relkind = 'r'
    AND c.relnamespace = quote_ident(current_schema())::regnamespace
    AND (a.attname IS NOT NULL OR c.relname = 'tenants')
ORDER BY c.relname;

-- name: list_keys_of_tables(tables)
-- The foreign keys that begin or end at one of these tables: the statements that drop them, and that add them again.
-- Example: tables = ARRAY['users']
SELECT
    format('ALTER TABLE %%I DROP CONSTRAINT %%I', c.relname, k.conname) AS removal,
    format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', c.relname, k.conname, pg_get_constraintdef(k.oid)) AS addition
FROM pg_constraint AS k
INNER JOIN pg_class AS c ON c.oid = k.conrelid
INNER JOIN pg_class AS f ON f.oid = k.confrelid
WHERE
    k.contype = 'f'
    AND k.connamespace = quote_ident(current_schema())::regnamespace
    AND (c.relname::text = ANY(%(tables)s::text[]) OR f.relname::text = ANY(%(tables)s::text[]))
ORDER BY c.relname, k.conname;

-- name: list_grants_to_repeat()
-- The statements that give the nodes the grants of this one. Citus copies a function without what was revoked here,
-- and a database has grants of its own on each node.
WITH functions AS (
    SELECT
        f.oid::regprocedure::text AS name,
        f.proowner AS owner,
        coalesce(f.proacl, acldefault('f', f.proowner)) AS acl
    FROM pg_proc AS f
    WHERE
        f.pronamespace = quote_ident(current_schema())::regnamespace
        AND f.prokind <> 'p'
        AND pg_has_role(f.proowner, 'USAGE')
        AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
        )
),

found (step, statement) AS (
    SELECT
        1 AS step,
        'REVOKE ALL ON FUNCTION ' || f.name || ' FROM PUBLIC' AS statement
    FROM functions AS f
    WHERE
        NOT EXISTS (
            SELECT FROM aclexplode(f.acl) AS a
            WHERE a.grantee = 0
        )
    UNION ALL
    SELECT
        2 AS step,
        'GRANT EXECUTE ON FUNCTION ' || f.name || ' TO ' || quote_ident(r.rolname) AS statement
    FROM functions AS f
    CROSS JOIN LATERAL aclexplode(f.acl) AS a
    INNER JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE a.grantee <> f.owner
    UNION ALL
    SELECT
        3 AS step,
        'GRANT USAGE ON SCHEMA ' || quote_ident(n.nspname) || ' TO ' || quote_ident(r.rolname) AS statement
    FROM pg_namespace AS n
    CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
    INNER JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE
        n.nspname = current_schema()
        AND a.privilege_type = 'USAGE'
        AND a.grantee <> n.nspowner
        AND pg_has_role(n.nspowner, 'USAGE')
    UNION ALL
    SELECT
        4 AS step,
        'REVOKE TEMPORARY ON DATABASE ' || quote_ident(d.datname) || ' FROM PUBLIC' AS statement
    FROM pg_database AS d
    WHERE
        d.datname = current_database()
        AND pg_has_role(d.datdba, 'USAGE')
        AND NOT EXISTS (
            SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
            WHERE a.grantee = 0 AND a.privilege_type = 'TEMPORARY'
        )
    UNION ALL
    -- Citus writes the columns that have a default into a shard's INSERT, also those that the query leaves out.
    SELECT
        5 AS step,
        'GRANT INSERT (' || string_agg(quote_ident(b.attname), ', ' ORDER BY b.attnum)
        || ') ON ' || quote_ident(c.relname) || ' TO skilldb_app' AS statement
    FROM pg_class AS c
    INNER JOIN pg_attribute AS b ON b.attrelid = c.oid
    WHERE
        c.relkind = 'r'
        AND c.relnamespace = quote_ident(current_schema())::regnamespace
        AND b.attnum > 0
        AND NOT b.attisdropped
        AND b.atthasdef
        AND b.attgenerated = ''
        AND has_any_column_privilege('skilldb_app', c.oid, 'INSERT')
        AND NOT has_column_privilege('skilldb_app', c.oid, b.attnum, 'INSERT')
    GROUP BY c.relname
)

SELECT f.statement
FROM found AS f
ORDER BY f.step, f.statement;

-- name: list_roles_to_share()
-- The roles that a node must have: the owner, skilldb_app, and its members.
WITH RECURSIVE members (oid) AS (
    SELECT r.oid FROM pg_roles AS r
    WHERE r.rolname = 'skilldb_app'
    UNION
    SELECT a.member
    FROM members AS m
    INNER JOIN pg_auth_members AS a ON a.roleid = m.oid
)

SELECT r.rolname::text AS name
FROM pg_roles AS r
WHERE (r.oid IN (SELECT m.oid FROM members AS m) AND NOT r.rolsuper) OR r.rolname = current_user
ORDER BY r.rolname <> 'skilldb_app', r.rolname;

-- name: get_shared_roles(names)
-- Runs on each node: these roles, each with whether it logs in, whether it bypasses the policies, and its groups.
-- Example: names = ARRAY['skilldb_app']
SELECT
    coalesce(
        jsonb_object_agg(
            r.rolname,
            jsonb_build_array(
                r.rolcanlogin,
                r.rolbypassrls,
                (
                    SELECT coalesce(jsonb_agg(g.rolname ORDER BY g.rolname), '[]'::jsonb)
                    FROM pg_auth_members AS m
                    INNER JOIN pg_roles AS g ON g.oid = m.roleid
                    WHERE m.member = r.oid
                )
            )
        ),
        '{}'::jsonb
    ) AS roles
FROM pg_roles AS r
WHERE r.rolname::text = ANY(%(names)s::text[]);

-- name: ask_nodes(command)
-- Runs a query on each active node but this one.
-- Example: command = 'SELECT 1'
SELECT
    n.success,
    n.result,
    n.nodename || ':' || n.nodeport AS node
FROM run_command_on_workers(%(command)s::text) AS n
ORDER BY n.nodename, n.nodeport;

-- name: list_service_sessions()
-- The service's roles that are connected, each with its number of sessions.
WITH RECURSIVE members (oid) AS (
    SELECT r.oid FROM pg_roles AS r
    WHERE r.rolname = 'skilldb_app'
    UNION
    SELECT a.member
    FROM members AS m
    INNER JOIN pg_auth_members AS a ON a.roleid = m.oid
)

SELECT
    s.usename::text AS role,
    count(*) AS sessions
FROM pg_stat_activity AS s
INNER JOIN members AS m ON m.oid = s.usesysid
WHERE s.datname = current_database() AND s.pid <> pg_backend_pid() AND s.application_name !~ '^citus_'
GROUP BY s.usename
ORDER BY s.usename;
