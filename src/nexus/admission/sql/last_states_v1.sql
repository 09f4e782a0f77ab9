-- admission.last_states_v1: the last stored state of each bucket of some limits of an organization, for rebuilding Redis.
-- requires: admission.token_transactions
-- A bucket is named by its limit's id, or by it, a colon and whose it is. Runs as its caller.
CREATE FUNCTION admission.last_states_v1(organization uuid, limit_ids text[], since timestamptz)
    RETURNS TABLE (bucket text, level bigint, level_at_us bigint)
    LANGUAGE sql STABLE
    AS $$
    SELECT DISTINCT ON (t.bucket) t.bucket, t.level, t.level_at_us
    FROM admission.token_transactions AS t
    WHERE t.organization_id = organization AND t.at >= since AND split_part(t.bucket, ':', 1) = ANY (limit_ids)
    ORDER BY t.bucket, t.at DESC, t.sequence DESC
$$;
REVOKE ALL ON FUNCTION admission.last_states_v1(uuid, text[], timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admission.last_states_v1(uuid, text[], timestamptz) TO nexus_system;
