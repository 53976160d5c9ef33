-- Catalogue queries of isolation.py. They run over the service's connection and answer for its role.

-- name: get_schema()
SELECT current_schema()::text AS schema_name;

-- name: list_isolated_tables()
-- Every table of the schema with a tenant_id, and the table tenants. `enabled` and `forced`: row-level security.
SELECT
    n.nspname AS schema,
    c.relname AS name,
    c.relrowsecurity AS enabled,
    c.relforcerowsecurity AS forced,
    c.oid::bigint AS oid,
    coalesce(a.attname, 'id') AS tenant_column
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname = current_schema() AND (a.attname IS NOT NULL OR c.relname = 'tenants')
ORDER BY c.relname;

-- name: list_policies()
SELECT
    polname AS name,
    polpermissive AS permissive,
    polrelid::bigint AS table_oid,
    polcmd::text AS command,
    polroles::bigint[] AS roles,
    pg_get_expr(polqual, polrelid) AS reads,
    pg_get_expr(polwithcheck, polrelid) AS writes
FROM pg_policy
ORDER BY polrelid, polname;

-- name: list_foreign_keys()
-- The columns of each foreign key as pairs: referencing, referenced.
SELECT
    k.conname AS name,
    c.relname AS table_name,
    k.convalidated AS validated,
    CASE WHEN f.relnamespace = c.relnamespace THEN f.relname::text ELSE f.oid::regclass::text END AS target,
    (
        SELECT array_agg(ARRAY[a.attname, b.attname] ORDER BY p.n)
        FROM unnest(k.conkey, k.confkey) WITH ORDINALITY AS p (own, other, n)
        INNER JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = p.own
        INNER JOIN pg_attribute AS b ON b.attrelid = k.confrelid AND b.attnum = p.other
    )::text[] AS pairs
FROM pg_constraint AS k
INNER JOIN pg_class AS c ON c.oid = k.conrelid
INNER JOIN pg_class AS f ON f.oid = k.confrelid
WHERE k.contype = 'f' AND c.relnamespace = quote_ident(current_schema())::regnamespace
ORDER BY k.conname;

-- name: list_unique_keys()
-- The key columns, without the INCLUDE columns of an index.
SELECT
    i.indisprimary AS is_primary,
    i.indrelid::bigint AS table_oid,
    i.indexrelid::regclass::text AS name,
    (
        SELECT array_agg(coalesce(a.attname, 'an expression') ORDER BY k.n)
        FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, n)
        LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.n <= i.indnkeyatts
    )::text[] AS key
FROM pg_index AS i
WHERE i.indisunique OR i.indisexclusion
ORDER BY i.indrelid, i.indexrelid;

-- name: list_triggers(tables)
-- Triggers and rules. Triggers of foreign keys only if they are switched off.
-- Example: tables = ARRAY[1259]
SELECT
    c.relname AS table_name,
    CASE WHEN t.tgisinternal THEN 'switched off' ELSE 'trigger' END AS kind,
    t.tgname AS name
FROM pg_trigger AS t
INNER JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE t.tgrelid::bigint = ANY(%(tables)s::bigint[]) AND (NOT t.tgisinternal OR t.tgenabled <> 'O')
UNION ALL
SELECT
    c.relname AS table_name,
    'rule' AS kind,
    r.rulename AS name
FROM pg_rewrite AS r
INNER JOIN pg_class AS c ON c.oid = r.ev_class
WHERE r.ev_class::bigint = ANY(%(tables)s::bigint[]);

-- name: list_grants()
-- All privileges of the role, including inherited and default ones. A table of another schema is named with its schema.
-- It is left out if its policies have only the tenant's predicate, or for SELECT the slug's: the doctor of that schema
-- examines it.
-- Objects of extensions are left out: for example everybody may read pg_stat_statements.
WITH relations AS (
    SELECT
        c.oid,
        c.relacl,
        c.relowner,
        c.relkind,
        CASE
            WHEN n.nspname = current_schema() THEN c.relname::text
            ELSE n.nspname || '.' || c.relname
        END AS name
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE
        c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND n.nspname !~ '^(pg_|information_schema)'
        AND (
            n.nspname = current_schema()
            OR NOT c.relrowsecurity
            OR pg_has_role(current_user, c.relowner, 'MEMBER')
            OR EXISTS (
                SELECT FROM pg_policy AS p
                WHERE
                    p.polrelid = c.oid
                    AND regexp_replace(
                        pg_get_expr(p.polqual, p.polrelid),
                        CASE p.polcmd
                            WHEN 'r'
                                THEN '( OR )?\(slug = current_setting\(''app.current_tenant_slug''::text, true\)\)'
                            ELSE '^$'
                        END,
                        ''
                    ) !~ '^\(*((tenant_id|id) = current_setting\(''app.current_tenant_id''::text, true\)\)*)?$'
            )
        )
),

