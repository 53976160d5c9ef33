-- Organisations. A handle sees and creates only the organisation that it names.

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

-- name: create_tenant(id, name, slug)
-- After check_tenant_id.
-- Example: tenant_id = 'skilldb-explain', id = 'skilldb-explain', name = 'Example', slug = 'skilldb-explain'
INSERT INTO tenants (id, name, slug)
VALUES (coalesce(%(id)s, %(tenant_id)s), %(name)s, %(slug)s)
RETURNING id, name, slug, is_active, created_at, updated_at;

-- name: get_tenant()
SELECT id, name, slug, is_active, created_at, updated_at
FROM tenants
WHERE id = %(tenant_id)s;
