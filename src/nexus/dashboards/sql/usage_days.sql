-- dashboards.usage_days: how Nexus's own pages are used: counts per day, event, page and visitor. Nobody else is told.
-- requires: identity.organizations, platform.current_organization_id, platform.partitioned_tables, platform.ensure_partition_v1
-- Events and pages come from closed lists, so a day has a bounded number of rows. A visitor is a keyed hash of the person,
-- another one each month: days can be counted by distinct people, and nobody is followed from month to month.
CREATE TABLE dashboards.usage_days (
    organization_id  uuid         NOT NULL,
    day_at           timestamptz  NOT NULL,
    event            text         NOT NULL,
    page             text         NOT NULL,
    visitor          bytea        NOT NULL CONSTRAINT usage_days_visitor_length CHECK (length(visitor) = 16),
    events           bigint       NOT NULL DEFAULT 0,
    duration_ms      bigint       NOT NULL DEFAULT 0,
    PRIMARY KEY (organization_id, day_at, event, page, visitor)
) PARTITION BY RANGE (day_at);
ALTER TABLE dashboards.usage_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE dashboards.usage_days FORCE ROW LEVEL SECURITY;
CREATE POLICY usage_days_tenant ON dashboards.usage_days TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY usage_days_system ON dashboards.usage_days FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON dashboards.usage_days TO nexus_service;
GRANT SELECT ON dashboards.usage_days TO nexus_readonly, nexus_system;
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days)
VALUES ('dashboards.usage_days', 'month', 3, 365);
SELECT platform.ensure_partition_v1('dashboards.usage_days', now());
SELECT platform.ensure_partition_v1('dashboards.usage_days', now() + interval '1 month');
