-- identity.permissions_of_v1: what a person may do in an organization at an instant; the one place that decides it.
-- requires: identity.memberships, identity.user_roles, identity.role_permissions
-- By membership, by granted roles still in force, by grants that hold everywhere; without an organization by these alone.
-- Runs as its caller: nexus_system sees all of it through its policies.
CREATE FUNCTION identity.permissions_of_v1(person uuid, organization uuid, at timestamptz) RETURNS SETOF text
    LANGUAGE sql STABLE
    AS $$
    SELECT rp.permission
    FROM identity.memberships AS m
    JOIN identity.roles AS r ON r.organization_id IS NULL AND r.name = 'organization_' || m.role
    JOIN identity.role_permissions AS rp ON rp.role_id = r.id AND rp.organization_id IS NULL
    WHERE m.user_id = person AND m.organization_id = organization
    UNION
    SELECT rp.permission
    FROM identity.user_roles AS ur
    JOIN identity.roles AS r ON r.id = ur.role_id AND (r.organization_id IS NULL OR r.organization_id = ur.organization_id)
    JOIN identity.role_permissions AS rp ON rp.role_id = r.id AND rp.organization_id IS NOT DISTINCT FROM r.organization_id
    WHERE ur.user_id = person
      AND (ur.organization_id IS NULL OR ur.organization_id = organization)
      AND (ur.expires_at IS NULL OR ur.expires_at > at)
    UNION
    SELECT unnest(m.extra_permissions)
    FROM identity.memberships AS m
    WHERE m.user_id = person AND m.organization_id = organization
$$;
REVOKE ALL ON FUNCTION identity.permissions_of_v1(uuid, uuid, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.permissions_of_v1(uuid, uuid, timestamptz) TO nexus_system;
