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
