-- storage.rollup_journal: sums of what each batch stored, written in the batch's own transaction, not yet in the rollups.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- As metering.rollup_journal: rollups + journal is exact at any moment. One row per minute, combination of dimensions and bin of
-- the window's mean latency; bin NULL holds what had no latency. A window is told in the minute in which it began.
CREATE TABLE storage.rollup_journal (
    organization_id        uuid             NOT NULL,
    minute                 timestamptz      NOT NULL,
    application            text             NOT NULL,
    cluster                text             NOT NULL,
    operation              text             NOT NULL,
    bin                    smallint,
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
    connection_count       bigint
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
CREATE INDEX rollup_journal_organization_id_minute_idx ON storage.rollup_journal (organization_id, minute);

ALTER TABLE storage.rollup_journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.rollup_journal FORCE ROW LEVEL SECURITY;
CREATE POLICY rollup_journal_tenant ON storage.rollup_journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollup_journal_writer ON storage.rollup_journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY rollup_journal_system ON storage.rollup_journal TO nexus_system USING (true);
GRANT SELECT ON storage.rollup_journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON storage.rollup_journal TO nexus_writer;
GRANT SELECT, INSERT, DELETE ON storage.rollup_journal TO nexus_system;
