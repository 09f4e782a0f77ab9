-- identity.provider_credentials: what Nexus sends upstream for an organization. The secret is sealed (platform/sealing.py).
-- requires: identity.organizations
CREATE TABLE identity.provider_credentials (
    id               uuid         NOT NULL,
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    provider         text         NOT NULL
                                  CONSTRAINT provider_credentials_provider_form CHECK (provider ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    name             text         NOT NULL CONSTRAINT provider_credentials_name_length CHECK (length(name) BETWEEN 1 AND 200),
    description      text         NOT NULL DEFAULT ''
                                  CONSTRAINT provider_credentials_description_length CHECK (length(description) <= 1000),
    prefix           text         NOT NULL CONSTRAINT provider_credentials_prefix_length CHECK (length(prefix) <= 16),
    secret_hash      bytea        NOT NULL CONSTRAINT provider_credentials_hash_length CHECK (length(secret_hash) = 32),
    sealed           bytea        NOT NULL,
    auth_form        text         NOT NULL DEFAULT ''
                                  CONSTRAINT provider_credentials_auth_form CHECK (auth_form IN (
                                      '', 'bearer', 'x-api-key', 'api-key', 'x-goog-api-key', 'x-subscription-token',
                                      'query_key', 'basic', 'none')),
    base_url         text         CONSTRAINT provider_credentials_base_url_form
                                  CHECK (base_url ~ '^https?://[^/?#@\s]+(/[^?#\s]*)?$' AND length(base_url) <= 500),
    weight           integer      NOT NULL DEFAULT 1 CONSTRAINT provider_credentials_weight CHECK (weight BETWEEN 0 AND 1000),
    is_active        boolean      NOT NULL DEFAULT true,
    expires_at       timestamptz,
    created_by       uuid,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);
ALTER TABLE identity.provider_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.provider_credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY provider_credentials_tenant ON identity.provider_credentials TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY provider_credentials_system ON identity.provider_credentials TO nexus_system USING (true);
-- The service may write a sealed secret but never reads one back.
GRANT INSERT, DELETE, UPDATE (name, description, prefix, secret_hash, sealed, auth_form, base_url, weight, is_active, expires_at),
    SELECT (id, organization_id, provider, name, description, prefix, secret_hash, auth_form, base_url, weight, is_active,
            expires_at, created_by, created_at)
    ON identity.provider_credentials TO nexus_service;
GRANT SELECT (id, organization_id, provider, name, description, prefix, auth_form, base_url, weight, is_active, expires_at,
              created_by, created_at)
    ON identity.provider_credentials TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.provider_credentials TO nexus_system;
CREATE TRIGGER provider_credentials_audit AFTER INSERT OR UPDATE OR DELETE ON identity.provider_credentials
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('secret_hash', 'sealed');
CREATE TRIGGER provider_credentials_version AFTER INSERT OR UPDATE OR DELETE ON identity.provider_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');
