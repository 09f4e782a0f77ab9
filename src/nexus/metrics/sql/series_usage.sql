-- metrics.series_usage: how many series of an organization are active, and what was refused because there were too many.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- `active` is the number of the organization's rows in metrics.series with is_active, at every commit: whoever changes one of
-- those holds the lock of the row here.
CREATE TABLE metrics.series_usage (
    organization_id      uuid         PRIMARY KEY,
    active               bigint       NOT NULL DEFAULT 0,
    -- Points that would have begun a series, and the metric of the newest of them.
    refused_points       bigint       NOT NULL DEFAULT 0,
    last_refused_at      timestamptz,
    last_refused_metric  text         NOT NULL DEFAULT ''
);

ALTER TABLE metrics.series_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.series_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY series_usage_tenant ON metrics.series_usage FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY series_usage_writer ON metrics.series_usage TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY series_usage_system ON metrics.series_usage TO nexus_system USING (true);
GRANT SELECT ON metrics.series_usage TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metrics.series_usage TO nexus_writer;
GRANT SELECT, UPDATE ON metrics.series_usage TO nexus_system;
