-- identity.roles: named sets of permissions; built-in ones belong to no organization and cannot be changed.
-- requires: identity.organizations, identity.permissions
CREATE TABLE identity.roles (
    id               uuid         PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id  uuid         REFERENCES identity.organizations (id) ON DELETE CASCADE,
    name             text         NOT NULL CONSTRAINT roles_name_form CHECK (name ~ '^[a-z][a-z0-9_-]{1,62}$'),
    description      text         NOT NULL DEFAULT '',
    created_at       timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT roles_name_unique UNIQUE NULLS NOT DISTINCT (organization_id, name)
);
ALTER TABLE identity.roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.roles FORCE ROW LEVEL SECURITY;
CREATE POLICY roles_builtin ON identity.roles FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY roles_tenant ON identity.roles TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY roles_system ON identity.roles TO nexus_system USING (true);
CREATE POLICY roles_owner ON identity.roles TO nexus_owner USING (organization_id IS NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.roles TO nexus_service;
GRANT SELECT ON identity.roles TO nexus_readonly, nexus_system;
CREATE TRIGGER roles_audit AFTER INSERT OR UPDATE OR DELETE ON identity.roles
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
INSERT INTO identity.roles (id, name, description) VALUES
    ('00000000-0000-8000-8000-000000000001', 'system_admin', 'everything, in every organization'),
    ('00000000-0000-8000-8000-000000000002', 'organization_owner', 'everything within the organization'),
    ('00000000-0000-8000-8000-000000000003', 'organization_admin', 'people, keys, prices and figures of the organization'),
    ('00000000-0000-8000-8000-000000000004', 'organization_member', 'sends records and reads figures'),
    ('00000000-0000-8000-8000-000000000005', 'organization_viewer', 'reads figures'),
    ('00000000-0000-8000-8000-000000000006', 'application_admin', 'applications and their quotas'),
    ('00000000-0000-8000-8000-000000000007', 'application_viewer', 'reads applications and quotas'),
    ('00000000-0000-8000-8000-000000000008', 'operations_admin', 'configures and watches the system'),
    ('00000000-0000-8000-8000-000000000009', 'auditor', 'reads and exports audit log and figures');
