-- catalog.snapshot_providers_v1: how every provider is reached, for the gateway's snapshot.
-- requires: catalog.providers
CREATE FUNCTION catalog.snapshot_providers_v1()
    RETURNS TABLE (organization_id uuid, slug text, aliases text[], base_url text, auth_types text[], is_active boolean,
                   options jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT p.organization_id, p.slug, p.aliases, p.base_url, p.auth_types, p.status <> 'inactive', p.metadata -> 'gateway'
    FROM catalog.providers AS p
$$;
REVOKE ALL ON FUNCTION catalog.snapshot_providers_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION catalog.snapshot_providers_v1() TO nexus_system;
