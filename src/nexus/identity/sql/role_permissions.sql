-- identity.role_permissions: which permissions a role holds; `*` holds all.
-- requires: identity.roles
CREATE TABLE identity.role_permissions (
    role_id          uuid  NOT NULL REFERENCES identity.roles (id) ON DELETE CASCADE,
    organization_id  uuid,
    permission       text  NOT NULL,
    PRIMARY KEY (role_id, permission)
);
ALTER TABLE identity.role_permissions ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.role_permissions FORCE ROW LEVEL SECURITY;
CREATE POLICY role_permissions_builtin ON identity.role_permissions FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY role_permissions_tenant ON identity.role_permissions TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY role_permissions_system ON identity.role_permissions TO nexus_system USING (true);
CREATE POLICY role_permissions_owner ON identity.role_permissions TO nexus_owner USING (organization_id IS NULL);
GRANT SELECT, INSERT, DELETE ON identity.role_permissions TO nexus_service;
GRANT SELECT ON identity.role_permissions TO nexus_readonly, nexus_system;
CREATE TRIGGER role_permissions_audit AFTER INSERT OR UPDATE OR DELETE ON identity.role_permissions
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
INSERT INTO identity.role_permissions (role_id, permission)
SELECT r.id, p.permission
FROM identity.roles AS r
JOIN (
    VALUES
        ('system_admin', ARRAY['*']),
        ('organization_owner', ARRAY[
            'organization:read', 'organization:update', 'user:read', 'user:create', 'user:update', 'member:manage',
            'role:read', 'role:manage', 'key:read', 'key:create', 'key:revoke', 'events:write', 'gateway:call',
            'credential:read', 'credential:manage', 'metrics:read', 'metrics:export', 'metering:reprice', 'bodies:read',
            'bodies:manage', 'catalog:read', 'catalog:write', 'audit:read', 'audit:export',
            'application:create', 'application:read', 'application:update', 'application:delete',
            'calls:admit', 'quota:create', 'quota:read', 'quota:update', 'quota:delete', 'token:borrow', 'token:adjust',
            'budget:read', 'budget:write', 'error:read', 'error:manage', 'mcp_server:read', 'mcp_server:manage']),
        ('organization_admin', ARRAY[
            'organization:read', 'organization:update', 'user:read', 'user:create', 'user:update', 'member:manage',
            'role:read', 'role:manage', 'key:read', 'key:create', 'key:revoke', 'events:write', 'gateway:call',
            'credential:read', 'credential:manage', 'metrics:read', 'metrics:export', 'metering:reprice', 'bodies:read',
            'bodies:manage', 'catalog:read', 'catalog:write', 'audit:read',
            'application:create', 'application:read', 'application:update', 'application:delete',
            'calls:admit', 'quota:create', 'quota:read', 'quota:update', 'quota:delete', 'token:borrow', 'budget:read',
            'budget:write', 'error:read', 'error:manage', 'mcp_server:read', 'mcp_server:manage']),
        ('organization_member', ARRAY[
            'organization:read', 'user:read', 'role:read', 'key:read', 'key:create', 'events:write', 'gateway:call',
            'credential:read', 'metrics:read', 'metrics:export', 'catalog:read', 'application:read', 'quota:read', 'calls:admit',
            'budget:read', 'error:read', 'error:manage', 'mcp_server:read']),
        ('organization_viewer', ARRAY[
            'organization:read', 'metrics:read', 'catalog:read', 'application:read', 'quota:read', 'budget:read', 'error:read']),
        ('application_admin', ARRAY[
            'application:create', 'application:read', 'application:update', 'application:delete', 'calls:admit', 'quota:create',
            'quota:read', 'quota:update', 'quota:delete', 'token:borrow', 'metrics:read', 'catalog:read', 'budget:read',
            'error:read', 'error:manage']),
        ('application_viewer', ARRAY['application:read', 'quota:read', 'metrics:read', 'catalog:read', 'budget:read', 'error:read']),
        ('operations_admin', ARRAY[
            'system:configure', 'system:monitor', 'configuration:read', 'configuration:write', 'metrics:read', 'catalog:read']),
        ('auditor', ARRAY['audit:read', 'audit:export', 'metrics:read', 'metrics:export', 'organization:read', 'user:read', 'budget:read',
            'error:read'])
) AS grants (role, permissions) ON grants.role = r.name
CROSS JOIN LATERAL unnest(grants.permissions) AS p (permission)
WHERE r.organization_id IS NULL;
