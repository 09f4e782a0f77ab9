-- admission.quotas: which scope is limited. What the limits are is said by immutable versions.
-- requires: identity.organizations, platform.audit_row_v1
CREATE TABLE admission.quotas (
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id               uuid         NOT NULL,
    name             text         NOT NULL CONSTRAINT quotas_name_form CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    scope            text         NOT NULL CONSTRAINT quotas_scope CHECK (scope IN (
                                      'cluster', 'organization', 'application', 'user', 'key', 'provider', 'model', 'endpoint', 'tag')),
    -- Which cluster, application, key …; NULL: each of them by itself.
    subject          text         CONSTRAINT quotas_subject_length CHECK (length(subject) BETWEEN 1 AND 500),
    created_at       timestamptz  NOT NULL DEFAULT now(),
    -- Of models: as called at this provider; NULL: wherever they are called.
    provider         text         CONSTRAINT quotas_provider_length CHECK (length(provider) BETWEEN 1 AND 63),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT quotas_name_unique UNIQUE (organization_id, name),
    CONSTRAINT quotas_subject_sense CHECK ((scope <> 'organization' OR subject IS NULL) AND (scope <> 'tag' OR subject IS NOT NULL)),
    CONSTRAINT quotas_provider_sense CHECK (scope = 'model' OR provider IS NULL)
);
ALTER TABLE admission.quotas ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.quotas FORCE ROW LEVEL SECURITY;
CREATE POLICY quotas_tenant ON admission.quotas TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY quotas_system ON admission.quotas FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT ON admission.quotas TO nexus_service;
GRANT SELECT ON admission.quotas TO nexus_readonly, nexus_system;
CREATE TRIGGER quotas_audit AFTER INSERT OR UPDATE OR DELETE ON admission.quotas
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
