-- What the owner asks across organisations. Row-level security on tenants is not forced, so that the owner sees all.

-- name: list_tenants()
SELECT id, name
FROM tenants
ORDER BY id;
