-- storage.store_windows_v1: stores the staged windows once each and journals their sums, in the caller's transaction.
-- requires: storage.windows, storage.rollup_journal, metering.keep_new_records_v1, metering.latency_bin_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
CREATE FUNCTION storage.store_windows_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('storage', 'staged_windows', 'storage.windows');
BEGIN
    -- What is left in the staging table is what was stored.
    INSERT INTO storage.rollup_journal (
        organization_id, minute, application, cluster, operation, bin, windows, read_ops, write_ops, error_count, bytes_read,
        bytes_written, latency_ops, latency_sum_us, latency_p95_us, latency_p99_us, peak_iops, peak_bytes_per_second,
        connection_count
    )
    SELECT
        s.organization_id, date_bin('1 minute', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'), s.application, s.cluster,
        s.operation, metering.latency_bin_v1(s.latency_us), count(*), sum(s.read_ops), sum(s.write_ops), sum(s.error_count),
        sum(s.bytes_read), sum(s.bytes_written),
        coalesce(sum(s.read_ops + s.write_ops) FILTER (WHERE s.latency_us IS NOT NULL), 0),
        coalesce(sum(s.latency_us::numeric * (s.read_ops + s.write_ops)), 0),
        max(s.latency_p95_us), max(s.latency_p99_us), max((s.read_ops + s.write_ops) * 1000000.0::float8 / s.window_us),
        max(greatest(s.bytes_per_second, s.peak_bytes_per_second)), max(s.connection_count)
    FROM pg_temp.staged_windows AS s
    GROUP BY 1, 2, 3, 4, 5, 6;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION storage.store_windows_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION storage.store_windows_v1() TO nexus_writer;
