-- identity.memberships: who belongs to an organization, as what, with which permissions on top of the role's.
-- requires: identity.organizations, identity.users
CREATE TABLE identity.memberships (
    organization_id    uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    user_id            uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    role               text         NOT NULL CONSTRAINT memberships_role CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    extra_permissions  text[]       NOT NULL DEFAULT '{}',
    invited_by         uuid,
    created_at         timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
-- Answers which organizations a person may enter, at sign-in.
CREATE INDEX memberships_user_id_idx ON identity.memberships (user_id);
ALTER TABLE identity.memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.memberships FORCE ROW LEVEL SECURITY;
CREATE POLICY memberships_tenant ON identity.memberships TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY memberships_system ON identity.memberships TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.memberships TO nexus_service, nexus_system;
GRANT SELECT ON identity.memberships TO nexus_readonly;
CREATE TRIGGER memberships_audit AFTER INSERT OR UPDATE OR DELETE ON identity.memberships
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER memberships_version AFTER INSERT OR UPDATE OR DELETE ON identity.memberships
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('keys');
-- A person is visible to the organizations they belong to, and to no other.
CREATE POLICY users_members ON identity.users FOR SELECT TO nexus_service, nexus_readonly
    USING (EXISTS (
        SELECT FROM identity.memberships AS m
        WHERE m.user_id = users.id AND m.organization_id = (SELECT platform.current_organization_id())
    ));
