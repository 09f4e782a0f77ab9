-- mcp.find_tool_calls_v2: keys of the tool calls whose parameters hold what is given (`@>`), newest first.
-- requires: mcp.tool_calls, platform.current_organization_id
-- Runs as its owner: under row-level security PostgreSQL does not use the index of the parameters, as `@>` might leak
-- what it looks at. The organization is the transaction's own and nothing else; without one nothing is found. Servers,
-- tools and outcomes narrow it where they are not NULL; `before_at`, `before_id` are of the last call seen.
-- First it looks through the newest 5,000 calls of the tools: what many calls hold is soon found there, and few calls are soon
-- looked through. Only where these are many and do not fill the page the index of the parameters is asked, for what few hold.
CREATE FUNCTION mcp.find_tool_calls_v2(
    wanted jsonb, servers text[], tools text[], outcomes text[], since timestamptz, until timestamptz,
    before_at timestamptz, before_id uuid, at_most integer
) RETURNS TABLE (found_at timestamptz, found_id uuid)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    owner      uuid := platform.current_organization_id();
    looked_at  bigint;
    found      bigint;
    near       text := 'c.organization_id = $1 AND c.occurred_at >= $5 AND c.occurred_at < $6'
                       || CASE WHEN cardinality(tools) = 1 THEN ' AND c.tool = $3[1]'
                               WHEN tools IS NULL THEN '' ELSE ' AND c.tool = ANY ($3)' END
                       || CASE WHEN before_at IS NULL THEN '' ELSE ' AND (c.occurred_at, c.id) < ($7, $8)' END;
    matches    text := 'c.parameters @> $9 AND c.parameters IS NOT NULL'
                       || CASE WHEN servers IS NULL THEN '' ELSE ' AND c.server = ANY ($2)' END
                       || CASE WHEN outcomes IS NULL THEN '' ELSE ' AND c.outcome = ANY ($4)' END;
    newest     text := ' ORDER BY c.occurred_at DESC, c.id DESC LIMIT ';
    columns    text := 'c.key_at, c.id, c.occurred_at, c.server, c.outcome, c.parameters';
    looked     text := 'SELECT ' || columns || ' FROM mcp.tool_calls AS c WHERE ' || near || newest || '5000';
BEGIN
    EXECUTE 'SELECT count(*), count(*) FILTER (WHERE ' || matches || ') FROM (' || looked || ') AS c'
    INTO looked_at, found USING owner, servers, tools, outcomes, since, until, before_at, before_id, wanted;
    -- Materialized: the index of the parameters is to be used, and not that of the order.
    RETURN QUERY EXECUTE 'WITH fit AS MATERIALIZED (' ||
        CASE WHEN looked_at < 5000 OR found >= at_most THEN 'SELECT c.* FROM (' || looked || ') AS c WHERE ' || matches
             ELSE 'SELECT ' || columns || ' FROM mcp.tool_calls AS c WHERE ' || near || ' AND ' || matches END
        || ') SELECT c.key_at, c.id FROM fit AS c' || newest || '$10'
    USING owner, servers, tools, outcomes, since, until, before_at, before_id, wanted, at_most;
END
$$;
ALTER FUNCTION mcp.find_tool_calls_v2(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION mcp.find_tool_calls_v2(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.find_tool_calls_v2(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) TO nexus_service;
RESET ROLE;
