-- catalog.providers: who sells APIs. Rows without an organization are shipped and seen by all; others are one tenant's own.
-- requires: platform.current_organization_id, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE catalog.providers (
    id                  uuid         PRIMARY KEY,
    organization_id     uuid,
    slug                text         NOT NULL CONSTRAINT providers_slug_form CHECK (slug ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    name                text         NOT NULL,
    description         text         NOT NULL DEFAULT '',
    category            text         NOT NULL DEFAULT 'other'
                                     CONSTRAINT providers_category CHECK (category IN ('ai', 'communication', 'data', 'search', 'crm', 'other')),
    status              text         NOT NULL DEFAULT 'active'
                                     CONSTRAINT providers_status CHECK (status IN ('active', 'inactive', 'maintenance', 'deprecated')),
    pricing_model       text         NOT NULL DEFAULT 'usage'
                                     CONSTRAINT providers_pricing_model CHECK (pricing_model IN ('usage', 'subscription', 'hybrid')),
    base_url            text,
    docs_url            text,
    status_url          text,
    website_url         text,
    icon                text,
    requests_per_minute integer,
    tokens_per_minute   bigint,
    auth_types          text[]       NOT NULL DEFAULT '{}',
    regions             text[]       NOT NULL DEFAULT '{}',
    aliases             text[]       NOT NULL DEFAULT '{}',
    fallback_providers  text[]       NOT NULL DEFAULT '{}',
    match               jsonb,
    metadata            jsonb        NOT NULL DEFAULT '{}',
    source              text         NOT NULL DEFAULT 'user',
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT providers_slug_unique UNIQUE NULLS NOT DISTINCT (organization_id, slug)
);
ALTER TABLE catalog.providers ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.providers FORCE ROW LEVEL SECURITY;
CREATE POLICY providers_shared ON catalog.providers FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY providers_tenant ON catalog.providers TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY providers_system ON catalog.providers TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON catalog.providers TO nexus_service, nexus_system;
GRANT SELECT ON catalog.providers TO nexus_readonly;
CREATE TRIGGER providers_audit AFTER UPDATE OR DELETE ON catalog.providers
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER providers_version AFTER INSERT OR UPDATE OR DELETE ON catalog.providers
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('prices');
-- The gateway's table is small, so a changed address does not wait for the price book.
CREATE TRIGGER providers_gateway_version AFTER INSERT OR UPDATE OR DELETE ON catalog.providers
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');
