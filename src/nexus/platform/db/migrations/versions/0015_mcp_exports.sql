-- Requests to MCP servers are exported, too: metering.calls_to_export says of which type a record is; store_requests_v1 gets a step.
ALTER TABLE metering.calls_to_export ADD COLUMN record_type text NOT NULL DEFAULT 'api_call';
ALTER TABLE metering.calls_to_export DROP CONSTRAINT calls_to_export_pkey;
ALTER TABLE metering.calls_to_export ADD PRIMARY KEY (organization_id, key_at, call_id, record_type);
DROP INDEX metering.calls_to_export_number_idx;
CREATE INDEX calls_to_export_record_type_number_idx ON metering.calls_to_export (record_type, number);
-- mcp.store_requests_v1: stores the staged requests once each and journals their sums, in the caller's transaction.
-- requires: mcp.requests, mcp.rollup_journal, metering.keep_new_records_v1, metering.latency_bin_v1, metering.call_exports, metering.calls_to_export, mcp.settle_sightings_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
CREATE OR REPLACE FUNCTION mcp.store_requests_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('mcp_request', 'staged_requests', 'mcp.requests');
BEGIN
    duplicates := coalesce(duplicates, '{}') || mcp.settle_sightings_v1('request');
    -- What is left in the staging table is what was stored and counts.
    INSERT INTO mcp.rollup_journal (
        organization_id, minute, subject, server, name, outcome, status_code, principal, client_name, client_version, bin,
        calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes
    )
    SELECT
        s.organization_id, date_bin('1 minute', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'),
        'request', s.server, s.method, s.outcome, s.status_code, s.principal, s.client_name, s.client_version,
        metering.latency_bin_v1(s.duration_us), count(*), count(s.duration_us), coalesce(sum(s.duration_us), 0),
        min(s.duration_us), max(s.duration_us), sum(s.response_bytes)
    FROM pg_temp.staged_requests AS s
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    IF EXISTS (SELECT FROM metering.call_exports) THEN
        INSERT INTO metering.calls_to_export (organization_id, key_at, call_id, record_type)
        SELECT s.organization_id, s.key_at, s.id, 'mcp_request' FROM pg_temp.staged_requests AS s WHERE s.metadata ? 'gateway'
        ORDER BY s.organization_id, s.key_at, s.id
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION mcp.store_requests_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.store_requests_v1() TO nexus_writer;
