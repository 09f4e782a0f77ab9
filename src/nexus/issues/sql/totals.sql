-- issues.totals: how many errors of all causes there were in each hour, by level, environment and category.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Of issues.hours without the causes, of which there may be many thousands: a fortnight's trend is a few thousand rows. The category is
-- the error's own, as it was told.
CREATE TABLE issues.totals (
    organization_id  uuid         NOT NULL,
    hour             timestamptz  NOT NULL,
    level            text         NOT NULL,
    environment      text         NOT NULL,
    category         text         NOT NULL,
    occurrences      bigint       NOT NULL,
    PRIMARY KEY (organization_id, hour, level, environment, category)
) PARTITION BY RANGE (hour);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('issues.totals', 'month', 2, 395, 'fillfactor = 80');

ALTER TABLE issues.totals ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.totals FORCE ROW LEVEL SECURITY;
CREATE POLICY totals_tenant ON issues.totals FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY totals_system ON issues.totals TO nexus_system USING (true);
GRANT SELECT ON issues.totals TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON issues.totals TO nexus_system;
