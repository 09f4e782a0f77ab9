-- identity.snapshot_members_v1: every membership with the person's address, for the data plane's snapshot.
-- requires: identity.memberships
CREATE FUNCTION identity.snapshot_members_v1()
    RETURNS TABLE (organization_id uuid, user_id uuid, email text)
    LANGUAGE sql STABLE
    AS $$
    SELECT m.organization_id, m.user_id, u.email
    FROM identity.memberships AS m
    JOIN identity.users AS u ON u.id = m.user_id
$$;
REVOKE ALL ON FUNCTION identity.snapshot_members_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_members_v1() TO nexus_system;
