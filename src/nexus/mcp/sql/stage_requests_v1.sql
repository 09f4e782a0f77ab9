-- mcp.stage_requests_v1: makes the transaction's temporary table staged_requests, into which the writer copies records.
-- Columns are nexus.contracts.mcp_requests.MCP_REQUEST_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION mcp.stage_requests_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_requests (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        server text NOT NULL,
        method text NOT NULL,
        target text NOT NULL,
        outcome text NOT NULL,
        status_code smallint,
        principal text NOT NULL,
        client_name text NOT NULL,
        client_version text NOT NULL,
        application text NOT NULL,
        user_ref text NOT NULL,
        key_id uuid,
        duration_us bigint,
        queue_us bigint,
        processing_us bigint,
        request_bytes bigint NOT NULL,
        response_bytes bigint NOT NULL,
        http_method text,
        path text,
        query jsonb,
        request_headers jsonb,
        response_headers jsonb,
        request_body jsonb,
        response_body jsonb,
        error_type text,
        error_code text,
        error_message text,
        correlation_id text,
        end_user text,
        protocol_version text,
        transport text,
        session_id text,
        request_id text,
        trace_id text,
        span_id text,
        environment text,
        user_agent text,
        ip_address inet,
        tags jsonb,
        metadata jsonb
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION mcp.stage_requests_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.stage_requests_v1() TO nexus_writer;
