-- identity.keys_used_v1: notes when access keys were last used, told by the data plane now and then for many at once.
-- requires: identity.access_keys
-- Rows are locked in one order, so that processes which tell of the same keys do not wait for each other in a circle; what
-- another told a moment ago is left alone. Runs as its caller: nexus_system sees all keys through its policy.
CREATE FUNCTION identity.keys_used_v1(organization_ids uuid[], key_ids uuid[], used_at timestamptz[], apart interval)
    RETURNS integer
    LANGUAGE sql VOLATILE
    AS $$
    WITH told AS (
        SELECT k.organization_id, k.id, t.at
        FROM unnest(organization_ids, key_ids, used_at) AS t (organization_id, id, at)
        JOIN identity.access_keys AS k USING (organization_id, id)
        WHERE k.last_used_at IS NULL OR k.last_used_at < t.at - apart
        ORDER BY k.organization_id, k.id
        FOR NO KEY UPDATE OF k
    ), changed AS (
        UPDATE identity.access_keys AS k SET last_used_at = told.at
        FROM told WHERE k.organization_id = told.organization_id AND k.id = told.id
        RETURNING 1
    )
    SELECT count(*)::integer FROM changed
$$;
REVOKE ALL ON FUNCTION identity.keys_used_v1(uuid[], uuid[], timestamptz[], interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.keys_used_v1(uuid[], uuid[], timestamptz[], interval) TO nexus_system;
