-- catalog.models: what a provider offers to ask, and the rule that tells which names mean it.
-- requires: catalog.providers
CREATE TABLE catalog.models (
    id               uuid         PRIMARY KEY,
    organization_id  uuid,
    provider         text         NOT NULL,
    slug             text         NOT NULL CONSTRAINT models_slug_length CHECK (length(slug) BETWEEN 1 AND 300),
    name             text         NOT NULL DEFAULT '',
    description      text         NOT NULL DEFAULT '',
    match            jsonb        NOT NULL,
    position         integer      NOT NULL DEFAULT 0,
    context_window   bigint,
    max_output       bigint,
    is_deprecated    boolean      NOT NULL DEFAULT false,
    metadata         jsonb        NOT NULL DEFAULT '{}',
    source           text         NOT NULL DEFAULT 'user',
    created_at       timestamptz  NOT NULL DEFAULT now(),
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT models_slug_unique UNIQUE NULLS NOT DISTINCT (organization_id, provider, slug)
);
ALTER TABLE catalog.models ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.models FORCE ROW LEVEL SECURITY;
CREATE POLICY models_shared ON catalog.models FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY models_tenant ON catalog.models TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY models_system ON catalog.models TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON catalog.models TO nexus_service, nexus_system;
GRANT SELECT ON catalog.models TO nexus_readonly;
CREATE TRIGGER models_audit AFTER UPDATE OR DELETE ON catalog.models
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER models_version AFTER INSERT OR UPDATE OR DELETE ON catalog.models
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('prices');
