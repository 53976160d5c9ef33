-- Queries of the owner across organisations. Row-level security on tenants is not forced, so the owner sees all.

-- name: see_all_rows()
-- A role that is subject to policies gets an error here, not an empty list that looks healthy.
SET LOCAL row_security = off;

-- name: list_tenants()
SELECT id, name
FROM tenants
ORDER BY id;
