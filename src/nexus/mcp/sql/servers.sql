-- mcp.servers: MCP servers that an organization offers through the gateway. The secret is sealed (platform/sealing.py).
-- requires: identity.organizations
-- A server with a command is a program on Nexus's own machine: who may define one, mcp/servers.py says.
CREATE TABLE mcp.servers (
    id               uuid            NOT NULL,
    organization_id  uuid            NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    name             text            NOT NULL CONSTRAINT servers_name_form CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'),
    description      text            NOT NULL DEFAULT '' CONSTRAINT servers_description_length CHECK (length(description) <= 1000),
    transport        text            NOT NULL CONSTRAINT servers_transport CHECK (transport IN ('streamable_http', 'stdio')),
    url              text            CONSTRAINT servers_url_form CHECK (url ~ '^https?://[^/?#@\s]+(/[^?#\s]*)?$' AND length(url) <= 500),
    command          text[]          CONSTRAINT servers_command_size CHECK (cardinality(command) BETWEEN 1 AND 50),
    auth_form        text            NOT NULL DEFAULT 'none'
                                     CONSTRAINT servers_auth_form CHECK (auth_form IN ('bearer', 'x-api-key', 'api-key', 'basic', 'none')),
    prefix           text            NOT NULL DEFAULT '' CONSTRAINT servers_prefix_length CHECK (length(prefix) <= 16),
    variables        text[]          NOT NULL DEFAULT '{}',
    sealed           bytea,
    timeout_seconds  integer         NOT NULL DEFAULT 300 CONSTRAINT servers_timeout CHECK (timeout_seconds BETWEEN 1 AND 3600),
    price            numeric(20,10)  CONSTRAINT servers_price CHECK (price BETWEEN 0 AND 1000000),
    tool_prices      jsonb           NOT NULL DEFAULT '{}' CONSTRAINT servers_tool_prices CHECK (jsonb_typeof(tool_prices) = 'object'),
    is_enabled       boolean         NOT NULL DEFAULT true,
    created_by       uuid,
    created_at       timestamptz     NOT NULL DEFAULT now(),
    updated_at       timestamptz     NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT servers_name UNIQUE (organization_id, name),
    CONSTRAINT servers_way CHECK (
        (transport = 'streamable_http' AND url IS NOT NULL AND command IS NULL)
        OR (transport = 'stdio' AND url IS NULL AND command IS NOT NULL AND auth_form = 'none'))
);
ALTER TABLE mcp.servers ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.servers FORCE ROW LEVEL SECURITY;
CREATE POLICY servers_tenant ON mcp.servers TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY servers_system ON mcp.servers TO nexus_system USING (true);
-- The service may write a sealed secret but never reads one back.
GRANT INSERT, DELETE,
    UPDATE (name, description, url, command, auth_form, prefix, variables, sealed, timeout_seconds, price, tool_prices,
            is_enabled, updated_at),
    SELECT (id, organization_id, name, description, transport, url, command, auth_form, prefix, variables, timeout_seconds,
            price, tool_prices, is_enabled, created_by, created_at, updated_at)
    ON mcp.servers TO nexus_service;
GRANT SELECT (id, organization_id, name, description, transport, url, command, auth_form, prefix, variables, timeout_seconds,
              price, tool_prices, is_enabled, created_by, created_at, updated_at)
    ON mcp.servers TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON mcp.servers TO nexus_system;
CREATE TRIGGER servers_audit AFTER INSERT OR UPDATE OR DELETE ON mcp.servers
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('sealed');
CREATE TRIGGER servers_version AFTER INSERT OR UPDATE OR DELETE ON mcp.servers
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');
