-- issues.stage_errors_v1: makes the transaction's temporary table staged_errors, into which the writer copies records.
-- Columns are nexus.contracts.error_records.ERROR_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION issues.stage_errors_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_errors (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        fingerprint uuid NOT NULL,
        rule text NOT NULL,
        normalised text NOT NULL,
        culprit text NOT NULL,
        level text NOT NULL,
        error_type text NOT NULL,
        error_code text NOT NULL,
        message text NOT NULL,
        category text NOT NULL,
        severity smallint NOT NULL,
        impact_level text NOT NULL,
        service text NOT NULL,
        environment text NOT NULL,
        service_version text NOT NULL,
        application text NOT NULL,
        user_ref text NOT NULL,
        key_id uuid,
        stack_trace text,
        context jsonb,
        tool_context jsonb,
        deployment_id text,
        handled boolean,
        end_user text,
        session_id text,
        request_id text,
        execution_id text,
        trace_id text,
        span_id text,
        url text,
        user_agent text,
        ip_address inet,
        tags jsonb,
        metadata jsonb
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION issues.stage_errors_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.stage_errors_v1() TO nexus_writer;
