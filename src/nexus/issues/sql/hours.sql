-- issues.hours: how many errors of each cause there were in each hour, by level and environment.
-- requires: platform.partitioned_tables, platform.current_organization_id
CREATE TABLE issues.hours (
    organization_id  uuid         NOT NULL,
    fingerprint      uuid         NOT NULL,
    hour             timestamptz  NOT NULL,
    level            text         NOT NULL,
    environment      text         NOT NULL,
    occurrences      bigint       NOT NULL,
    PRIMARY KEY (organization_id, fingerprint, hour, level, environment)
) PARTITION BY RANGE (hour);
-- Answers: all errors of an organization by time.
CREATE INDEX hours_organization_id_hour_idx ON issues.hours (organization_id, hour);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('issues.hours', 'month', 2, 395, 'fillfactor = 80');

ALTER TABLE issues.hours ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.hours FORCE ROW LEVEL SECURITY;
CREATE POLICY hours_tenant ON issues.hours FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY hours_system ON issues.hours TO nexus_system USING (true);
GRANT SELECT ON issues.hours TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON issues.hours TO nexus_system;
