-- metrics.layouts: bounds of explicit buckets, kept once. The id is made from the bounds.
-- requires: platform.current_organization_id, platform.writer_organization_ids
CREATE TABLE metrics.layouts (
    organization_id  uuid   NOT NULL,
    id               uuid   NOT NULL,
    -- Upper ends of the buckets but the last, which is open; a JSON array of numbers.
    bounds           jsonb  NOT NULL,
    PRIMARY KEY (organization_id, id)
);

ALTER TABLE metrics.layouts ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.layouts FORCE ROW LEVEL SECURITY;
CREATE POLICY layouts_tenant ON metrics.layouts FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY layouts_writer ON metrics.layouts TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY layouts_system ON metrics.layouts TO nexus_system USING (true);
GRANT SELECT ON metrics.layouts TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON metrics.layouts TO nexus_writer;
GRANT SELECT ON metrics.layouts TO nexus_system;
