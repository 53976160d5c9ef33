-- Organisations. A handle sees and creates only the organisation that it names.

-- name: create_tenant(id, name, slug)
-- Example: tenant_id = 'skilldb-explain', id = 'skilldb-explain', name = 'Example', slug = 'skilldb-explain'
INSERT INTO tenants (id, name, slug)
VALUES (coalesce(%(id)s, %(tenant_id)s), %(name)s, %(slug)s)
RETURNING id, name, slug, is_active, created_at, updated_at;

-- name: get_tenant()
SELECT id, name, slug, is_active, created_at, updated_at
FROM tenants
WHERE id = %(tenant_id)s;
