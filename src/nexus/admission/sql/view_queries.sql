-- query: token_usage
-- What transactions did in a span of time, by period and bucket. Read along the key, so that it costs what the span holds.
SELECT date_trunc($4, t.at, 'UTC') AS begins, t.bucket, count(*) AS transactions,
       coalesce(sum(t.changed) FILTER (WHERE t.kind IN ('charge', 'lease')), 0)::bigint AS charged,
       coalesce(sum(t.changed) FILTER (WHERE t.kind IN ('settle', 'release', 'return')), 0)::bigint AS settled,
       coalesce(sum(t.changed) FILTER (WHERE t.kind = 'adjust'), 0)::bigint AS adjusted,
       coalesce(sum(t.refilled), 0)::bigint AS refilled, min(t.level) AS lowest
FROM admission.token_transactions AS t
WHERE t.organization_id = $1 AND t.at >= $2 AND t.at < $3 AND t.account = 'liquid' AND ($5::text IS NULL OR t.bucket = $5)
GROUP BY begins, t.bucket
ORDER BY begins DESC, t.bucket
LIMIT $6;

-- query: transactions_of_hold
-- All that one hold did, first to last. Its own index finds it: the id says nothing of the time.
SELECT t.kind, t.bucket, t.occurred_at, t.changed, t.level
FROM admission.token_transactions AS t
WHERE t.organization_id = $1 AND t.reference = $2 AND t.kind IN ('charge', 'settle', 'release', 'reap') AND t.reference <> ''
  AND t.account = 'liquid'
ORDER BY t.at, t.sequence, t.leg
LIMIT 1000;

-- query: list_low_token_events
SELECT id, bucket, severity, fill::float8 AS fill, began_at, noted_at, ended_at
FROM admission.low_token_events
WHERE ($1::uuid IS NULL OR id < $1) AND (NOT $2 OR ended_at IS NULL)
ORDER BY id DESC
LIMIT $3;

-- query: open_low_token_events
-- role: nexus_system
SELECT bucket, severity
FROM admission.low_token_events
WHERE organization_id = $1 AND ended_at IS NULL;

-- query: note_low_tokens
-- role: nexus_system
-- Several workers may see the same; cells that belong to no organization have nobody to be told.
INSERT INTO admission.low_token_events (organization_id, id, bucket, severity, fill, began_at, noted_at)
SELECT o.id, $2, $3, $4, $5, $6, $7
FROM identity.organizations AS o
WHERE o.id = $1
ON CONFLICT (organization_id, bucket, severity) WHERE ended_at IS NULL DO NOTHING;

-- query: end_low_tokens
-- role: nexus_system
UPDATE admission.low_token_events
SET ended_at = $4
WHERE organization_id = $1 AND bucket = $2 AND severity = $3 AND ended_at IS NULL;

-- query: drop_old_low_token_events
-- role: nexus_system
DELETE FROM admission.low_token_events
WHERE ended_at < $1;
