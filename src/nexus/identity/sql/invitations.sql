-- identity.invitations: an address asked to join an organization; accepted once, with a token kept as its SHA-256.
-- requires: identity.organizations
CREATE TABLE identity.invitations (
    id               uuid         NOT NULL,
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    email            text         NOT NULL CONSTRAINT invitations_email_form CHECK (email ~ '^[^@\s]+@[^@\s]+$'),
    role             text         NOT NULL CONSTRAINT invitations_role CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    token_hash       bytea        NOT NULL CONSTRAINT invitations_token_unique UNIQUE,
    invited_by       uuid,
    expires_at       timestamptz  NOT NULL,
    accepted_at      timestamptz,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);
ALTER TABLE identity.invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY invitations_tenant ON identity.invitations TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY invitations_system ON identity.invitations TO nexus_system USING (true);
-- Answers the clean-up.
CREATE INDEX invitations_expires_at_idx ON identity.invitations (expires_at);
GRANT INSERT, DELETE, SELECT (id, organization_id, email, role, invited_by, expires_at, accepted_at, created_at)
    ON identity.invitations TO nexus_service;
GRANT SELECT (id, organization_id, email, role, invited_by, expires_at, accepted_at, created_at)
    ON identity.invitations TO nexus_readonly;
GRANT SELECT, UPDATE, DELETE ON identity.invitations TO nexus_system;
CREATE TRIGGER invitations_audit AFTER INSERT OR UPDATE OR DELETE ON identity.invitations
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('token_hash');
