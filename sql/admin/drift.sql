-- What the owner asks across organisations. Row-level security on tenants is not forced, so that the owner sees all.

-- name: see_all_rows()
-- A role that the policies hold is then refused, instead of seeing no organisation and finding all of them sound.
SET LOCAL row_security = off;

-- name: list_tenants()
SELECT id, name
FROM tenants
ORDER BY id;
