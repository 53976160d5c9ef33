-- What is checked when a database is opened, by whichever role opens it. No tenant in any of it.

-- name: list_unsafe_roles()
-- Why the login could bypass the policies: no row where it could not. A superuser and a role with BYPASSRLS are subject
-- to no policy, nor is the owner of a table without FORCE (PostgreSQL documentation, "Row Security Policies").
-- CREATEROLE may become such a role, before PostgreSQL 16 by itself. SET ROLE can be undone, so session_user counts.
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

-- name: list_creators(schema)
-- Every role that is not trusted and has CREATE on the schema or the database, or owns a function or operator in the
-- schema; each with the statement that ends it.
-- PostgreSQL calls a function whose argument types match exactly before one that takes any type, in whichever schema
-- they are: public.cardinality(text[]) before pg_catalog.cardinality(anyarray). No search_path prevents that.
-- Trusted are superusers, the owners of schema and database, and the roles that a line of the schema's comment names:
-- `skilldb trusts: rds_superuser, ann`. Only the schema's owner can write that comment. Whoever owns the table tenants
-- may own functions: migrations made both.
WITH place AS (
    SELECT
        n.oid AS schema_oid,
        n.nspname AS schema_name,
        n.nspowner AS schema_owner,
        d.oid AS database_oid,
        d.datname AS database_name,
        d.datdba AS database_owner,
        coalesce(n.nspacl, acldefault('n', n.nspowner)) AS schema_acl,
        coalesce(d.datacl, acldefault('d', d.datdba)) AS database_acl,
        regexp_split_to_array(
            btrim((regexp_match(obj_description(n.oid, 'pg_namespace'), '(?n)^skilldb trusts:(.*)$'))[1], E' \t\r'),
            '\s*,\s*'
        ) AS trusts
    FROM pg_namespace AS n
    INNER JOIN pg_database AS d ON d.datname = current_database()
    WHERE n.nspname = %(schema)s::text
),

trusted AS (
    SELECT r.oid
    FROM pg_roles AS r
    CROSS JOIN place AS p
    WHERE
        r.rolsuper
        OR r.oid IN (p.schema_owner, p.database_owner)
        -- Its only member is the database's owner.
        OR r.rolname = 'pg_database_owner'
        OR r.rolname::text = ANY(p.trusts)
),

granted AS (
    SELECT
        a.grantee,
        'schema' AS kind,
        p.schema_name AS name
    FROM place AS p
    CROSS JOIN LATERAL aclexplode(p.schema_acl) AS a
    WHERE a.privilege_type = 'CREATE'
    UNION
    SELECT
        a.grantee,
        'database' AS kind,
        p.database_name AS name
    FROM place AS p
    CROSS JOIN LATERAL aclexplode(p.database_acl) AS a
    WHERE a.privilege_type = 'CREATE'
)

SELECT
    coalesce('role ' || quote_ident(r.rolname), 'every role')
    || ' has CREATE on ' || g.kind || ' ' || quote_ident(g.name) AS reason,
    'REVOKE CREATE ON ' || upper(g.kind) || ' ' || quote_ident(g.name)
    || ' FROM ' || coalesce(quote_ident(r.rolname), 'PUBLIC') AS remedy
FROM granted AS g
LEFT JOIN pg_roles AS r ON r.oid = g.grantee
WHERE g.grantee NOT IN (SELECT t.oid FROM trusted AS t)
UNION ALL
SELECT
    'role ' || quote_ident(r.rolname) || ' owns ' || o.type || ' ' || o.identity AS reason,
    'DROP ' || upper(o.type) || ' ' || o.identity AS remedy
FROM place AS p
INNER JOIN pg_shdepend AS s ON s.dbid = p.database_oid AND s.deptype = 'o'
INNER JOIN pg_roles AS r ON r.oid = s.refobjid
CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, s.objsubid) AS o
WHERE
    s.refclassid = 'pg_authid'::regclass
    AND s.classid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
    AND o.schema = quote_ident(p.schema_name)
    AND s.refobjid NOT IN (SELECT t.oid FROM trusted AS t)
    AND s.refobjid NOT IN (
        SELECT c.relowner FROM pg_class AS c
        WHERE c.relnamespace = p.schema_oid AND c.relname = 'tenants' AND c.relrowsecurity
    )
ORDER BY reason;

-- name: get_session(schema)
-- The server process that answers, which behind a pooler is not the one that the login was told of; and whether the
-- role may use the schema, NULL where there is none.
SELECT
    pg_backend_pid() AS pid,
    current_user::text AS role,
    (
        SELECT has_schema_privilege(n.oid, 'USAGE')
        FROM pg_namespace AS n
        WHERE n.nspname = %(schema)s::text
    ) AS usable;
