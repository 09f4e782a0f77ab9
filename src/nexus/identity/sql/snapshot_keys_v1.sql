-- identity.snapshot_keys_v1: every access key that may still be used, for the data plane's snapshot.
-- requires: identity.access_keys, identity.permissions_of_v1, identity.narrowed_scopes_v1
-- A person's key does what its scopes say and the person may still do: who left, or lost a role, takes it along.
-- Runs as its caller: nexus_system sees all keys through its policy.
CREATE FUNCTION identity.snapshot_keys_v1()
    RETURNS TABLE (id uuid, organization_id uuid, key_hash bytea, scopes text[], application text, user_id uuid,
                   not_before timestamptz, expires_at timestamptz)
    LANGUAGE sql STABLE
    AS $$
    WITH live AS MATERIALIZED (
        SELECT k.id, k.organization_id, k.key_hash, k.scopes, k.application, k.user_id, k.not_before, k.expires_at
        FROM identity.access_keys AS k
        JOIN identity.organizations AS o ON o.id = k.organization_id AND o.is_active
        LEFT JOIN identity.users AS u ON u.id = k.user_id
        WHERE k.revoked_at IS NULL
          AND (k.expires_at IS NULL OR k.expires_at > now())
          AND (k.user_id IS NULL OR u.is_active)
    ), owners AS MATERIALIZED (
        -- Decided once for each owner, however many keys they have.
        SELECT d.user_id, d.organization_id,
               ARRAY(SELECT identity.permissions_of_v1(d.user_id, d.organization_id, now())) AS held
        FROM (SELECT DISTINCT l.user_id, l.organization_id FROM live AS l WHERE l.user_id IS NOT NULL) AS d
    )
    SELECT l.id, l.organization_id, l.key_hash, n.scopes, l.application, l.user_id, l.not_before, l.expires_at
    FROM live AS l
    LEFT JOIN owners AS w ON w.user_id = l.user_id AND w.organization_id = l.organization_id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN l.user_id IS NULL THEN l.scopes ELSE identity.narrowed_scopes_v1(l.scopes, w.held) END AS scopes
    ) AS n
    WHERE cardinality(n.scopes) > 0
$$;
REVOKE ALL ON FUNCTION identity.snapshot_keys_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_keys_v1() TO nexus_system;
