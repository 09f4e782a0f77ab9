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
