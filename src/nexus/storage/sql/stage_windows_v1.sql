-- storage.stage_windows_v1: makes the transaction's temporary table staged_windows, into which the writer copies records.
-- Columns are nexus.contracts.storage_records.STORAGE_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION storage.stage_windows_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_windows (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        application text NOT NULL,
        cluster text NOT NULL,
        operation text NOT NULL,
        environment text NOT NULL,
        read_ops bigint NOT NULL,
        write_ops bigint NOT NULL,
        error_count bigint NOT NULL,
        bytes_read bigint NOT NULL,
        bytes_written bigint NOT NULL,
        window_us bigint,
        latency_us bigint,
        latency_p95_us bigint,
        latency_p99_us bigint,
        bytes_per_second double precision,
        peak_bytes_per_second double precision,
        connection_count bigint,
        key_id uuid,
        tags jsonb,
        metadata jsonb
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION storage.stage_windows_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION storage.stage_windows_v1() TO nexus_writer;
