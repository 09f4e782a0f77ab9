-- identity.organizations: the tenants. Every row that belongs to one carries its id as organization_id.
-- requires: platform.current_organization_id, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE identity.organizations (
    id              uuid         PRIMARY KEY,
    name            text         NOT NULL CONSTRAINT organizations_name_length CHECK (length(name) BETWEEN 1 AND 200),
    slug            text         NOT NULL CONSTRAINT organizations_slug_unique UNIQUE
                                 CONSTRAINT organizations_slug_form CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    plan            text         NOT NULL DEFAULT 'free'
                                 CONSTRAINT organizations_plan CHECK (plan IN ('free', 'pro', 'enterprise')),
    tier            text         NOT NULL DEFAULT 'standard'
                                 CONSTRAINT organizations_tier CHECK (tier IN ('standard', 'enterprise', 'academic')),
    currency        text         NOT NULL DEFAULT 'USD' CONSTRAINT organizations_currency CHECK (currency ~ '^[A-Z]{3}$'),
    reporting_zone  text         NOT NULL DEFAULT 'UTC',
    billing_email   text,
    settings        jsonb        NOT NULL DEFAULT '{}',
    is_active       boolean      NOT NULL DEFAULT true,
    created_at      timestamptz  NOT NULL DEFAULT now(),
    updated_at      timestamptz  NOT NULL DEFAULT now()
);
ALTER TABLE identity.organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY organizations_tenant ON identity.organizations TO nexus_service, nexus_readonly
    USING (id = (SELECT platform.current_organization_id()));
CREATE POLICY organizations_system ON identity.organizations TO nexus_system USING (true);
GRANT SELECT, UPDATE ON identity.organizations TO nexus_service;
GRANT SELECT ON identity.organizations TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.organizations TO nexus_system;
CREATE TRIGGER organizations_audit AFTER INSERT OR UPDATE OR DELETE ON identity.organizations
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER organizations_version AFTER INSERT OR UPDATE OR DELETE ON identity.organizations
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('keys');
