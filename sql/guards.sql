-- Checks when a database is opened, for every role. These queries do not name a tenant.

-- name: list_unsafe_roles()
-- Why the login could bypass the policies; no row if it cannot. Superusers and roles with BYPASSRLS are subject to no
-- policy, nor is the owner of a table without FORCE (PostgreSQL documentation, "Row Security Policies").
-- A role with CREATEROLE can obtain such a role. Before PostgreSQL 16 it can do so alone.
-- Check session_user, because a session can undo SET ROLE.
SELECT 'role ' || quote_ident(r.rolname) || ' is a superuser' AS reason
FROM pg_roles AS r
WHERE r.rolsuper AND pg_has_role(session_user, r.oid, 'MEMBER')
UNION ALL
SELECT 'role ' || quote_ident(r.rolname) || ' has BYPASSRLS' AS reason
FROM pg_roles AS r
WHERE r.rolbypassrls AND NOT r.rolsuper AND pg_has_role(session_user, r.oid, 'MEMBER')
UNION ALL
SELECT 'role ' || quote_ident(r.rolname) || ' has CREATEROLE' AS reason
FROM pg_roles AS r
WHERE r.rolcreaterole AND NOT r.rolsuper AND pg_has_role(session_user, r.oid, 'MEMBER')
UNION ALL
SELECT
    'role ' || quote_ident(r.rolname) || ' owns table ' || c.oid::regclass
    || ', which does not force row-level security' AS reason
FROM pg_class AS c
INNER JOIN pg_roles AS r ON r.oid = c.relowner
WHERE
    c.relkind IN ('r', 'p')
    AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
    AND pg_has_role(session_user, c.relowner, 'MEMBER')
    AND (
        c.relrowsecurity
        OR EXISTS (
            SELECT FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'
        )
    );

-- name: get_server_kind()
-- Whether the database has the setter of sql/admin/harden.sql, whether the role may call set_config() all the same, and
-- whether the server is a node of a Citus cluster. It runs before the search_path is set, so each name is qualified.
SELECT
    pg_catalog.to_regprocedure('skilldb_hardening.begin_call(text, text, text, text, text)') IS NOT NULL AS has_setter,
    pg_catalog.has_function_privilege('pg_catalog.set_config(text, text, boolean)', 'EXECUTE') AS may_set,
    exists(
        SELECT FROM pg_catalog.pg_extension AS e
        WHERE pg_catalog.nameeq(e.extname, 'citus')
    ) AS is_cluster;

-- name: list_unsuitable_settings()
-- The settings that skilldb depends on and that no call can set: a transaction that has begun keeps its isolation level
-- and its access mode, and only a superuser may set session_replication_role. Each with the value that is needed.
SELECT
    s.name,
    s.setting AS value,
    n.needed
FROM (
    VALUES
    ('default_transaction_isolation', 'read committed'),
    ('default_transaction_read_only', 'off'),
    ('session_replication_role', 'origin'),
    ('server_encoding', 'UTF8')
) AS n (name, needed)
INNER JOIN pg_settings AS s ON s.name = n.name
WHERE s.setting <> n.needed;

-- name: list_creators(schema)
-- Lists every untrusted role that can create an object which skilldb would use instead of its own, or owns one already.
-- `remedy` is the statement that removes the cause. Such a role has CREATE on the schema or the database, is a member
-- of a role that has it, owns an object in the schema, or owns a function that a trigger in the schema runs.
-- PostgreSQL prefers a function whose argument types match exactly to one that takes any type, whatever their
-- schemas: public.cardinality(text[]) before pg_catalog.cardinality(anyarray). No search_path prevents that.
-- Trusted are superusers, the owners of schema and database, roles that the schema's comment names in a line such as
-- `skilldb trusts: rds_superuser, ann`, and members of these roles. Only the schema's owner can write that comment.
-- Example: schema = 'public'
WITH RECURSIVE place AS (
    SELECT
        n.oid AS schema_oid,
        n.nspname AS schema_name,
        n.nspowner AS schema_owner,
        d.oid AS database_oid,
        d.datname AS database_name,
        d.datdba AS database_owner,
        coalesce(n.nspacl, acldefault('n', n.nspowner)) AS schema_acl,
        coalesce(d.datacl, acldefault('d', d.datdba)) AS database_acl
    FROM pg_namespace AS n
    INNER JOIN pg_database AS d ON d.datname = current_database()
    WHERE n.nspname = %(schema)s::text
),

named AS (
    SELECT btrim(t.name, E' \t\r') AS name
    FROM place AS p
    CROSS JOIN
        LATERAL regexp_matches(
            obj_description(p.schema_oid, 'pg_namespace'), '^skilldb trusts:(.*)$', 'gn'
        ) AS m (line)
    CROSS JOIN LATERAL regexp_split_to_table(m.line[1], ',') AS t (name)
),

