-- identity.snapshot_organizations_v1: every organization, for the data plane's snapshot.
-- requires: identity.organizations
CREATE FUNCTION identity.snapshot_organizations_v1()
    RETURNS TABLE (id uuid, slug text, currency text, tier text, reporting_zone text, is_active boolean)
    LANGUAGE sql STABLE
    AS $$
    SELECT o.id, o.slug, o.currency, o.tier, o.reporting_zone, o.is_active
    FROM identity.organizations AS o
$$;
REVOKE ALL ON FUNCTION identity.snapshot_organizations_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_organizations_v1() TO nexus_system;
