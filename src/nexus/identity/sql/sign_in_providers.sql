-- identity.sign_in_providers: OpenID Connect providers people may sign in by. They hold for the installation.
-- requires: identity.organizations, platform.audit_row_v1
-- New people get an account only with an address of an allowed domain that the provider has verified; they then join the
-- default organization as viewer or member. The client's secret is sealed.
CREATE TABLE identity.sign_in_providers (
    id                        uuid         PRIMARY KEY,
    slug                      text         NOT NULL CONSTRAINT sign_in_providers_slug_unique UNIQUE
                                           CONSTRAINT sign_in_providers_slug_form CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    name                      text         NOT NULL CONSTRAINT sign_in_providers_name_length CHECK (length(name) BETWEEN 1 AND 200),
    issuer                    text         NOT NULL CONSTRAINT sign_in_providers_issuer_form CHECK (issuer ~ '^https?://'),
    client_id                 text         NOT NULL,
    client_secret_sealed      bytea,
    allowed_domains           text[]       NOT NULL DEFAULT '{}',
    default_organization      uuid         REFERENCES identity.organizations (id) ON DELETE SET NULL,
    default_role              text         NOT NULL DEFAULT 'viewer'
                                           CONSTRAINT sign_in_providers_role CHECK (default_role IN ('member', 'viewer')),
    allows_private_addresses  boolean      NOT NULL DEFAULT false,
    is_active                 boolean      NOT NULL DEFAULT true,
    created_at                timestamptz  NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sign_in_providers TO nexus_system;
CREATE TRIGGER sign_in_providers_audit AFTER INSERT OR UPDATE OR DELETE ON identity.sign_in_providers
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('client_secret_sealed');