-- Which roles each role inherits from or can switch to. From PostgreSQL 16 on, a membership may allow neither and only
-- allow granting.
memberships AS (
    SELECT
        m.member,
        m.roleid AS role
    FROM pg_auth_members AS m
    WHERE
        coalesce(to_jsonb(m) ->> 'inherit_option', 'true') = 'true'
        OR coalesce(to_jsonb(m) ->> 'set_option', 'true') = 'true'
),

trusted (oid) AS (
    SELECT r.oid
    FROM pg_roles AS r
    WHERE r.rolsuper OR r.rolname::text IN (SELECT n.name FROM named AS n)
    UNION
    SELECT m.member
    FROM trusted AS t
    INNER JOIN memberships AS m ON m.role = t.oid
    INNER JOIN pg_roles AS r ON r.oid = t.oid
    WHERE NOT r.rolsuper
),

owners (oid) AS (
    SELECT p.schema_owner FROM place AS p
    UNION
    SELECT p.database_owner FROM place AS p
    UNION
    -- pg_database_owner has one member: the database's owner.
    SELECT r.oid FROM pg_roles AS r
    WHERE r.rolname = 'pg_database_owner'
),

granted AS (
    SELECT
        a.grantee,
        a.grantor,
        p.schema_owner AS owner,
        'schema' AS kind,
        p.schema_name AS name
    FROM place AS p
    CROSS JOIN LATERAL aclexplode(p.schema_acl) AS a
    WHERE a.privilege_type = 'CREATE'
    UNION ALL
    SELECT
        a.grantee,
        a.grantor,
        p.database_owner AS owner,
        'database' AS kind,
        p.database_name AS name
    FROM place AS p
    CROSS JOIN LATERAL aclexplode(p.database_acl) AS a
    WHERE a.privilege_type = 'CREATE'
),

-- The roles that have CREATE themselves, and the members of these roles.
creators (oid, through) AS (
    SELECT
        c.oid,
        NULL::oid AS through
    FROM (
        SELECT o.oid FROM owners AS o
        UNION
        SELECT g.grantee FROM granted AS g
        WHERE g.grantee <> 0
    ) AS c
    INNER JOIN pg_roles AS r ON r.oid = c.oid AND NOT r.rolsuper
    UNION
    SELECT
        m.member,
        m.role
    FROM creators AS c
    INNER JOIN memberships AS m ON m.role = c.oid
),

possessions AS (
    SELECT
        c.relnamespace AS namespace,
        c.relowner AS owner,
        c.relname::text AS name
    FROM pg_class AS c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT
        y.typnamespace AS namespace,
        y.typowner AS owner,
        y.typname::text AS name
    FROM pg_type AS y
    WHERE y.typrelid = 0 AND y.typelem = 0
),

