-- issues.facets: in which environments, services, versions and applications a cause was seen, whom it met, and how often.
-- requires: platform.current_organization_id
CREATE TABLE issues.facets (
    organization_id  uuid         NOT NULL,
    fingerprint      uuid         NOT NULL,
    facet            text         NOT NULL
                                  CONSTRAINT facets_facet CHECK (facet IN ('environment', 'service', 'service_version', 'application', 'met')),
    value            text         NOT NULL,
    occurrences      bigint       NOT NULL,
    first_seen       timestamptz  NOT NULL,
    last_seen        timestamptz  NOT NULL,
    PRIMARY KEY (organization_id, fingerprint, facet, value)
) WITH (fillfactor = 80);
-- Answers: which causes were seen there, and which values there are.
CREATE INDEX facets_value_idx ON issues.facets (organization_id, facet, value, fingerprint);
-- Answers: whom nobody met for longer than is kept.
CREATE INDEX facets_met_idx ON issues.facets (last_seen) WHERE facet = 'met';

ALTER TABLE issues.facets ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.facets FORCE ROW LEVEL SECURITY;
CREATE POLICY facets_tenant ON issues.facets FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY facets_system ON issues.facets TO nexus_system USING (true);
GRANT SELECT ON issues.facets TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON issues.facets TO nexus_system;
