-- metering.day_zones: the zone in which an organization's day rollups are kept at this moment.
-- requires: platform.current_organization_id
-- It follows identity.organizations.reporting_zone: a job rebuilds the days and this row in one transaction. Until then
-- questions about days of the new zone are answered from hours or quarters.
CREATE TABLE metering.day_zones (
    organization_id  uuid         PRIMARY KEY,
    zone             text         NOT NULL,
    rebuilt_at       timestamptz  NOT NULL DEFAULT now()
);
ALTER TABLE metering.day_zones ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.day_zones FORCE ROW LEVEL SECURITY;
CREATE POLICY day_zones_tenant ON metering.day_zones FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY day_zones_system ON metering.day_zones TO nexus_system USING (true);
GRANT SELECT ON metering.day_zones TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metering.day_zones TO nexus_system;
