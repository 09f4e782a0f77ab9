-- catalog.snapshot_endpoints_v1: the shared endpoints, for the data plane to find a path's template.
-- requires: catalog.endpoints
CREATE FUNCTION catalog.snapshot_endpoints_v1() RETURNS TABLE (provider text, method text, path_template text)
    LANGUAGE sql STABLE
    AS $$
    SELECT e.provider, e.method, e.path_template FROM catalog.endpoints AS e WHERE e.organization_id IS NULL
$$;
REVOKE ALL ON FUNCTION catalog.snapshot_endpoints_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION catalog.snapshot_endpoints_v1() TO nexus_system;
