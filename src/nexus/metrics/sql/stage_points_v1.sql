-- metrics.stage_points_v1: makes the transaction's temporary table staged_points, into which the writer copies records.
-- Columns are nexus.contracts.metric_records.METRIC_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION metrics.stage_points_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_points (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        series_id uuid NOT NULL,
        name text NOT NULL,
        kind text NOT NULL,
        unit text NOT NULL,
        application text NOT NULL,
        service text NOT NULL,
        environment text NOT NULL,
        instance text NOT NULL,
        labels jsonb NOT NULL,
        description text NOT NULL,
        is_cumulative boolean NOT NULL,
        start_at timestamptz,
        layout uuid NOT NULL,
        bounds jsonb,
        value float8,
        count bigint NOT NULL,
        min float8,
        max float8,
        bins bytea
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION metrics.stage_points_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metrics.stage_points_v1() TO nexus_writer;
