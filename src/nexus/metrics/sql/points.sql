-- metrics.points: one row per series and time, immutable; cut by month.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- The key is what makes a point one point: the series and the time, `key_at`. Sent again, it is there already. The key begins with
-- the series, so it also finds the points before and after one, which cumulative points are counted by. `id` is made of both.
CREATE TABLE metrics.points (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    series_id        uuid         NOT NULL,
    key_at           timestamptz  NOT NULL,
    received_at      timestamptz  NOT NULL,
    -- Counts, sums and bins are totals since start_at, or since nobody knows when.
    is_cumulative    boolean      NOT NULL,
    start_at         timestamptz,
    -- Bounds of explicit buckets, in metrics.layouts; zeros where there are none.
    layout           uuid         NOT NULL,
    -- A counter's or gauge's value, the sum of a histogram's or summary's.
    value            float8,
    count            bigint       NOT NULL,
    min              float8,
    max              float8,
    -- A distribution as kit.histograms writes it.
    bins             bytea,
    PRIMARY KEY (organization_id, series_id, key_at),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT points_key_at CHECK (key_at >= timestamptz '1980-01-01 00:00:00+00' AND key_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('metrics.points', 'month', 3, 90);

ALTER TABLE metrics.points ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.points FORCE ROW LEVEL SECURITY;
CREATE POLICY points_tenant ON metrics.points FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY points_writer ON metrics.points TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY points_system ON metrics.points TO nexus_system USING (true);
GRANT SELECT ON metrics.points TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON metrics.points TO nexus_writer;
GRANT SELECT ON metrics.points TO nexus_system;
