-- query: delete_old_seen_ids
-- role: nexus_system
-- In batches, each its own transaction: no lock is held long, and what was deleted stays deleted.
WITH gone AS (
    DELETE FROM metering.seen_ids
    WHERE ctid = ANY (ARRAY(SELECT s.ctid FROM metering.seen_ids AS s WHERE s.received_at < $1 LIMIT $2))
    RETURNING 1
)
SELECT count(*) FROM gone

-- query: delete_old_sightings
-- role: nexus_system
-- In batches, each its own transaction: no lock is held long, and what was deleted stays deleted.
WITH gone AS (
    DELETE FROM metering.call_sightings
    WHERE ctid = ANY (ARRAY(SELECT s.ctid FROM metering.call_sightings AS s WHERE s.received_at < $1 LIMIT $2))
    RETURNING 1
)
SELECT count(*) FROM gone

-- query: old_partitions
-- role: nexus_system
-- Months of a table that end at or before an instant, the oldest first.
SELECT p.low
FROM (
    SELECT make_timestamptz(left(m.stamp, 4)::integer, right(m.stamp, 2)::integer, 1, 0, 0, 0, 'UTC') AS low
    FROM (
        SELECT substring(c.relname FROM '_([0-9]{6})$') AS stamp
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass($1)
    ) AS m
) AS p
WHERE (p.low AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC' <= $2::timestamptz
ORDER BY p.low

-- query: calls_of_month
-- role: nexus_system
SELECT count(*) AS rows, max(occurred_at) AS last_at, max(received_at) AS touched_at
FROM metering.calls
WHERE key_at >= $1 AND key_at < $2

-- query: delete_limit_sets
-- role: nexus_system
-- Those of the calls of one month.
DELETE FROM metering.limit_sets WHERE month = $1

-- query: minutes_of_month
-- role: nexus_system
SELECT count(*) AS rows, max(bucket) AS last_at, max(touched_at) AS touched_at
FROM metering.rollups_minute
WHERE bucket >= $1 AND bucket < $2

-- query: quarter_hours_of_month
-- role: nexus_system
SELECT count(*) AS rows, max(bucket) AS last_at, max(touched_at) AS touched_at
FROM metering.rollups_quarter_hour
WHERE bucket >= $1 AND bucket < $2

-- query: hours_of_month
-- role: nexus_system
SELECT count(*) AS rows, max(bucket) AS last_at, max(touched_at) AS touched_at
FROM metering.rollups_hour
WHERE bucket >= $1 AND bucket < $2

-- query: drop_month
-- role: nexus_system
SELECT platform.drop_partition_v1($1, $2)

-- query: lock_rollups
-- role: nexus_system
SELECT pg_advisory_xact_lock(hashtextextended('nexus.metering.rollups', 0))

-- query: move_horizon
-- role: nexus_system
INSERT INTO metering.rollup_horizons AS h (level, whole_from) VALUES ($1, $2)
ON CONFLICT (level) DO UPDATE SET whole_from = greatest(h.whole_from, excluded.whole_from)

-- query: changed_zones
-- role: nexus_system
-- Organizations whose days are kept in another zone than they report in.
SELECT o.id, o.reporting_zone
FROM identity.organizations AS o
JOIN metering.day_zones AS z ON z.organization_id = o.id
WHERE z.zone <> metering.known_zone_v1(o.reporting_zone)
ORDER BY o.id

-- query: rebuild_days
-- role: nexus_system
SELECT metering.rebuild_days_v1($1, $2)
