-- metering.store_limit_sets_v1: stores the staged sets of limits that are not there, in the caller's transaction.
-- requires: metering.limit_sets
-- Returns no ordinals: what a set is makes its id, so one that is there is as good as stored. Runs as nexus_writer under its
-- policies. Sorted by key, so that batches which share sets wait for each other in one order and never deadlock.
CREATE FUNCTION metering.store_limit_sets_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    INSERT INTO metering.limit_sets (organization_id, id, month, limits)
    SELECT DISTINCT ON (s.organization_id, s.id, s.month) s.organization_id, s.id, s.month, s.limits
    FROM pg_temp.staged_limit_sets AS s
    ORDER BY s.organization_id, s.id, s.month
    ON CONFLICT DO NOTHING;
    RETURN '{}'::integer[];
END
$$;
REVOKE ALL ON FUNCTION metering.store_limit_sets_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.store_limit_sets_v1() TO nexus_writer;
