-- metrics.days: what the points of a series come to in each day of UTC.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Rows add up to those of a longer period. Only folding writes them.
CREATE TABLE metrics.days (
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
VALUES ('metrics.days', 'month', 2, NULL, 'fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE metrics.days ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.days FORCE ROW LEVEL SECURITY;
CREATE POLICY days_tenant ON metrics.days FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY days_system ON metrics.days TO nexus_system USING (true);
GRANT SELECT ON metrics.days TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metrics.days TO nexus_system;
