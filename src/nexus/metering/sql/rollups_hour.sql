-- metering.rollups_hour: sums per hour, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Columns as in metering.rollups_minute.
CREATE TABLE metering.rollups_hour (
    organization_id      uuid         NOT NULL,
    dimension_set        smallint     NOT NULL CONSTRAINT rollups_hour_dimension_set CHECK (dimension_set BETWEEN 0 AND 6),
    bucket               timestamptz  NOT NULL,
    dims_id              uuid         NOT NULL,
    provider             text         NOT NULL,
    endpoint             text         NOT NULL,
    method               text         NOT NULL,
    model                text         NOT NULL,
    region               text         NOT NULL,
    status_code          smallint,
    key_id               uuid,
    application          text         NOT NULL,
    user_ref             text         NOT NULL,
    tag_name             text         NOT NULL,
    tag_value            text         NOT NULL,
    currency             text         NOT NULL,
    requests             bigint       NOT NULL,
    errors               bigint       NOT NULL,
    unpriced             bigint       NOT NULL,
    cost                 numeric      NOT NULL,
    latency_count        bigint       NOT NULL,
    latency_sum_us       numeric      NOT NULL,
    request_bytes        numeric      NOT NULL,
    response_bytes       numeric      NOT NULL,
    input_tokens         numeric      NOT NULL,
    output_tokens        numeric      NOT NULL,
    cached_input_tokens  numeric      NOT NULL,
    cache_write_tokens   numeric      NOT NULL,
    reasoning_tokens     numeric      NOT NULL,
    audio_input_tokens   numeric      NOT NULL,
    audio_output_tokens  numeric      NOT NULL,
    image_input_tokens   numeric      NOT NULL,
    image_output_tokens  numeric      NOT NULL,
    latency_bins         bytea        NOT NULL,
    touched_at           timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE metering.rollups_hour ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('metering.rollups_hour', 'month', 2, 395, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE metering.rollups_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.rollups_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_hour_tenant ON metering.rollups_hour FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_hour_system ON metering.rollups_hour TO nexus_system USING (true);
GRANT SELECT ON metering.rollups_hour TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON metering.rollups_hour TO nexus_system;