found (step, reason, remedy) AS (
    SELECT
        1 AS step,
        coalesce('role ' || quote_ident(r.rolname), 'every role')
        || ' has CREATE on ' || g.kind || ' ' || quote_ident(g.name) AS reason,
        -- REVOKE removes only grants made by the current role. A superuser's REVOKE counts as the owner's.
        CASE WHEN g.grantor <> g.owner THEN 'SET ROLE ' || quote_ident(b.rolname) || '; ' ELSE '' END
        || 'REVOKE CREATE ON ' || upper(g.kind) || ' ' || quote_ident(g.name)
        || ' FROM ' || coalesce(quote_ident(r.rolname), 'PUBLIC') || ' CASCADE'
        || CASE WHEN g.grantor <> g.owner THEN '; RESET ROLE' ELSE '' END AS remedy
    FROM granted AS g
    INNER JOIN pg_roles AS b ON b.oid = g.grantor
    LEFT JOIN pg_roles AS r ON r.oid = g.grantee
    WHERE
        g.grantee NOT IN (SELECT t.oid FROM trusted AS t)
        AND g.grantee NOT IN (SELECT o.oid FROM owners AS o)
    UNION ALL
    SELECT
        2 AS step,
        'role ' || quote_ident(r.rolname) || ' is a member of ' || quote_ident(w.rolname) || ', which may create'
            AS reason,
        'REVOKE ' || quote_ident(w.rolname) || ' FROM ' || quote_ident(r.rolname) AS remedy
    FROM creators AS c
    INNER JOIN pg_roles AS r ON r.oid = c.oid
    INNER JOIN pg_roles AS w ON w.oid = c.through
    WHERE
        c.oid NOT IN (SELECT t.oid FROM trusted AS t)
        AND c.oid NOT IN (SELECT o.oid FROM owners AS o)
    UNION ALL
    SELECT
        3 AS step,
        'trigger ' || quote_ident(g.tgname) || ' on ' || g.tgrelid::regclass
        || ' runs a function of role ' || quote_ident(r.rolname) AS reason,
        'DROP TRIGGER ' || quote_ident(g.tgname) || ' ON ' || g.tgrelid::regclass AS remedy
    FROM place AS p
    INNER JOIN pg_class AS c ON c.relnamespace = p.schema_oid
    INNER JOIN pg_trigger AS g ON g.tgrelid = c.oid
    INNER JOIN pg_proc AS f ON f.oid = g.tgfoid
    INNER JOIN pg_roles AS r ON r.oid = f.proowner
    WHERE
        r.oid NOT IN (SELECT t.oid FROM trusted AS t)
        AND r.oid NOT IN (SELECT o.oid FROM owners AS o)
    UNION ALL
    SELECT
        -- Drop an operator before its function.
        CASE WHEN s.classid = 'pg_operator'::regclass THEN 4 ELSE 5 END AS step,
        'role ' || quote_ident(r.rolname) || ' owns ' || o.type || ' ' || o.identity AS reason,
        coalesce(
            (
                SELECT 'DROP EXTENSION ' || quote_ident(e.extname)
                FROM pg_depend AS d
                INNER JOIN pg_extension AS e ON e.oid = d.refobjid
                WHERE d.classid = s.classid AND d.objid = s.objid AND d.deptype = 'e'
            ),
            'DROP ' || upper(o.type) || ' ' || o.identity
        ) AS remedy
    FROM place AS p
    INNER JOIN pg_shdepend AS s ON s.dbid = p.database_oid AND s.deptype = 'o'
    INNER JOIN pg_roles AS r ON r.oid = s.refobjid
    CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, s.objsubid) AS o
    WHERE
        s.refclassid = 'pg_authid'::regclass
        AND s.classid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
        AND o.schema = quote_ident(p.schema_name)
        AND s.refobjid NOT IN (SELECT t.oid FROM trusted AS t)
        AND s.refobjid NOT IN (SELECT w.oid FROM owners AS w)
    UNION ALL
    -- One row per role: its tables may be skilldb's own, created by a role that does not own the database.
    SELECT
        6 AS step,
        'role ' || quote_ident(r.rolname) || ' owns ' || count(*) || ' tables or types in schema '
        || quote_ident(p.schema_name) || ', ' || min(quote_ident(k.name)) || ' for one' AS reason,
        'for each of them: ALTER TABLE or ALTER TYPE ... OWNER TO ' || p.schema_owner::regrole::text
        || ' if skilldb created it, DROP TABLE or DROP TYPE ... if not' AS remedy
    FROM place AS p
    INNER JOIN possessions AS k ON k.namespace = p.schema_oid
    INNER JOIN pg_roles AS r ON r.oid = k.owner
    WHERE
        r.oid NOT IN (SELECT t.oid FROM trusted AS t)
        AND r.oid NOT IN (SELECT o.oid FROM owners AS o)
    GROUP BY r.rolname, p.schema_name, p.schema_owner
)

SELECT
    f.reason,
    f.remedy
FROM found AS f
ORDER BY f.step, f.reason;

-- name: get_schema_owner(schema)
-- The schema's owner, if it is none of: a superuser, the database's owner, the current role, a role that the current
-- role is a member of. Migrating into such a schema would give its owner every row.
-- Example: schema = 'public'
SELECT r.rolname::text AS owner
FROM pg_namespace AS n
INNER JOIN pg_roles AS r ON r.oid = n.nspowner
INNER JOIN pg_database AS d ON d.datname = current_database()
WHERE
    n.nspname = %(schema)s::text
    AND NOT r.rolsuper
    AND r.oid <> d.datdba
    AND r.rolname <> 'pg_database_owner'
    AND NOT pg_has_role(current_user, r.oid, 'USAGE');

-- name: get_session(schema)
-- The server process that answers, and whether the role may use the schema and create in it. Behind a pooler the
-- process differs from the one that the login reported. `usable` and `creatable` are NULL if there is no such schema.
-- Example: schema = 'public'
SELECT
    pg_backend_pid() AS pid,
    current_user::text AS role,
    (
        SELECT has_schema_privilege(n.oid, 'USAGE')
        FROM pg_namespace AS n
        WHERE n.nspname = %(schema)s::text
    ) AS usable,
    (
        SELECT has_schema_privilege(n.oid, 'CREATE')
        FROM pg_namespace AS n
        WHERE n.nspname = %(schema)s::text
    ) AS creatable;