granted (kind, catalogue, oid, name, part, acl) AS (
    SELECT
        'relation' AS kind,
        'pg_class'::regclass AS catalogue,
        c.oid,
        c.name,
        NULL::name AS part,
        -- noqa: disable=RF06
        coalesce(
            c.relacl, acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner)
        ) AS acl
        -- noqa: enable=RF06
    FROM relations AS c
    UNION ALL
    SELECT 'relation', 'pg_class'::regclass, c.oid, c.name, a.attname, a.attacl
    FROM pg_attribute AS a
    INNER JOIN relations AS c ON c.oid = a.attrelid
    UNION ALL
    SELECT 'function', 'pg_proc'::regclass, p.oid, p.proname, NULL, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p
    WHERE p.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'schema', 'pg_namespace'::regclass, n.oid, n.nspname, NULL, coalesce(n.nspacl, acldefault('n', n.nspowner))
    FROM pg_namespace AS n
    UNION ALL
    SELECT 'database', 'pg_database'::regclass, d.oid, d.datname, NULL, coalesce(d.datacl, acldefault('d', d.datdba))
    FROM pg_database AS d
    WHERE d.datname = current_database()
    UNION ALL
    SELECT 'parameter', 'pg_parameter_acl'::regclass, p.oid, p.parname, NULL, p.paracl
    FROM pg_parameter_acl AS p
    UNION ALL
    SELECT 'default', 'pg_default_acl'::regclass, d.oid, d.defaclobjtype::text, NULL, d.defaclacl
    FROM pg_default_acl AS d
)

SELECT
    g.kind,
    g.name,
    g.part,
    x.privilege_type AS privilege,
    x.is_grantable,
    CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END AS grantee
FROM granted AS g
CROSS JOIN LATERAL aclexplode(g.acl) AS x
WHERE
    (x.grantee = 0 OR pg_has_role(current_user, x.grantee, 'MEMBER'))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS e
        WHERE e.classid = g.catalogue AND e.objid = g.oid AND e.deptype = 'e' AND g.kind IN ('relation', 'function')
    );

-- name: list_unsafe_functions()
SELECT
    p.proname AS name,
    CASE WHEN p.prosecdef THEN 'SECURITY DEFINER' ELSE 'LEAKPROOF' END AS reason
FROM pg_proc AS p
WHERE
    p.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
    AND has_function_privilege(p.oid, 'EXECUTE')
    AND (p.prosecdef OR p.proleakproof)
    -- The setter of sql/admin/harden.sql, if its owner may do nothing else.
    AND NOT (
        p.oid = to_regprocedure('skilldb_hardening.begin_call(text, text, text, text, text)')
        AND p.proowner::regrole::text = 'skilldb_setter'
        AND NOT p.proleakproof
    );

-- name: list_roles()
-- Every role that the service is or can switch to, and its rights that no service needs.
SELECT
    r.rolname AS name,
    r.rolname IN (current_user, 'skilldb_app') AS known,
    array_remove(ARRAY[
        CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
        CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
        CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
        CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
        CASE WHEN r.rolreplication THEN 'REPLICATION' END,
        CASE WHEN r.rolcanlogin AND r.rolname = 'skilldb_app' THEN 'LOGIN' END
    ], NULL) AS powers
FROM pg_roles AS r
WHERE pg_has_role(current_user, r.oid, 'MEMBER');

-- name: list_possessions()
-- Objects that the service or skilldb_app owns.
SELECT
    r.rolname AS role,
    coalesce(pg_describe_object(d.classid, d.objid, d.objsubid), 'something') AS possession
FROM pg_shdepend AS d
INNER JOIN pg_roles AS r ON r.oid = d.refobjid
WHERE
    d.refclassid = 'pg_authid'::regclass
    AND d.deptype = 'o'
    AND d.dbid IN (0, (
        SELECT b.oid FROM pg_database AS b
        WHERE b.datname = current_database()
    ))
    AND r.rolname IN (current_user, 'skilldb_app');

-- name: list_admin_options()
SELECT
    m.member::regrole::text AS role,
    m.roleid::regrole::text AS granted
FROM pg_auth_members AS m
WHERE m.admin_option AND pg_has_role(current_user, m.member, 'MEMBER');

-- name: list_preset_tenants()
-- Roles and databases whose sessions start with a tenant set.
SELECT
    s.setting,
    coalesce(r.rolname, d.datname) AS name
FROM pg_db_role_setting AS c
CROSS JOIN LATERAL unnest(c.setconfig) AS s (setting)
LEFT JOIN pg_roles AS r ON r.oid = c.setrole
LEFT JOIN pg_database AS d ON d.oid = c.setdatabase
WHERE starts_with(s.setting, 'app.current_tenant_id=') OR starts_with(s.setting, 'app.current_tenant_slug=');
