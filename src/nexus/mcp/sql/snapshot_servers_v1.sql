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
