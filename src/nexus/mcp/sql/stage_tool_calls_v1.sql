-- mcp.stage_tool_calls_v1: makes the transaction's temporary table staged_tool_calls, into which the writer copies records.
-- Columns are nexus.contracts.tool_calls.TOOL_CALL_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION mcp.stage_tool_calls_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_tool_calls (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        server text NOT NULL,
        tool text NOT NULL,
        outcome text NOT NULL,
        principal text NOT NULL,
        client_name text NOT NULL,
        client_version text NOT NULL,
        application text NOT NULL,
        user_ref text NOT NULL,
        key_id uuid,
        duration_us bigint,
        response_bytes bigint NOT NULL,
        memory_bytes bigint,
        cpu_percent double precision,
        cache_hit boolean,
        parameters jsonb,
        parameters_hash text,
        response jsonb,
        error_type text,
        error_code text,
        error_message text,
        error_stack text,
        server_version text,
        tool_version text,
        operation text,
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
REVOKE ALL ON FUNCTION mcp.stage_tool_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.stage_tool_calls_v1() TO nexus_writer;
