-- Locks: ACCESS EXCLUSIVE on ratings, and on tenants, users and skills, to which it refers.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS ratings;

-- The ratings are gone: no skill counts them any more.
-- Organisation by organisation, with the tenant setting: a role that is subject to the policies would otherwise see no
-- row.
DO $$
DECLARE
    organisation TEXT;
BEGIN
    FOR organisation IN SELECT t.id FROM tenants AS t ORDER BY t.id LOOP
        PERFORM set_config('app.current_tenant_id', organisation, true), set_config('row_security', 'on', true);

        UPDATE skills
        SET
            rating_count = 0,
            rating_sum = 0,
            average_rating = NULL,
            metrics_updated_at = date_trunc('milliseconds', now())
        WHERE tenant_id = organisation AND rating_count > 0;
        PERFORM set_config('row_security', 'off', true);
    END LOOP;
    PERFORM set_config('app.current_tenant_id', '', true);
END
$$;
