-- query: requests_to_export
-- role: nexus_system
-- Requests the gateway sent to MCP servers and the collector has not got. Those another worker is about to send are passed over.
SELECT q.organization_id, q.key_at, q.call_id, r.occurred_at, r.server, r.method, r.target, r.outcome, r.status_code,
       r.duration_us, r.application, r.client_name, r.client_version, r.error_type, r.error_code, r.protocol_version,
       r.transport, r.session_id, r.request_id, r.trace_id, r.span_id, r.metadata
FROM metering.calls_to_export AS q
LEFT JOIN mcp.requests AS r ON r.organization_id = q.organization_id AND r.key_at = q.key_at AND r.id = q.call_id
WHERE q.record_type = 'mcp_request'
ORDER BY q.number
LIMIT $1
FOR UPDATE OF q SKIP LOCKED
