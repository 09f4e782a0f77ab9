-- identity.user_roles: roles granted to people beyond their membership's, until an instant if one is given.
-- requires: identity.roles, identity.users, identity.organizations, platform.bump_snapshot_v1
-- A grant without an organization holds in all of them; only nexus_system makes such a one.
CREATE TABLE identity.user_roles (
    id               uuid         PRIMARY KEY,
    organization_id  uuid         REFERENCES identity.organizations (id) ON DELETE CASCADE,
    user_id          uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    role_id          uuid         NOT NULL REFERENCES identity.roles (id) ON DELETE CASCADE,
    granted_by       uuid,
    expires_at       timestamptz,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT user_roles_once UNIQUE NULLS NOT DISTINCT (organization_id, user_id, role_id)
);
-- Answers which grants have expired.
CREATE INDEX user_roles_expires_at_idx ON identity.user_roles (expires_at) WHERE expires_at IS NOT NULL;
-- Answers what a person may do.
CREATE INDEX user_roles_user_id_idx ON identity.user_roles (user_id);
ALTER TABLE identity.user_roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.user_roles FORCE ROW LEVEL SECURITY;
CREATE POLICY user_roles_tenant ON identity.user_roles TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY user_roles_system ON identity.user_roles TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.user_roles TO nexus_service, nexus_system;
GRANT SELECT ON identity.user_roles TO nexus_readonly;
CREATE TRIGGER user_roles_audit AFTER INSERT OR UPDATE OR DELETE ON identity.user_roles
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
-- Row by row: the clean-up of expired grants mostly finds none, and must not make every process read its keys again.
CREATE TRIGGER user_roles_version AFTER INSERT OR UPDATE OR DELETE ON identity.user_roles
    FOR EACH ROW EXECUTE FUNCTION platform.bump_snapshot_v1('keys');
