-- metrics.minutes: what the points of a series come to in each minute of UTC.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Rows add up to those of a longer period. Only folding writes them.
CREATE TABLE metrics.minutes (
    organization_id  uuid         NOT NULL,
    series_id        uuid         NOT NULL,
    layout           uuid         NOT NULL,
    bucket           timestamptz  NOT NULL,
    -- How many points; changes of what later points count are none.
    points           bigint       NOT NULL,
    -- Sum of a gauge's values, of a histogram's or summary's; what a counter added. NULL: not told.
    sum              float8,
    -- Values of a histogram or summary.
    count            bigint       NOT NULL,
    min              float8,
    max              float8,
    -- The newest value, and when it was.
    last             float8,
    last_at          timestamptz  NOT NULL,
    -- A distribution as kit.histograms writes it.
    bins             bytea,
    PRIMARY KEY (organization_id, series_id, bucket, layout)
) PARTITION BY RANGE (bucket);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('metrics.minutes', 'month', 1, 14, 'fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE metrics.minutes ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.minutes FORCE ROW LEVEL SECURITY;
CREATE POLICY minutes_tenant ON metrics.minutes FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY minutes_system ON metrics.minutes TO nexus_system USING (true);
GRANT SELECT ON metrics.minutes TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metrics.minutes TO nexus_system;
