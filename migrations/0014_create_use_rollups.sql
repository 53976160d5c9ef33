-- The uses of each day, by skill, by tool and by user, so that a report reads a few rows and not every event.
-- One row holds a month: the thirty days of a report are two rows of a skill and not thirty. The element of
-- uses_to_day for a day is the number of uses from the first of the month to the end of that day. So the uses of any
-- days of a month are the difference of two elements. The subscript is the day of the month. Before the first element
-- there are no uses. The last element is that of day 31 in every month, and so the number of uses in the month.
-- Locks: SHARE ROW EXCLUSIVE on tenants, users and skills for the foreign keys, and SHARE on usage_events while its
-- rows are counted, all to the end of the transaction. The tables are new. An older version of skilldb does not write
-- rollups: stop it before, or run `skilldb rebuild-rollups` after it has stopped.
SET LOCAL lock_timeout = '5s';

-- First, because a caller takes it before it changes skills.
LOCK TABLE usage_events IN SHARE MODE;

CREATE OR REPLACE FUNCTION add_uses(total BIGINT[], added BIGINT[]) RETURNS BIGINT[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    FOR day IN array_lower(added, 1)..31 LOOP
        total[day] := coalesce(total[day], 0) + added[day];
    END LOOP;
    RETURN total;
END
$$;

COMMENT ON FUNCTION add_uses IS 'Adds two arrays of uses_to_day. Both end with day 31.';

REVOKE ALL ON FUNCTION add_uses FROM public;
GRANT EXECUTE ON FUNCTION add_uses TO skilldb_app;

DO $$
BEGIN
    CREATE OR REPLACE AGGREGATE sum_uses(BIGINT[]) (
        SFUNC = add_uses,
        STYPE = BIGINT[],
        PARALLEL = SAFE
    );
    COMMENT ON AGGREGATE sum_uses(BIGINT[]) IS 'The sum of arrays of uses_to_day, added by add_uses().';
END
$$;

REVOKE ALL ON FUNCTION sum_uses FROM public;
GRANT EXECUTE ON FUNCTION sum_uses TO skilldb_app;

CREATE OR REPLACE FUNCTION uses_on(day DATE, uses BIGINT) RETURNS BIGINT[]
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN array_fill(uses, ARRAY[32 - extract(DAY FROM day)::INTEGER], ARRAY[extract(DAY FROM day)::INTEGER]);

COMMENT ON FUNCTION uses_on IS 'The uses_to_day of a month whose only uses are on this day.';

REVOKE ALL ON FUNCTION uses_on FROM public;
GRANT EXECUTE ON FUNCTION uses_on TO skilldb_app;

-- The planner puts the expression in the place of the call, as with mean_rating().
CREATE OR REPLACE FUNCTION uses_between(uses_to_day BIGINT[], month DATE, first_day DATE, last_day DATE) RETURNS BIGINT
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN coalesce(uses_to_day[least(last_day - month + 1, 31)], 0)
- coalesce(uses_to_day[least(first_day - month, 31)], 0);

COMMENT ON FUNCTION uses_between IS
'The uses of the days of this month that lie between two days, both included; 0 if none does.';

REVOKE ALL ON FUNCTION uses_between FROM public;
GRANT EXECUTE ON FUNCTION uses_between TO skilldb_app;

CREATE TABLE IF NOT EXISTS skill_monthly_uses (
    tenant_id TEXT NOT NULL,
    skill_id TEXT NOT NULL,
    month DATE NOT NULL,
    uses_to_day BIGINT[] NOT NULL,
    CONSTRAINT skill_monthly_uses_pkey PRIMARY KEY (tenant_id, skill_id, month),
    CONSTRAINT skill_monthly_uses_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT skill_monthly_uses_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE
)
-- Each use updates the row in place, like the counters of skills. So no index may contain uses_to_day.
WITH (fillfactor = 80);

-- get_top_skills reads the newest months of all skills.
CREATE INDEX IF NOT EXISTS skill_monthly_uses_month_idx ON skill_monthly_uses (tenant_id, month);

COMMENT ON TABLE skill_monthly_uses IS
'The recorded uses of a skill on each day of a month of UTC. Written with the event, and exact.';
COMMENT ON COLUMN skill_monthly_uses.month IS 'The first day of the month.';
COMMENT ON COLUMN skill_monthly_uses.uses_to_day IS
'The uses from the first of the month to the end of each day. The subscript is the day, up to 31 in every month.';

CREATE TABLE IF NOT EXISTS tool_monthly_uses (
    tenant_id TEXT NOT NULL,
    tool_name TEXT NOT NULL,
    month DATE NOT NULL,
    uses_to_day BIGINT[] NOT NULL,
    CONSTRAINT tool_monthly_uses_pkey PRIMARY KEY (tenant_id, month, tool_name),
    CONSTRAINT tool_monthly_uses_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id)
)
WITH (fillfactor = 80);

COMMENT ON TABLE tool_monthly_uses IS
'The recorded uses of a tool on each day of a month of UTC, with or without a skill, without those in pending_uses.';
COMMENT ON COLUMN tool_monthly_uses.month IS 'The first day of the month.';
COMMENT ON COLUMN tool_monthly_uses.uses_to_day IS 'As in skill_monthly_uses.';

CREATE TABLE IF NOT EXISTS user_monthly_uses (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    month DATE NOT NULL,
    uses_to_day BIGINT[] NOT NULL,
    CONSTRAINT user_monthly_uses_pkey PRIMARY KEY (tenant_id, user_id, month),
    CONSTRAINT user_monthly_uses_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT user_monthly_uses_user_fk FOREIGN KEY (tenant_id, user_id)
    REFERENCES users (tenant_id, id) ON DELETE CASCADE
)
WITH (fillfactor = 80);

