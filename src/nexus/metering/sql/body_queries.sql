-- query: body_settings
SELECT is_on, share, max_body_bytes, keep_days, only_failed, providers, masks, fields, words, on_since, changed_at, purged_at
FROM metering.body_settings
WHERE organization_id = $1

-- query: put_body_settings
-- What is on stays on since when it was turned on.
INSERT INTO metering.body_settings AS s (
    organization_id, is_on, share, max_body_bytes, keep_days, only_failed, providers, masks, fields, words, on_since, changed_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $2 THEN $11::timestamptz END, $11)
ON CONFLICT (organization_id) DO UPDATE SET
    is_on = excluded.is_on, share = excluded.share, max_body_bytes = excluded.max_body_bytes, keep_days = excluded.keep_days,
    only_failed = excluded.only_failed, providers = excluded.providers, masks = excluded.masks, fields = excluded.fields,
    words = excluded.words,
    on_since = CASE WHEN s.is_on AND excluded.is_on THEN s.on_since ELSE excluded.on_since END,
    changed_at = excluded.changed_at

-- query: purge_bodies
INSERT INTO metering.body_settings AS s (organization_id, purged_at) VALUES ($1, $2)
ON CONFLICT (organization_id) DO UPDATE SET purged_at = greatest(s.purged_at, excluded.purged_at)

-- query: bodies_of_call
SELECT side, state, media_type, size_bytes, is_cut, masked, sealed, stored_at
FROM metering.call_bodies
WHERE organization_id = $1 AND key_at = $2 AND call_id = $3
ORDER BY side

-- query: call_of_bodies
SELECT provider, status_code, error_type, metadata
FROM metering.calls
WHERE organization_id = $1 AND key_at = $2 AND id = $3

-- query: record_bodies_read
SELECT platform.record_action_v1('call_bodies_read', $1, $2::jsonb)

-- query: body_limits
-- role: nexus_system
-- Before which instant each organization's bodies are over.
SELECT organization_id, greatest(purged_at, $1::timestamptz - make_interval(days => keep_days)) AS before
FROM metering.body_settings
ORDER BY organization_id

-- query: delete_old_bodies
-- role: nexus_system
-- In batches, each its own transaction: what was deleted stays deleted.
WITH old AS (
    SELECT key_at, call_id, side
    FROM metering.call_bodies
    WHERE organization_id = $1 AND key_at < $2
    ORDER BY key_at
    LIMIT $3
), gone AS (
    DELETE FROM metering.call_bodies AS b
    USING old
    WHERE b.organization_id = $1 AND b.key_at = old.key_at AND b.call_id = old.call_id AND b.side = old.side
    RETURNING 1
)
SELECT count(*) FROM gone

-- query: old_body_days
-- role: nexus_system
-- Days that ended before an instant, the oldest first.
SELECT d.low
FROM (
    SELECT to_date(substring(c.relname FROM '_([0-9]{8})$'), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC' AS low
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'metering.call_bodies'::regclass
) AS d
WHERE d.low + interval '1 day' <= $1::timestamptz
ORDER BY d.low

-- query: bodies_of_day
-- role: nexus_system
SELECT count(*) FROM (SELECT FROM metering.call_bodies WHERE key_at >= $1 AND key_at < $2 LIMIT $3) AS seen
