-- identity.access_keys: what clients of Nexus send. The key itself is shown once; its SHA-256 and its prefix are kept.
-- requires: identity.organizations, identity.users
CREATE TABLE identity.access_keys (
    id                     uuid         NOT NULL,
    organization_id        uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    name                   text         NOT NULL CONSTRAINT access_keys_name_length CHECK (length(name) BETWEEN 1 AND 200),
    prefix                 text         NOT NULL,
    key_hash               bytea        NOT NULL CONSTRAINT access_keys_hash_unique UNIQUE
                                        CONSTRAINT access_keys_hash_length CHECK (length(key_hash) = 32),
    scopes                 text[]       NOT NULL CONSTRAINT access_keys_scopes_some CHECK (cardinality(scopes) > 0),
    application            text         NOT NULL DEFAULT '',
    user_id                uuid         REFERENCES identity.users (id) ON DELETE SET NULL,
    rate_limit_per_minute  integer      CONSTRAINT access_keys_rate_positive CHECK (rate_limit_per_minute > 0),
    not_before             timestamptz,
    expires_at             timestamptz,
    revoked_at             timestamptz,
    last_used_at           timestamptz,
    rotated_from           uuid,
    created_by             uuid,
    created_at             timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);
ALTER TABLE identity.access_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.access_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY access_keys_tenant ON identity.access_keys TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY access_keys_system ON identity.access_keys TO nexus_system USING (true);
GRANT INSERT, UPDATE (name, expires_at, revoked_at, last_used_at), SELECT (
    id, organization_id, name, prefix, scopes, application, user_id, rate_limit_per_minute, not_before, expires_at,
    revoked_at, last_used_at, rotated_from, created_by, created_at
) ON identity.access_keys TO nexus_service;
GRANT SELECT (
    id, organization_id, name, prefix, scopes, application, user_id, rate_limit_per_minute, not_before, expires_at,
    revoked_at, last_used_at, rotated_from, created_by, created_at
) ON identity.access_keys TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON identity.access_keys TO nexus_system;
CREATE TRIGGER access_keys_audit
    AFTER INSERT OR UPDATE OF name, scopes, application, expires_at, revoked_at OR DELETE ON identity.access_keys
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('key_hash');
CREATE TRIGGER access_keys_version
    AFTER INSERT OR UPDATE OF scopes, application, user_id, not_before, expires_at, revoked_at OR DELETE ON identity.access_keys
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('keys');
