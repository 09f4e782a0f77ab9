-- catalog.snapshot_model_routes_v1: every organization's aliases of models, for the gateway's snapshot.
-- requires: catalog.model_routes
CREATE FUNCTION catalog.snapshot_model_routes_v1()
    RETURNS TABLE (organization_id uuid, alias text, provider text, model text, priority integer, weight integer)
    LANGUAGE sql STABLE
    AS $$
    SELECT r.organization_id, r.alias, r.provider, r.model, r.priority, r.weight FROM catalog.model_routes AS r
$$;
REVOKE ALL ON FUNCTION catalog.snapshot_model_routes_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION catalog.snapshot_model_routes_v1() TO nexus_system;
