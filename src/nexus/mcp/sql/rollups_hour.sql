-- mcp.rollups_hour: sums per hour, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The sets are those of nexus.mcp.types.TOOLS: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE mcp.rollups_hour (
    organization_id  uuid         NOT NULL,
    dimension_set    smallint     NOT NULL,
    bucket           timestamptz  NOT NULL,
    dims_id          uuid         NOT NULL,
    subject          text         NOT NULL,
    server           text         NOT NULL,
    name             text         NOT NULL,
    outcome          text         NOT NULL,
    status_code      smallint,
    principal        text         NOT NULL,
    client_name      text         NOT NULL,
    client_version   text         NOT NULL,
    calls            bigint       NOT NULL,
    duration_count   bigint       NOT NULL,
    duration_sum_us  numeric      NOT NULL,
    duration_min_us  bigint,
    duration_max_us  bigint,
    response_bytes   numeric      NOT NULL,
    latency_bins     bytea        NOT NULL,
    touched_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE mcp.rollups_hour ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('mcp.rollups_hour', 'month', 2, 395, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');
-- Answers: the figures of some tools or of one server, among those of all.
CREATE INDEX rollups_hour_name_idx ON mcp.rollups_hour (organization_id, dimension_set, server, name, bucket);

ALTER TABLE mcp.rollups_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.rollups_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_hour_tenant ON mcp.rollups_hour FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_hour_system ON mcp.rollups_hour TO nexus_system USING (true);
GRANT SELECT ON mcp.rollups_hour TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON mcp.rollups_hour TO nexus_system;