-- get_top_users and list_active_users read the newest months of all users.
CREATE INDEX IF NOT EXISTS user_monthly_uses_month_idx ON user_monthly_uses (tenant_id, month);

COMMENT ON TABLE user_monthly_uses IS
'The recorded uses of a user on each day of a month of UTC, with or without a skill, without those in pending_uses.';
COMMENT ON COLUMN user_monthly_uses.month IS 'The first day of the month.';
COMMENT ON COLUMN user_monthly_uses.uses_to_day IS 'As in skill_monthly_uses.';

-- A row per tool and day would be locked by every call that uses the tool, and two calls could lock a tool and a user
-- in different orders. So a call only appends a row here, and fold_uses adds the rows up later. Reports by tool and by
-- user read both.
CREATE TABLE IF NOT EXISTS pending_uses (
    tenant_id TEXT NOT NULL,
    id UUID NOT NULL DEFAULT gen_random_uuid(),
    day DATE NOT NULL,
    tool_name TEXT,
    user_id TEXT,
    uses INTEGER NOT NULL,
    CONSTRAINT pending_uses_pkey PRIMARY KEY (tenant_id, id),
    -- No foreign key to users: it would cost every call one more check. The event that is written with the row has it.
    CONSTRAINT pending_uses_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

COMMENT ON TABLE pending_uses IS
'Uses that fold_uses will add to tool_monthly_uses and user_monthly_uses. Reports count them already.';
COMMENT ON COLUMN pending_uses.day IS 'The day of UTC of the events.';
COMMENT ON COLUMN pending_uses.tool_name IS 'The tool; NULL in a repair of a user''s uses alone.';
COMMENT ON COLUMN pending_uses.user_id IS 'The user; NULL if unknown, deleted, or in a repair of a tool''s uses alone.';
COMMENT ON COLUMN pending_uses.uses IS 'The number of events.';

ALTER TABLE skill_monthly_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE skill_monthly_uses FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_monthly_uses' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON skill_monthly_uses AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_monthly_uses' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON skill_monthly_uses AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

ALTER TABLE tool_monthly_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE tool_monthly_uses FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'tool_monthly_uses' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON tool_monthly_uses AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'tool_monthly_uses' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON tool_monthly_uses AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

ALTER TABLE user_monthly_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_monthly_uses FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'user_monthly_uses' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON user_monthly_uses AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'user_monthly_uses' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON user_monthly_uses AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

ALTER TABLE pending_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE pending_uses FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'pending_uses' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON pending_uses AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'pending_uses' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON pending_uses AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

-- The events that are already there, organisation by organisation: CONTRIBUTING.md, "Change rows in a migration".
DO $$
DECLARE
    organisation TEXT;
BEGIN
    FOR organisation IN SELECT t.id FROM tenants AS t ORDER BY t.id LOOP
        PERFORM set_config('app.current_tenant_id', organisation, true), set_config('row_security', 'on', true);

        INSERT INTO skill_monthly_uses (tenant_id, skill_id, month, uses_to_day)
        SELECT
            organisation,
            d.skill_id,
            date_trunc('month', d.day::timestamp)::date,
            sum_uses(uses_on(d.day, d.uses))
        FROM (
            SELECT
                skill_id,
                (created_at AT TIME ZONE 'UTC')::date AS day,
                count(*) AS uses
            FROM usage_events
            WHERE tenant_id = organisation AND skill_id IS NOT NULL
            GROUP BY skill_id, (created_at AT TIME ZONE 'UTC')::date
        ) AS d
        GROUP BY d.skill_id, date_trunc('month', d.day::timestamp);

        INSERT INTO tool_monthly_uses (tenant_id, tool_name, month, uses_to_day)
        SELECT
            organisation,
            d.tool_name,
            date_trunc('month', d.day::timestamp)::date,
            sum_uses(uses_on(d.day, d.uses))
        FROM (
            SELECT
                tool_name,
                (created_at AT TIME ZONE 'UTC')::date AS day,
                count(*) AS uses
            FROM usage_events
            WHERE tenant_id = organisation
            GROUP BY tool_name, (created_at AT TIME ZONE 'UTC')::date
        ) AS d
        GROUP BY d.tool_name, date_trunc('month', d.day::timestamp);

        INSERT INTO user_monthly_uses (tenant_id, user_id, month, uses_to_day)
        SELECT
            organisation,
            d.user_id,
            date_trunc('month', d.day::timestamp)::date,
            sum_uses(uses_on(d.day, d.uses))
        FROM (
            SELECT
                user_id,
                (created_at AT TIME ZONE 'UTC')::date AS day,
                count(*) AS uses
            FROM usage_events
            WHERE tenant_id = organisation AND user_id IS NOT NULL
            GROUP BY user_id, (created_at AT TIME ZONE 'UTC')::date
        ) AS d
        GROUP BY d.user_id, date_trunc('month', d.day::timestamp);

        PERFORM set_config('row_security', 'off', true);
    END LOOP;
    PERFORM set_config('app.current_tenant_id', '', true);
END
$$;

GRANT SELECT, INSERT, DELETE, UPDATE (uses_to_day) ON skill_monthly_uses TO skilldb_app;
GRANT SELECT, INSERT, DELETE, UPDATE (uses_to_day) ON tool_monthly_uses TO skilldb_app;
GRANT SELECT, INSERT, DELETE, UPDATE (uses_to_day) ON user_monthly_uses TO skilldb_app;
GRANT SELECT, INSERT, DELETE, UPDATE (user_id) ON pending_uses TO skilldb_app;
