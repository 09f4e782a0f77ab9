-- mcp.rollup_journal: sums of what each batch stored, written in the batch's own transaction, not yet in the rollups.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- As metering.rollup_journal: rollups + journal is exact at any moment. `subject` is `tool` or `request`, `name` the tool or
-- the method. One row per minute, combination of dimensions and bin of the duration; bin NULL holds what had no duration.
CREATE TABLE mcp.rollup_journal (
    organization_id  uuid         NOT NULL,
    minute           timestamptz  NOT NULL,
    subject          text         NOT NULL,
    server           text         NOT NULL,
    name             text         NOT NULL,
    outcome          text         NOT NULL,
    status_code      smallint,
    principal        text         NOT NULL,
    client_name      text         NOT NULL,
    client_version   text         NOT NULL,
    bin              smallint,
    calls            bigint       NOT NULL,
    duration_count   bigint       NOT NULL,
    duration_sum_us  numeric      NOT NULL,
    duration_min_us  bigint,
    duration_max_us  bigint,
    response_bytes   numeric      NOT NULL
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
CREATE INDEX rollup_journal_organization_id_minute_idx ON mcp.rollup_journal (organization_id, minute);

ALTER TABLE mcp.rollup_journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.rollup_journal FORCE ROW LEVEL SECURITY;
CREATE POLICY rollup_journal_tenant ON mcp.rollup_journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollup_journal_writer ON mcp.rollup_journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY rollup_journal_system ON mcp.rollup_journal TO nexus_system USING (true);
GRANT SELECT ON mcp.rollup_journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON mcp.rollup_journal TO nexus_writer;
GRANT SELECT, INSERT, DELETE ON mcp.rollup_journal TO nexus_system;
