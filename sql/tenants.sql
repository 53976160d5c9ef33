-- Organisations. A handle sees and creates only the organisation that it names. find_tenant runs without a handle.

-- name: check_tenant_id()
-- Before create_tenant: the handle's id becomes a new id there, so its spelling is checked as Python checks that of
-- other new ids. `\s` alone depends on the database's locale; the list is Python's white space.
-- Example: tenant_id = 'skilldb-explain'
SELECT
    CASE
        WHEN
            concat(left(%(tenant_id)s, 1), right(%(tenant_id)s, 1))
            ~ '[\s\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
            THEN raise_invalid_value('tenant id', %(tenant_id)s, 'must not begin or end with white space')
        WHEN %(tenant_id)s <> normalize(%(tenant_id)s)
            THEN raise_invalid_value('tenant id', %(tenant_id)s, 'must be in Unicode NFC')
    END AS refused;

-- name: create_tenant(id, name, slug, created_at)
-- After check_tenant_id, before prepare_horizon.
-- Example: tenant_id = 'skilldb-explain', id = 'skilldb-explain', name = 'Example', slug = 'skilldb-explain',
-- created_at = NULL
INSERT INTO tenants (id, name, slug, created_at, updated_at)
VALUES (
    coalesce(%(id)s, %(tenant_id)s),
    %(name)s,
    %(slug)s,
    date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now())),
    date_trunc('milliseconds', coalesce(%(created_at)s::timestamptz, now()))
);

-- name: get_tenant()
SELECT id, name, slug, is_active, created_at, updated_at
FROM tenants
WHERE id = %(tenant_id)s;

-- name: find_tenant(slug)
-- The one query that names no tenant. Database.find_tenant sets app.current_tenant_slug for it, and the policies of
-- tenants for SELECT then show the row of that slug alone.
-- Example: slug = 'skilldb-explain'
SELECT id
FROM tenants
WHERE slug = %(slug)s;

-- name: update_tenant(changes)
-- After lock_tenant or lock_tenant_key. update_skill explains `changes`. updated_at never goes backwards.
-- Example: changes = '{"name": "Another example"}'
WITH edit AS (
    SELECT
        n.name,
        n.slug,
        n.is_active,
        CASE
            WHEN (old.name, old.slug, old.is_active) <> (n.name, n.slug, n.is_active) THEN 'infinity'
            ELSE '-infinity'
        END::timestamptz AS latest
    FROM tenants AS old
    CROSS JOIN LATERAL jsonb_populate_record(old, %(changes)s::jsonb) AS n
    WHERE old.id = %(tenant_id)s
)

UPDATE tenants AS t
SET
    name = edit.name,
    slug = edit.slug,
    is_active = edit.is_active,
    updated_at = greatest(t.updated_at, least(edit.latest, date_trunc('milliseconds', now())))
FROM edit
WHERE t.id = %(tenant_id)s
RETURNING t.id, t.name, t.slug, t.is_active, t.created_at, t.updated_at;
