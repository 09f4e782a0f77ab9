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
