-- identity.snapshot_provider_credentials_v1: every provider credential that may be used, sealed, for the gateway's snapshot.
-- requires: identity.provider_credentials
CREATE FUNCTION identity.snapshot_provider_credentials_v1()
    RETURNS TABLE (id uuid, organization_id uuid, provider text, sealed bytea, auth_form text, base_url text, weight integer,
                   expires_at timestamptz)
    LANGUAGE sql STABLE
    AS $$
    SELECT c.id, c.organization_id, c.provider, c.sealed, c.auth_form, c.base_url, c.weight, c.expires_at
    FROM identity.provider_credentials AS c
    JOIN identity.organizations AS o ON o.id = c.organization_id AND o.is_active
    WHERE c.is_active AND (c.expires_at IS NULL OR c.expires_at > now())
$$;
REVOKE ALL ON FUNCTION identity.snapshot_provider_credentials_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_provider_credentials_v1() TO nexus_system;
