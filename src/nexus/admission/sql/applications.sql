-- admission.applications: who shares an organization's capacity. Access keys and records name them.
-- requires: admission.clusters
CREATE TABLE admission.applications (
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id               uuid         NOT NULL,
    cluster_id       uuid,
    name             text         NOT NULL CONSTRAINT applications_name_length CHECK (length(name) BETWEEN 1 AND 200),
    metadata         jsonb        NOT NULL DEFAULT '{}',
    is_active        boolean      NOT NULL DEFAULT true,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT applications_name_unique UNIQUE (organization_id, name),
    CONSTRAINT applications_cluster_fkey FOREIGN KEY (organization_id, cluster_id)
        REFERENCES admission.clusters (organization_id, id)
);
ALTER TABLE admission.applications ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.applications FORCE ROW LEVEL SECURITY;
CREATE POLICY applications_tenant ON admission.applications TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY applications_system ON admission.applications FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON admission.applications TO nexus_service;
GRANT SELECT ON admission.applications TO nexus_readonly, nexus_system;
CREATE TRIGGER applications_audit AFTER INSERT OR UPDATE OR DELETE ON admission.applications
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER applications_version AFTER INSERT OR UPDATE OR DELETE ON admission.applications
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
