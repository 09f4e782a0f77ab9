-- issues.occurrences: one narrow row per error, immutable; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- It makes an error one error (identity and key_at as in metering.calls) and lets every figure be counted again. What an error
-- said is kept of a few only, in issues.samples.
CREATE TABLE issues.occurrences (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    key_at           timestamptz  NOT NULL,
    occurred_at      timestamptz  NOT NULL,
    received_at      timestamptz  NOT NULL,
    fingerprint      uuid         NOT NULL,
    level            text         NOT NULL,
    service          text         NOT NULL,
    environment      text         NOT NULL,
    service_version  text         NOT NULL,
    PRIMARY KEY (organization_id, key_at, id),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT occurrences_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('issues.occurrences', 'month', 3, 90);

ALTER TABLE issues.occurrences ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.occurrences FORCE ROW LEVEL SECURITY;
CREATE POLICY occurrences_tenant ON issues.occurrences FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY occurrences_writer ON issues.occurrences TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY occurrences_system ON issues.occurrences TO nexus_system USING (true);
GRANT SELECT ON issues.occurrences TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON issues.occurrences TO nexus_writer;
GRANT SELECT ON issues.occurrences TO nexus_system;
