-- identity.snapshot_keys_v1: every access key that may still be used, for the data plane's snapshot.
-- requires: identity.access_keys
-- Runs as its caller: nexus_system sees all keys through its policy.
CREATE FUNCTION identity.snapshot_keys_v1()
    RETURNS TABLE (id uuid, organization_id uuid, key_hash bytea, scopes text[], application text, user_id uuid,
                   not_before timestamptz, expires_at timestamptz)
    LANGUAGE sql STABLE
    AS $$
    SELECT k.id, k.organization_id, k.key_hash, k.scopes, k.application, k.user_id, k.not_before, k.expires_at
    FROM identity.access_keys AS k
    JOIN identity.organizations AS o ON o.id = k.organization_id AND o.is_active
    LEFT JOIN identity.users AS u ON u.id = k.user_id
    WHERE k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > now())
      AND (k.user_id IS NULL OR u.is_active)
$$;
REVOKE ALL ON FUNCTION identity.snapshot_keys_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_keys_v1() TO nexus_system;
