-- query: begin_call_export
-- role: nexus_system
INSERT INTO metering.call_exports (destination, since) VALUES ('otlp', $1) ON CONFLICT DO NOTHING

-- query: end_call_export
-- role: nexus_system
DELETE FROM metering.call_exports

-- query: forget_calls_to_export
-- role: nexus_system
-- What is older than the newest so many. Numbers are shared by all types, so of two busy ones each keeps fewer.
DELETE FROM metering.calls_to_export AS q
WHERE q.record_type = $1
  AND q.number <= (SELECT max(n.number) FROM metering.calls_to_export AS n WHERE n.record_type = $1) - $2::bigint

-- query: forget_all_to_export
-- role: nexus_system
DELETE FROM metering.calls_to_export

-- query: calls_to_export
-- role: nexus_system
-- Those another worker is about to send are passed over. A call that was taken back since has no columns.
SELECT q.organization_id, q.key_at, q.call_id, c.occurred_at, c.provider, c.endpoint, c.method, c.status_code,
       c.response_time_us, c.ttfb_us, c.model, c.application, c.session_id, c.trace_id, c.input_tokens, c.output_tokens,
       c.cached_input_tokens, c.cache_write_tokens, c.reasoning_tokens, c.cost, c.currency, c.error_type, c.metadata,
       c.refused_by
FROM metering.calls_to_export AS q
LEFT JOIN metering.calls AS c ON c.organization_id = q.organization_id AND c.key_at = q.key_at AND c.id = q.call_id
WHERE q.record_type = 'api_call'
ORDER BY q.number
LIMIT $1
FOR UPDATE OF q SKIP LOCKED

-- query: delete_calls_to_export
-- role: nexus_system
DELETE FROM metering.calls_to_export AS q
USING unnest($2::uuid[], $3::timestamptz[], $4::uuid[]) AS d (organization_id, key_at, call_id)
WHERE q.record_type = $1 AND q.organization_id = d.organization_id AND q.key_at = d.key_at AND q.call_id = d.call_id
