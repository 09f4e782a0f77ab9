-- metering.stage_calls_v1: makes the transaction's temporary table staged_calls, into which the writer copies records.
-- Columns are nexus.contracts.calls.CALL_COLUMN_TYPES, in order; a test compares. COPY straight into metering.calls is
-- refused by row-level security. Dropped on commit: a table kept by a session that never rests would hold back the
-- freezing of old transaction ids, which nobody else may vacuum.
CREATE FUNCTION metering.stage_calls_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_calls (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        provider text NOT NULL,
        endpoint text NOT NULL,
        method text NOT NULL,
        status_code smallint NOT NULL,
        response_time_us bigint,
        ttfb_us bigint,
        request_bytes bigint NOT NULL,
        response_bytes bigint NOT NULL,
        model text NOT NULL,
        region text NOT NULL,
        key_id uuid,
        application text NOT NULL,
        user_ref text NOT NULL,
        end_user text,
        session_id text,
        request_id text,
        trace_id text,
        input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        cached_input_tokens bigint NOT NULL,
        cache_write_tokens bigint NOT NULL,
        reasoning_tokens bigint NOT NULL,
        audio_input_tokens bigint NOT NULL,
        audio_output_tokens bigint NOT NULL,
        image_input_tokens bigint NOT NULL,
        image_output_tokens bigint NOT NULL,
        units jsonb,
        service_variant jsonb,
        cost_nanos bigint,
        currency text NOT NULL,
        price_source text NOT NULL,
        price_id uuid,
        unpriced_reason text,
        tags jsonb,
        metadata jsonb,
        error_type text,
        error_message text,
        user_agent text,
        ip_address inet,
        request_headers jsonb,
        response_headers jsonb,
        sighting jsonb,
        refused_by text
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION metering.stage_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.stage_calls_v1() TO nexus_writer;
