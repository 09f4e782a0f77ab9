-- Metrics: the schema of what programs measure of themselves. Frozen: later changes come as later revisions.
CREATE SCHEMA metrics;
GRANT USAGE ON SCHEMA metrics TO nexus_service;
GRANT USAGE ON SCHEMA metrics TO nexus_writer;
GRANT USAGE ON SCHEMA metrics TO nexus_system;
GRANT USAGE ON SCHEMA metrics TO nexus_readonly;
GRANT USAGE ON SCHEMA metrics TO nexus_backup;
GRANT CREATE ON SCHEMA metrics TO nexus_system;

-- metrics.stage_points_v1: makes the transaction's temporary table staged_points, into which the writer copies records.
-- Columns are nexus.contracts.metric_records.METRIC_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION metrics.stage_points_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_points (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        series_id uuid NOT NULL,
        name text NOT NULL,
        kind text NOT NULL,
        unit text NOT NULL,
        application text NOT NULL,
        service text NOT NULL,
        environment text NOT NULL,
        instance text NOT NULL,
        labels jsonb NOT NULL,
        description text NOT NULL,
        is_cumulative boolean NOT NULL,
        start_at timestamptz,
        layout uuid NOT NULL,
        bounds jsonb,
        value float8,
        count bigint NOT NULL,
        min float8,
        max float8,
        bins bytea
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION metrics.stage_points_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metrics.stage_points_v1() TO nexus_writer;

-- metrics.totals: what all points of a series come to, and its newest value. Only folding writes it.
-- requires: platform.current_organization_id
CREATE TABLE metrics.totals (
    organization_id  uuid         NOT NULL,
    series_id        uuid         NOT NULL,
    layout           uuid         NOT NULL,
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
    PRIMARY KEY (organization_id, series_id, layout)
) WITH (fillfactor = 80);

ALTER TABLE metrics.totals ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.totals FORCE ROW LEVEL SECURITY;
CREATE POLICY totals_tenant ON metrics.totals FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY totals_system ON metrics.totals TO nexus_system USING (true);
GRANT SELECT ON metrics.totals TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metrics.totals TO nexus_system;

-- metrics.journal: points that were stored and are in no rollup yet, written in the transaction that stored them.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- As metering.rollup_journal: what is folded and what waits here are exact together at any moment.
CREATE TABLE metrics.journal (
    organization_id  uuid         NOT NULL,
    series_id        uuid         NOT NULL,
    at               timestamptz  NOT NULL
) WITH (
    -- Every row lives for seconds: vacuum by count, not by share, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);
-- Answers: what the rollups of some series still lack.
CREATE INDEX journal_series_id_idx ON metrics.journal (organization_id, series_id);

ALTER TABLE metrics.journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.journal FORCE ROW LEVEL SECURITY;
CREATE POLICY journal_tenant ON metrics.journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY journal_writer ON metrics.journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY journal_system ON metrics.journal TO nexus_system USING (true);
GRANT SELECT ON metrics.journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON metrics.journal TO nexus_writer;
GRANT SELECT, DELETE ON metrics.journal TO nexus_system;

-- metrics.layouts: bounds of explicit buckets, kept once. The id is made from the bounds.
-- requires: platform.current_organization_id, platform.writer_organization_ids
CREATE TABLE metrics.layouts (
    organization_id  uuid   NOT NULL,
    id               uuid   NOT NULL,
    -- Upper ends of the buckets but the last, which is open; a JSON array of numbers.
    bounds           jsonb  NOT NULL,
    PRIMARY KEY (organization_id, id)
);

ALTER TABLE metrics.layouts ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.layouts FORCE ROW LEVEL SECURITY;
CREATE POLICY layouts_tenant ON metrics.layouts FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY layouts_writer ON metrics.layouts TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY layouts_system ON metrics.layouts TO nexus_system USING (true);
GRANT SELECT ON metrics.layouts TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON metrics.layouts TO nexus_writer;
GRANT SELECT ON metrics.layouts TO nexus_system;

-- metrics.series: what is measured by one place: a metric of one kind and unit, its labels, and the program that measures.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- The id is made from all the other columns but the description, so the same series has the same id on every node.
CREATE TABLE metrics.series (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    name             text         NOT NULL,
    kind             text         NOT NULL CONSTRAINT series_kind CHECK (kind IN ('counter', 'gauge', 'histogram', 'summary')),
    unit             text         NOT NULL,
    application      text         NOT NULL,
    service          text         NOT NULL,
    environment      text         NOT NULL,
    instance         text         NOT NULL,
    labels           jsonb        NOT NULL,
    -- What the series' first point said of the metric.
    description      text         NOT NULL,
    PRIMARY KEY (organization_id, id)
);
-- Answers: which metrics there are, and the series of one, in order.
CREATE INDEX series_name_idx ON metrics.series (organization_id, name, kind, unit);

ALTER TABLE metrics.series ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.series FORCE ROW LEVEL SECURITY;
CREATE POLICY series_tenant ON metrics.series FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY series_writer ON metrics.series TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY series_system ON metrics.series TO nexus_system USING (true);
GRANT SELECT ON metrics.series TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON metrics.series TO nexus_writer;
GRANT SELECT ON metrics.series TO nexus_system;

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

-- metrics.quarter_hours: what the points of a series come to in each quarter of an hour of UTC.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Rows add up to those of a longer period. Only folding writes them.
CREATE TABLE metrics.quarter_hours (
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
VALUES ('metrics.quarter_hours', 'month', 1, 395, 'fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE metrics.quarter_hours ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.quarter_hours FORCE ROW LEVEL SECURITY;
CREATE POLICY quarter_hours_tenant ON metrics.quarter_hours FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY quarter_hours_system ON metrics.quarter_hours TO nexus_system USING (true);
GRANT SELECT ON metrics.quarter_hours TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metrics.quarter_hours TO nexus_system;

-- metrics.store_points_v1: stores what is staged, once each; returns the ordinals of duplicates.
-- requires: metrics.points, metrics.series, metrics.layouts, metrics.journal, metering.keep_new_records_v1
-- As metering.store_calls_v1: called by nexus_writer under its own policies, in the transaction that staged. The first point of
-- a series makes the series here, so that a list shows it at once; figures come from the journal.
CREATE FUNCTION metrics.store_points_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('metric', 'staged_points', 'metrics.points');
BEGIN
    -- What is left in the staging table is what was stored. Sorted by key: whoever waits, waits in one order.
    INSERT INTO metrics.series (organization_id, id, name, kind, unit, application, service, environment, instance, labels, description)
    SELECT DISTINCT ON (s.organization_id, s.series_id)
           s.organization_id, s.series_id, s.name, s.kind, s.unit, s.application, s.service, s.environment, s.instance, s.labels, s.description
    FROM pg_temp.staged_points AS s
    WHERE NOT EXISTS (SELECT FROM metrics.series AS k WHERE k.organization_id = s.organization_id AND k.id = s.series_id)
    ORDER BY s.organization_id, s.series_id, s.key_at
    ON CONFLICT DO NOTHING;

    INSERT INTO metrics.layouts (organization_id, id, bounds)
    SELECT DISTINCT ON (s.organization_id, s.layout) s.organization_id, s.layout, s.bounds
    FROM pg_temp.staged_points AS s
    WHERE s.bounds IS NOT NULL
      AND NOT EXISTS (SELECT FROM metrics.layouts AS k WHERE k.organization_id = s.organization_id AND k.id = s.layout)
    ORDER BY s.organization_id, s.layout
    ON CONFLICT DO NOTHING;

    INSERT INTO metrics.journal (organization_id, series_id, at)
    SELECT s.organization_id, s.series_id, s.key_at FROM pg_temp.staged_points AS s;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION metrics.store_points_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metrics.store_points_v1() TO nexus_writer;

REVOKE CREATE ON SCHEMA metrics FROM nexus_system;
