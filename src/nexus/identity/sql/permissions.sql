-- identity.permissions: every `resource:action` there is. The same for all organizations.
CREATE TABLE identity.permissions (
    name         text  PRIMARY KEY CONSTRAINT permissions_form CHECK (name ~ '^[a-z_]+:[a-z_]+$'),
    description  text  NOT NULL
);
GRANT SELECT ON identity.permissions TO nexus_service, nexus_system, nexus_readonly;
INSERT INTO identity.permissions (name, description) VALUES
    ('organization:read', 'see the organization and its members'),
    ('organization:update', 'change the organization'),
    ('organization:create', 'make organizations'),
    ('user:read', 'see people'),
    ('user:create', 'make users'),
    ('user:update', 'change users of the organization'),
    ('member:manage', 'add, change and remove members, and invite'),
    ('role:read', 'see roles and permissions'),
    ('role:manage', 'make roles and grant them'),
    ('key:read', 'see access keys'),
    ('key:create', 'make access keys'),
    ('key:revoke', 'rotate and revoke access keys'),
    ('events:write', 'send records'),
    ('metrics:read', 'read figures and calls'),
    ('metrics:export', 'export figures and calls'),
    ('metering:reprice', 'price stored calls again'),
    ('catalog:read', 'see providers, models and prices'),
    ('catalog:write', 'change providers, models and prices of the organization'),
    ('configuration:read', 'see the system configuration'),
    ('configuration:write', 'change the system configuration'),
    ('audit:read', 'search the audit log'),
    ('audit:export', 'export the audit log'),
    ('tenant:create', 'make tenants'), ('tenant:read', 'see tenants'),
    ('tenant:update', 'change tenants'), ('tenant:delete', 'delete tenants'),
    ('application:create', 'make applications'), ('application:read', 'see applications'),
    ('application:update', 'change applications'), ('application:delete', 'delete applications'),
    ('quota:create', 'make quotas'), ('quota:read', 'see quotas'),
    ('quota:update', 'change quotas'), ('quota:delete', 'delete quotas'),
    ('token:borrow', 'borrow limiter units'), ('token:adjust', 'adjust limiter units by hand'),
    ('system:configure', 'configure the system'), ('system:monitor', 'see the state of the system');
