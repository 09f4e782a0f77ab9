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
