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
