-- mcp.find_tool_calls_v1: keys of the tool calls whose parameters hold what is given (`@>`), newest first.
-- requires: mcp.tool_calls, platform.current_organization_id
-- Runs as its owner: under row-level security PostgreSQL does not use the index of the parameters, as `@>` might leak
-- what it looks at. The organization is the transaction's own and nothing else; without one nothing is found. Servers,
-- tools and outcomes narrow it where they are not NULL; `before_at`, `before_id` are of the last call seen.
CREATE FUNCTION mcp.find_tool_calls_v1(
    wanted jsonb, servers text[], tools text[], outcomes text[], since timestamptz, until timestamptz,
    before_at timestamptz, before_id uuid, at_most integer
) RETURNS TABLE (found_at timestamptz, found_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT c.key_at, c.id
    FROM mcp.tool_calls AS c
    WHERE c.organization_id = (SELECT platform.current_organization_id())
      AND c.parameters @> wanted AND c.parameters IS NOT NULL
      AND c.occurred_at >= since AND c.occurred_at < until
      AND (servers IS NULL OR c.server = ANY (servers))
      AND (tools IS NULL OR c.tool = ANY (tools))
      AND (outcomes IS NULL OR c.outcome = ANY (outcomes))
      AND (before_at IS NULL OR (c.occurred_at, c.id) < (before_at, before_id))
    ORDER BY c.occurred_at DESC, c.id DESC
    LIMIT at_most
$$;
ALTER FUNCTION mcp.find_tool_calls_v1(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION mcp.find_tool_calls_v1(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.find_tool_calls_v1(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) TO nexus_service;
RESET ROLE;
