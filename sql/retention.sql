-- Retention: the horizon of an organisation, and the deletion of the raw rows before it. No figure that reads rollups
-- changes.

-- name: prepare_horizon()
-- Gives an organisation its row, if it has none: check_events_kept and check_measurements_kept lock it.
INSERT INTO horizons (tenant_id)
SELECT %(tenant_id)s
FROM tenants AS t
WHERE t.id = %(tenant_id)s
ON CONFLICT (tenant_id) DO NOTHING;

-- name: keep_rows(event_days, measurement_days)
-- After lock_horizon, which waits for the transactions that rely on the old horizon. It never moves back. NULL leaves
-- it where it is.
-- Example: event_days = 36525, measurement_days = 36525
UPDATE horizons AS h
SET
    events_kept_from = greatest(
        h.events_kept_from, (now() AT TIME ZONE 'UTC')::date - %(event_days)s::integer
    ),
    measurements_kept_from = greatest(
        h.measurements_kept_from, (now() AT TIME ZONE 'UTC')::date - %(measurement_days)s::integer
    )
WHERE h.tenant_id = %(tenant_id)s
RETURNING h.events_kept_from, h.measurements_kept_from;

-- name: count_prunable(event_days, measurement_days)
-- The rows that keep_rows would put before the horizon, and those that are before it already. max() also returns a row
-- for an organisation without a horizon.
-- Reads all: it counts them, and they may be most of the rows.
-- Example: event_days = 36525, measurement_days = 36525
SELECT
    (
        SELECT count(*)
        FROM usage_events AS e
        WHERE
            e.tenant_id = %(tenant_id)s
            AND e.created_at < (
                SELECT
                    greatest(
                        max(h.events_kept_from), (now() AT TIME ZONE 'UTC')::date - %(event_days)s::integer
                    )::timestamp AT TIME ZONE 'UTC'
                FROM horizons AS h
                WHERE h.tenant_id = %(tenant_id)s
            )
    ) AS events,
    (
        SELECT count(*)
        FROM token_measurements AS m
        WHERE
            m.tenant_id = %(tenant_id)s
            AND m.created_at < (
                SELECT
                    greatest(
                        max(h.measurements_kept_from), (now() AT TIME ZONE 'UTC')::date - %(measurement_days)s::integer
                    )::timestamp AT TIME ZONE 'UTC'
                FROM horizons AS h
                WHERE h.tenant_id = %(tenant_id)s
            )
    ) AS measurements;

-- name: prune_events(limit)
-- The oldest first. It waits for no row: what another transaction has locked is left for the next time. An array of ids
-- is looked up in the index. The rows of IN would be joined, by reading the whole table.
-- Example: limit = 10
WITH oldest AS MATERIALIZED (
    SELECT e.id
    FROM usage_events AS e
    WHERE
        e.tenant_id = %(tenant_id)s
        AND e.created_at < (
            SELECT h.events_kept_from::timestamp AT TIME ZONE 'UTC'
            FROM horizons AS h
            WHERE h.tenant_id = %(tenant_id)s
        )
    ORDER BY e.created_at
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED
),

pruned AS (
    DELETE FROM usage_events
    WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT o.id FROM oldest AS o))
    RETURNING id
)

SELECT count(*) AS pruned
FROM pruned;

-- name: prune_measurements(limit)
-- Works like prune_events.
-- Example: limit = 10
WITH oldest AS MATERIALIZED (
    SELECT m.id
    FROM token_measurements AS m
    WHERE
        m.tenant_id = %(tenant_id)s
        AND m.created_at < (
            SELECT h.measurements_kept_from::timestamp AT TIME ZONE 'UTC'
            FROM horizons AS h
            WHERE h.tenant_id = %(tenant_id)s
        )
    ORDER BY m.created_at
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED
),

pruned AS (
    DELETE FROM token_measurements
    WHERE tenant_id = %(tenant_id)s AND id = ANY(ARRAY(SELECT o.id FROM oldest AS o))
    RETURNING id
)

SELECT count(*) AS pruned
FROM pruned;
