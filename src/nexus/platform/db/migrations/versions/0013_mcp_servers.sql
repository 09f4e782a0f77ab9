-- MCP servers behind the gateway, and which of them and of their tools a key may use. Frozen: later changes come as later revisions.
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

-- mcp.snapshot_servers_v1: every MCP server that may be called, its secret sealed, for the gateway's snapshot.
-- requires: mcp.servers
CREATE FUNCTION mcp.snapshot_servers_v1()
    RETURNS TABLE (id uuid, organization_id uuid, name text, transport text, url text, command text[], auth_form text,
                   sealed bytea, timeout_seconds integer, price text, tool_prices jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT s.id, s.organization_id, s.name, s.transport, s.url, s.command, s.auth_form, s.sealed, s.timeout_seconds,
           s.price::text, s.tool_prices
    FROM mcp.servers AS s
    JOIN identity.organizations AS o ON o.id = s.organization_id AND o.is_active
    WHERE s.is_enabled
$$;
REVOKE ALL ON FUNCTION mcp.snapshot_servers_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.snapshot_servers_v1() TO nexus_system;

ALTER TABLE identity.key_reaches ADD COLUMN mcp_servers text[], ADD COLUMN mcp_tools text[];
GRANT UPDATE (mcp_servers, mcp_tools) ON identity.key_reaches TO nexus_service;
DROP FUNCTION identity.snapshot_key_reaches_v1();
-- identity.snapshot_key_reaches_v1: what each access key may use through the gateway, for its snapshot.
-- requires: identity.key_reaches
-- A rotated key has the reach of the nearest key before it that has one, unless it has its own.
CREATE FUNCTION identity.snapshot_key_reaches_v1()
    RETURNS TABLE (key_id uuid, providers text[], models text[], endpoints text[], mcp_servers text[], mcp_tools text[])
    LANGUAGE sql STABLE
    AS $$
    WITH RECURSIVE lineage AS (
        SELECT r.organization_id, r.key_id, r.providers, r.models, r.endpoints, r.mcp_servers, r.mcp_tools, 0 AS distance
        FROM identity.key_reaches AS r
        UNION ALL
        SELECT l.organization_id, k.id, l.providers, l.models, l.endpoints, l.mcp_servers, l.mcp_tools, l.distance + 1
        FROM lineage AS l
        JOIN identity.access_keys AS k ON k.organization_id = l.organization_id AND k.rotated_from = l.key_id
        WHERE l.distance < 1000
    )
    SELECT DISTINCT ON (l.key_id) l.key_id, l.providers, l.models, l.endpoints, l.mcp_servers, l.mcp_tools
    FROM lineage AS l
    ORDER BY l.key_id, l.distance
$$;
REVOKE ALL ON FUNCTION identity.snapshot_key_reaches_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_key_reaches_v1() TO nexus_system;

CREATE INDEX requests_tool_lists_idx ON mcp.requests (organization_id, occurred_at) WHERE method = 'tools/list' AND response_body IS NOT NULL;

INSERT INTO identity.permissions (name, description) VALUES
    ('mcp_server:read', 'see MCP servers behind the gateway, never their secrets'),
    ('mcp_server:manage', 'add, change and remove MCP servers reached over HTTP'),
    ('mcp_server:run', 'say which programs Nexus starts as MCP servers on its own machine');
INSERT INTO identity.role_permissions (role_id, permission)
SELECT r.id, p.permission
FROM identity.roles AS r
JOIN (
    VALUES
        ('organization_owner', ARRAY['mcp_server:read', 'mcp_server:manage']),
        ('organization_admin', ARRAY['mcp_server:read', 'mcp_server:manage']),
        ('organization_member', ARRAY['mcp_server:read'])
) AS grants (role, permissions) ON grants.role = r.name
CROSS JOIN LATERAL unnest(grants.permissions) AS p (permission)
WHERE r.organization_id IS NULL;
