-- Limits that many calls were asked for are kept once, and the calls name them.

-- metering.limit_sets: which limits calls were asked for, kept once for each month of the calls that were asked the same.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- A call names its set in metadata.gateway.limit_set, beside its own amounts. Stored before the calls that name it, for the
-- months of their keys, and deleted in the transaction that drops that month of metering.calls.
CREATE TABLE metering.limit_sets (
    organization_id  uuid         NOT NULL,
    -- Made of what is in it (nexus.contracts.limit_sets).
    id               uuid         NOT NULL,
    month            timestamptz  NOT NULL,
    -- For each limit: bucket, name, scope, dimension, how many of its amounts make one, which of a call's amounts are its.
    limits           jsonb        NOT NULL,
    PRIMARY KEY (organization_id, id, month)
);

ALTER TABLE metering.limit_sets ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.limit_sets FORCE ROW LEVEL SECURITY;
CREATE POLICY limit_sets_tenant ON metering.limit_sets FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY limit_sets_writer ON metering.limit_sets FOR INSERT TO nexus_writer
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY limit_sets_system ON metering.limit_sets TO nexus_system USING (true);
GRANT SELECT ON metering.limit_sets TO nexus_service, nexus_readonly;
GRANT INSERT ON metering.limit_sets TO nexus_writer;
GRANT SELECT, DELETE ON metering.limit_sets TO nexus_system;

-- metering.stage_limit_sets_v1: makes the transaction's temporary table staged_limit_sets, into which the writer copies sets.
-- Columns are those of nexus.dataplane.ingest.limit_sets.LIMIT_SET, in order; a test compares.
CREATE FUNCTION metering.stage_limit_sets_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_limit_sets (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        month timestamptz NOT NULL,
        limits jsonb NOT NULL
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION metering.stage_limit_sets_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.stage_limit_sets_v1() TO nexus_writer;

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
