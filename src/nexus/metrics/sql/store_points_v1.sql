-- metrics.store_points_v1: stores what is staged, once each; returns the ordinals of duplicates.
-- requires: metrics.points, metrics.series, metrics.layouts, metrics.journal, metering.keep_new_records_v1
-- As metering.store_calls_v1: called by nexus_writer under its own policies, in the transaction that staged, after
-- metrics.claim_series_v1 made the series. Where a node of an older release claimed none they are made here, and count from
-- the next point on. Figures come from the journal.
CREATE FUNCTION metrics.store_points_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('metric', 'staged_points', 'metrics.points');
BEGIN
    -- What is left in the staging table is what was stored. Sorted by key: whoever waits, waits in one order.
    INSERT INTO metrics.series (organization_id, id, name, kind, unit, application, service, environment, instance, labels, description)
    SELECT DISTINCT ON (s.organization_id, s.series_id)
           s.organization_id, s.series_id, s.name, s.kind, s.unit, s.application, s.service, s.environment, s.instance, s.labels, s.description
    FROM pg_temp.staged_points AS s
    WHERE NOT EXISTS (SELECT FROM metrics.series AS k WHERE k.organization_id = s.organization_id AND k.id = s.series_id)
    ORDER BY s.organization_id, s.series_id, s.key_at
    ON CONFLICT DO NOTHING;

    INSERT INTO metrics.layouts (organization_id, id, bounds)
    SELECT DISTINCT ON (s.organization_id, s.layout) s.organization_id, s.layout, s.bounds
    FROM pg_temp.staged_points AS s
    WHERE s.bounds IS NOT NULL
      AND NOT EXISTS (SELECT FROM metrics.layouts AS k WHERE k.organization_id = s.organization_id AND k.id = s.layout)
    ORDER BY s.organization_id, s.layout
    ON CONFLICT DO NOTHING;

    INSERT INTO metrics.journal (organization_id, series_id, at)
    SELECT s.organization_id, s.series_id, s.key_at FROM pg_temp.staged_points AS s;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION metrics.store_points_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metrics.store_points_v1() TO nexus_writer;
