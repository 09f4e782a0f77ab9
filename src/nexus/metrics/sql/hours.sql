-- metrics.hours: what the points of a series come to in each hour of UTC.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Rows add up to those of a longer period. Only folding writes them.
CREATE TABLE metrics.hours (
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
VALUES ('metrics.hours', 'month', 2, 395, 'fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE metrics.hours ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.hours FORCE ROW LEVEL SECURITY;
CREATE POLICY hours_tenant ON metrics.hours FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY hours_system ON metrics.hours TO nexus_system USING (true);
GRANT SELECT ON metrics.hours TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metrics.hours TO nexus_system;
