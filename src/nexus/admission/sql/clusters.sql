-- admission.clusters: storage clusters that applications use; a limit on a cluster is shared by the organization's applications.
-- requires: identity.organizations, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE admission.clusters (
    organization_id   uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id                uuid         NOT NULL,
    name              text         NOT NULL CONSTRAINT clusters_name_form CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    region            text         NOT NULL DEFAULT '' CONSTRAINT clusters_region_length CHECK (length(region) <= 100),
    endpoint          text         CONSTRAINT clusters_endpoint_length CHECK (length(endpoint) <= 500),
    -- Operations a second the cluster is built for; what it admits is a limit's business.
    max_capacity      bigint       NOT NULL DEFAULT 0 CONSTRAINT clusters_capacity CHECK (max_capacity >= 0),
    health_status     text         NOT NULL DEFAULT 'unknown'
                                   CONSTRAINT clusters_health CHECK (health_status IN ('healthy', 'degraded', 'unhealthy', 'unknown')),
    health_check_url  text         CONSTRAINT clusters_health_url_length CHECK (length(health_check_url) <= 500),
    created_at        timestamptz  NOT NULL DEFAULT now(),
    updated_at        timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT clusters_name_unique UNIQUE (organization_id, name)
);
ALTER TABLE admission.clusters ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.clusters FORCE ROW LEVEL SECURITY;
CREATE POLICY clusters_tenant ON admission.clusters TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY clusters_system ON admission.clusters FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON admission.clusters TO nexus_service;
GRANT SELECT ON admission.clusters TO nexus_readonly, nexus_system;
CREATE TRIGGER clusters_audit AFTER INSERT OR UPDATE OR DELETE ON admission.clusters
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER clusters_version AFTER INSERT OR UPDATE OR DELETE ON admission.clusters
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
