-- mcp.rollups_day: sums per day of UTC, by set of dimensions.
-- requires: platform.current_organization_id
-- The sets are those of nexus.mcp.types.TOOLS: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE mcp.rollups_day (
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
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE mcp.rollups_day ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Answers: the figures of some tools or of one server, among those of all.
CREATE INDEX rollups_day_name_idx ON mcp.rollups_day (organization_id, dimension_set, server, name, bucket);
-- Answers: which of many tools have most of something, and who calls a server, without their sketches, which are most of each row.
-- Three names of 200 characters fit into an entry of an index, whatever characters they are of; four would not.
CREATE INDEX rollups_day_rank_idx ON mcp.rollups_day (organization_id, dimension_set, bucket)
    INCLUDE (subject, server, name, outcome, principal, calls, duration_count, duration_sum_us, duration_max_us, response_bytes);
-- Answers: how many principals call through each client, and through how many clients each of them calls.
CREATE INDEX rollups_day_callers_idx ON mcp.rollups_day (organization_id, bucket)
    INCLUDE (subject, principal, client_name, client_version, calls) WHERE dimension_set = 4;

ALTER TABLE mcp.rollups_day ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.rollups_day FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_day_tenant ON mcp.rollups_day FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_day_system ON mcp.rollups_day TO nexus_system USING (true);
GRANT SELECT ON mcp.rollups_day TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON mcp.rollups_day TO nexus_system;
