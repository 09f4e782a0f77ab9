-- metrics.series: what is measured by one place: a metric of one kind and unit, its labels, and the program that measures.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- The id is made from all the other columns but the description, so the same series has the same id on every node.
CREATE TABLE metrics.series (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    name             text         NOT NULL,
    kind             text         NOT NULL CONSTRAINT series_kind CHECK (kind IN ('counter', 'gauge', 'histogram', 'summary')),
    unit             text         NOT NULL,
    application      text         NOT NULL,
    service          text         NOT NULL,
    environment      text         NOT NULL,
    instance         text         NOT NULL,
    labels           jsonb        NOT NULL,
    -- What the series' first point said of the metric.
    description      text         NOT NULL,
    -- Whether it counts against the limit: claimed by a point, and not idle since; see metrics.series_usage.
    is_active        boolean      NOT NULL DEFAULT false,
    PRIMARY KEY (organization_id, id)
);
-- Answers: which metrics there are, and the series of one, in order.
CREATE INDEX series_name_idx ON metrics.series (organization_id, name, kind, unit);

ALTER TABLE metrics.series ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.series FORCE ROW LEVEL SECURITY;
CREATE POLICY series_tenant ON metrics.series FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY series_writer ON metrics.series TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY series_system ON metrics.series TO nexus_system USING (true);
GRANT SELECT ON metrics.series TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE (is_active) ON metrics.series TO nexus_writer;
GRANT SELECT, UPDATE (is_active) ON metrics.series TO nexus_system;
