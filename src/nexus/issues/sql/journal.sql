-- issues.journal: sums of what each batch stored, written in the batch's own transaction, not yet folded.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- As metering.rollup_journal: what is folded and what waits here are exact together at any moment.
CREATE TABLE issues.journal (
    organization_id  uuid         NOT NULL,
    fingerprint      uuid         NOT NULL,
    hour             timestamptz  NOT NULL,
    level            text         NOT NULL,
    category         text         NOT NULL,
    severity         smallint     NOT NULL,
    impact_level     text         NOT NULL,
    service          text         NOT NULL,
    environment      text         NOT NULL,
    service_version  text         NOT NULL,
    application      text         NOT NULL,
    -- Whom it met: the application's user where one is named, else the user.
    met              text         NOT NULL,
    occurrences      bigint       NOT NULL,
    first_seen       timestamptz  NOT NULL,
    last_seen        timestamptz  NOT NULL
) WITH (
    -- Every row lives for seconds: vacuum by count, not by share, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);
-- Answers: what the counts of one organization's causes still lack.
CREATE INDEX journal_organization_id_fingerprint_idx ON issues.journal (organization_id, fingerprint);

ALTER TABLE issues.journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.journal FORCE ROW LEVEL SECURITY;
CREATE POLICY journal_tenant ON issues.journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY journal_writer ON issues.journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY journal_system ON issues.journal TO nexus_system USING (true);
GRANT SELECT ON issues.journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON issues.journal TO nexus_writer;
GRANT SELECT, DELETE ON issues.journal TO nexus_system;
