-- Storage: its schema. Frozen: later changes come as later revisions.
CREATE SCHEMA storage;
GRANT USAGE ON SCHEMA storage TO nexus_service;
GRANT USAGE ON SCHEMA storage TO nexus_writer;
GRANT USAGE ON SCHEMA storage TO nexus_system;
GRANT USAGE ON SCHEMA storage TO nexus_readonly;
GRANT USAGE ON SCHEMA storage TO nexus_backup;

-- storage.rollup_horizons: from when on each level is whole; retention has taken something from before.
-- As metering.rollup_horizons: it holds for the installation, and a level without a row has lost nothing yet.
CREATE TABLE storage.rollup_horizons (
    level       text         PRIMARY KEY
                             CONSTRAINT rollup_horizons_level CHECK (level IN ('raw', 'minute', 'quarter_hour', 'hour')),
    whole_from  timestamptz  NOT NULL
);
GRANT SELECT ON storage.rollup_horizons TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON storage.rollup_horizons TO nexus_system;

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

-- storage.rollups_day: sums per day of UTC, by set of dimensions.
-- requires: platform.current_organization_id
-- The sets are those of nexus.storage.types.WINDOWS: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE storage.rollups_day (
    organization_id        uuid             NOT NULL,
    dimension_set          smallint         NOT NULL,
    bucket                 timestamptz      NOT NULL,
    dims_id                uuid             NOT NULL,
    application            text             NOT NULL,
    cluster                text             NOT NULL,
    operation              text             NOT NULL,
    windows                bigint           NOT NULL,
    read_ops               numeric          NOT NULL,
    write_ops              numeric          NOT NULL,
    error_count            numeric          NOT NULL,
    bytes_read             numeric          NOT NULL,
    bytes_written          numeric          NOT NULL,
    latency_ops            numeric          NOT NULL,
    latency_sum_us         numeric          NOT NULL,
    latency_p95_us         bigint,
    latency_p99_us         bigint,
    peak_iops              double precision,
    peak_bytes_per_second  double precision,
    connection_count       bigint,
    latency_bins           bytea            NOT NULL,
    touched_at             timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE storage.rollups_day ALTER COLUMN latency_bins SET STORAGE MAIN;

ALTER TABLE storage.rollups_day ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.rollups_day FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_day_tenant ON storage.rollups_day FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_day_system ON storage.rollups_day TO nexus_system USING (true);
GRANT SELECT ON storage.rollups_day TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON storage.rollups_day TO nexus_system;

-- storage.rollup_journal: sums of what each batch stored, written in the batch's own transaction, not yet in the rollups.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- As metering.rollup_journal: rollups + journal is exact at any moment. One row per minute, combination of dimensions and bin of
-- the window's mean latency; bin NULL holds what had no latency. A window is told in the minute in which it began.
CREATE TABLE storage.rollup_journal (
    organization_id        uuid             NOT NULL,
    minute                 timestamptz      NOT NULL,
    application            text             NOT NULL,
    cluster                text             NOT NULL,
    operation              text             NOT NULL,
    bin                    smallint,
    windows                bigint           NOT NULL,
    read_ops               numeric          NOT NULL,
    write_ops              numeric          NOT NULL,
    error_count            numeric          NOT NULL,
    bytes_read             numeric          NOT NULL,
    bytes_written          numeric          NOT NULL,
    latency_ops            numeric          NOT NULL,
    latency_sum_us         numeric          NOT NULL,
    latency_p95_us         bigint,
    latency_p99_us         bigint,
    peak_iops              double precision,
    peak_bytes_per_second  double precision,
    connection_count       bigint
) WITH (
    -- Every row lives for seconds: vacuum by count, not by share, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);
-- Answers: what one organization's rollups still lack in a range.
CREATE INDEX rollup_journal_organization_id_minute_idx ON storage.rollup_journal (organization_id, minute);

ALTER TABLE storage.rollup_journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.rollup_journal FORCE ROW LEVEL SECURITY;
CREATE POLICY rollup_journal_tenant ON storage.rollup_journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollup_journal_writer ON storage.rollup_journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY rollup_journal_system ON storage.rollup_journal TO nexus_system USING (true);
GRANT SELECT ON storage.rollup_journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON storage.rollup_journal TO nexus_writer;
GRANT SELECT, INSERT, DELETE ON storage.rollup_journal TO nexus_system;

-- storage.rollups_hour: sums per hour, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The sets are those of nexus.storage.types.WINDOWS: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE storage.rollups_hour (
    organization_id        uuid             NOT NULL,
    dimension_set          smallint         NOT NULL,
    bucket                 timestamptz      NOT NULL,
    dims_id                uuid             NOT NULL,
    application            text             NOT NULL,
    cluster                text             NOT NULL,
    operation              text             NOT NULL,
    windows                bigint           NOT NULL,
    read_ops               numeric          NOT NULL,
    write_ops              numeric          NOT NULL,
    error_count            numeric          NOT NULL,
    bytes_read             numeric          NOT NULL,
    bytes_written          numeric          NOT NULL,
    latency_ops            numeric          NOT NULL,
    latency_sum_us         numeric          NOT NULL,
    latency_p95_us         bigint,
    latency_p99_us         bigint,
    peak_iops              double precision,
    peak_bytes_per_second  double precision,
    connection_count       bigint,
    latency_bins           bytea            NOT NULL,
    touched_at             timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE storage.rollups_hour ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('storage.rollups_hour', 'month', 2, 395, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE storage.rollups_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.rollups_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_hour_tenant ON storage.rollups_hour FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_hour_system ON storage.rollups_hour TO nexus_system USING (true);
GRANT SELECT ON storage.rollups_hour TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON storage.rollups_hour TO nexus_system;

-- storage.rollups_minute: sums per minute, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The sets are those of nexus.storage.types.WINDOWS: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE storage.rollups_minute (
    organization_id        uuid             NOT NULL,
    dimension_set          smallint         NOT NULL,
    bucket                 timestamptz      NOT NULL,
    dims_id                uuid             NOT NULL,
    application            text             NOT NULL,
    cluster                text             NOT NULL,
    operation              text             NOT NULL,
    windows                bigint           NOT NULL,
    read_ops               numeric          NOT NULL,
    write_ops              numeric          NOT NULL,
    error_count            numeric          NOT NULL,
    bytes_read             numeric          NOT NULL,
    bytes_written          numeric          NOT NULL,
    latency_ops            numeric          NOT NULL,
    latency_sum_us         numeric          NOT NULL,
    latency_p95_us         bigint,
    latency_p99_us         bigint,
    peak_iops              double precision,
    peak_bytes_per_second  double precision,
    connection_count       bigint,
    latency_bins           bytea            NOT NULL,
    touched_at             timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE storage.rollups_minute ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('storage.rollups_minute', 'month', 1, 14, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE storage.rollups_minute ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.rollups_minute FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_minute_tenant ON storage.rollups_minute FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_minute_system ON storage.rollups_minute TO nexus_system USING (true);
GRANT SELECT ON storage.rollups_minute TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON storage.rollups_minute TO nexus_system;

-- storage.rollups_quarter_hour: sums per quarter of an hour, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The sets are those of nexus.storage.types.WINDOWS: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE storage.rollups_quarter_hour (
    organization_id        uuid             NOT NULL,
    dimension_set          smallint         NOT NULL,
    bucket                 timestamptz      NOT NULL,
    dims_id                uuid             NOT NULL,
    application            text             NOT NULL,
    cluster                text             NOT NULL,
    operation              text             NOT NULL,
    windows                bigint           NOT NULL,
    read_ops               numeric          NOT NULL,
    write_ops              numeric          NOT NULL,
    error_count            numeric          NOT NULL,
    bytes_read             numeric          NOT NULL,
    bytes_written          numeric          NOT NULL,
    latency_ops            numeric          NOT NULL,
    latency_sum_us         numeric          NOT NULL,
    latency_p95_us         bigint,
    latency_p99_us         bigint,
    peak_iops              double precision,
    peak_bytes_per_second  double precision,
    connection_count       bigint,
    latency_bins           bytea            NOT NULL,
    touched_at             timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE storage.rollups_quarter_hour ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('storage.rollups_quarter_hour', 'month', 2, 395, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE storage.rollups_quarter_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.rollups_quarter_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_quarter_hour_tenant ON storage.rollups_quarter_hour FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_quarter_hour_system ON storage.rollups_quarter_hour TO nexus_system USING (true);
GRANT SELECT ON storage.rollups_quarter_hour TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON storage.rollups_quarter_hour TO nexus_system;

-- storage.windows: one row per reported window of storage operations, immutable; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- What one application did to one cluster by one kind of operation, from occurred_at on, for window_us. Identity and key_at as in
-- metering.calls. `latency_us` is the mean over the window's operations, the percentiles are of them too; `bytes_per_second` is
-- what was reported, else what bytes and window make.
CREATE TABLE storage.windows (
    organization_id        uuid             NOT NULL,
    id                     uuid             NOT NULL,
    key_at                 timestamptz      NOT NULL,
    occurred_at            timestamptz      NOT NULL,
    received_at            timestamptz      NOT NULL,
    application            text             NOT NULL,
    cluster                text             NOT NULL,
    operation              text             NOT NULL,
    environment            text             NOT NULL,
    read_ops               bigint           NOT NULL,
    write_ops              bigint           NOT NULL,
    error_count            bigint           NOT NULL,
    bytes_read             bigint           NOT NULL,
    bytes_written          bigint           NOT NULL,
    window_us              bigint,
    latency_us             bigint,
    latency_p95_us         bigint,
    latency_p99_us         bigint,
    bytes_per_second       double precision,
    peak_bytes_per_second  double precision,
    connection_count       bigint,
    key_id                 uuid,
    tags                   jsonb,
    metadata               jsonb,
    PRIMARY KEY (organization_id, key_at, id),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT windows_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
-- Answers: the list of windows newest first, the edges of ranges below a minute.
CREATE INDEX windows_organization_id_occurred_at_id_idx ON storage.windows (organization_id, occurred_at, id);
-- Answers: the windows of one application newest first.
CREATE INDEX windows_application_idx ON storage.windows (organization_id, application, occurred_at, id);

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('storage.windows', 'month', 3, 90);

ALTER TABLE storage.windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.windows FORCE ROW LEVEL SECURITY;
CREATE POLICY windows_tenant ON storage.windows FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY windows_writer ON storage.windows TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY windows_system ON storage.windows TO nexus_system USING (true);
GRANT SELECT ON storage.windows TO nexus_service, nexus_readonly, nexus_system;
GRANT DELETE ON storage.windows TO nexus_system;
GRANT SELECT, INSERT ON storage.windows TO nexus_writer;

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
