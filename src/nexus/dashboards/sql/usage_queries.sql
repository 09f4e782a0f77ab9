-- query: count_usage
-- One row an event; the same event, page and visitor of a day add up. The clock is the database's, so that the partition is there.
INSERT INTO dashboards.usage_days AS u (organization_id, day_at, event, page, visitor, events, duration_ms)
SELECT $1, date_trunc('day', now(), 'UTC'), e.event, e.page, $2, sum(e.events), sum(e.duration_ms)
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[]) AS e (event, page, events, duration_ms)
GROUP BY e.event, e.page
ORDER BY e.event, e.page
ON CONFLICT (organization_id, day_at, event, page, visitor) DO UPDATE
SET events = u.events + excluded.events, duration_ms = u.duration_ms + excluded.duration_ms

-- query: usage
SELECT day_at::date::text AS day, event, page, sum(events)::bigint AS events, count(DISTINCT visitor) AS visitors,
       sum(duration_ms)::bigint AS duration_ms
FROM dashboards.usage_days
WHERE organization_id = $1 AND day_at >= date_trunc('day', now(), 'UTC') - make_interval(days => $2)
GROUP BY day_at, event, page
ORDER BY day_at DESC, events DESC, event, page
LIMIT 10000

-- query: made
-- What was made, from the audit log: no feature has to say a second time that somebody made an alert rule or a key.
SELECT (date_trunc('day', occurred_at, 'UTC') AT TIME ZONE 'UTC')::date::text AS day, table_name AS what, count(*) AS made
FROM platform.audit_log
WHERE organization_id = $1 AND action = 'insert' AND table_name IS NOT NULL
  AND occurred_at >= date_trunc('day', now(), 'UTC') - make_interval(days => $2)
GROUP BY 1, 2
ORDER BY 1 DESC, 3 DESC, 2
LIMIT 10000

-- query: count_old_usage
-- role: nexus_system
SELECT count(*) FROM dashboards.usage_days WHERE day_at < $1

-- query: drop_old_usage
-- role: nexus_system
SELECT partition_name FROM platform.drop_partitions_v1('dashboards.usage_days', $1)
