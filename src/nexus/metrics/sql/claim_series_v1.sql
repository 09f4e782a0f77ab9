-- metrics.claim_series_v1: makes or wakes the series of staged points; takes points out of the staging table whose series would
-- be one too many, and answers them.
-- requires: metrics.series, metrics.series_usage, metrics.stage_points_v1
-- `at_most` series of an organization are active, 0 is no limit. Called by nexus_writer in the transaction that staged, before
-- points are stored. Active series go on without a lock. Who begins one holds the lock of the organization's row until its
-- transaction ends, so the limit is exact however many write; organizations are locked in order, before any point is.
-- Series begin in the order of the batch.
CREATE FUNCTION metrics.claim_series_v1(at_most bigint) RETURNS TABLE (refused_ordinal integer, refused_metric text, active_series bigint)
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    owner   uuid;
    known   bigint;
    begun   bigint;
BEGIN
    FOR owner IN
        SELECT DISTINCT s.organization_id FROM pg_temp.staged_points AS s
        WHERE NOT EXISTS (SELECT FROM metrics.series AS k WHERE k.organization_id = s.organization_id AND k.id = s.series_id AND k.is_active)
        ORDER BY s.organization_id
    LOOP
        INSERT INTO metrics.series_usage (organization_id) VALUES (owner) ON CONFLICT DO NOTHING;
        SELECT u.active INTO STRICT known FROM metrics.series_usage AS u WHERE u.organization_id = owner FOR UPDATE;
        -- Looked at again, now that nobody else begins any.
        WITH fresh AS (
            SELECT s.series_id, row_number() OVER (ORDER BY min(s.ordinal)) AS place
            FROM pg_temp.staged_points AS s
            WHERE s.organization_id = owner
              AND NOT EXISTS (SELECT FROM metrics.series AS k WHERE k.organization_id = owner AND k.id = s.series_id AND k.is_active)
            GROUP BY s.series_id
        ), made AS (
            INSERT INTO metrics.series AS k (organization_id, id, name, kind, unit, application, service, environment, instance, labels, description, is_active)
            SELECT DISTINCT ON (s.series_id)
                   owner, s.series_id, s.name, s.kind, s.unit, s.application, s.service, s.environment, s.instance, s.labels, s.description, true
            FROM fresh AS f JOIN pg_temp.staged_points AS s ON s.organization_id = owner AND s.series_id = f.series_id
            WHERE at_most = 0 OR known + f.place <= at_most
            ORDER BY s.series_id, s.key_at
            ON CONFLICT (organization_id, id) DO UPDATE SET is_active = true
            RETURNING 1
        )
        SELECT count(*) INTO begun FROM made;
        known := known + begun;
        RETURN QUERY
        WITH gone AS (
            DELETE FROM pg_temp.staged_points AS s
            WHERE s.organization_id = owner
              AND NOT EXISTS (SELECT FROM metrics.series AS k WHERE k.organization_id = owner AND k.id = s.series_id AND k.is_active)
            RETURNING s.ordinal, s.name, s.received_at
        ), newest AS (
            SELECT g.name, g.received_at FROM gone AS g ORDER BY g.received_at DESC, g.ordinal DESC LIMIT 1
        ), told AS (
            UPDATE metrics.series_usage AS u
            SET active = known, refused_points = u.refused_points + (SELECT count(*) FROM gone),
                last_refused_at = coalesce((SELECT n.received_at FROM newest AS n), u.last_refused_at),
                last_refused_metric = coalesce((SELECT n.name FROM newest AS n), u.last_refused_metric)
            WHERE u.organization_id = owner
        )
        SELECT g.ordinal, g.name, known FROM gone AS g;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION metrics.claim_series_v1(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metrics.claim_series_v1(bigint) TO nexus_writer;
