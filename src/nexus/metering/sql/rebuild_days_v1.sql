-- metering.rebuild_days_v1: makes an organization's day rollups again for the days of another zone.
-- requires: metering.rollups_day, metering.rollups_quarter_hour, metering.rollup_horizons, metering.day_zones, metering.day_start_v1, metering.merge_bins_v1, metering.known_zone_v1
-- Days are made from quarters, which fit the days of any zone. Older days than the quarters that are kept stay as they are,
-- in the zone of their time; the first day after them holds what lies between. Readers see the old days or the new ones
-- with their zone, never a mixture, and no folding comes between: the lock is the one of fold_journal_v1.
CREATE FUNCTION metering.rebuild_days_v1(organization uuid, new_zone text) RETURNS bigint
    LANGUAGE plpgsql SECURITY INVOKER
    SET work_mem = '64MB' SET jit = off
    AS $$
DECLARE
    old_zone text;
    since    timestamptz := '-infinity';
    made     bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.metering.rollups', 0));
    new_zone := metering.known_zone_v1(new_zone);
    SELECT z.zone INTO old_zone FROM metering.day_zones AS z WHERE z.organization_id = organization;
    IF old_zone IS NOT DISTINCT FROM new_zone THEN
        RETURN 0;
    END IF;
    SELECT metering.day_start_v1(h.whole_from + interval '26 hours', coalesce(old_zone, 'UTC')) INTO since
    FROM metering.rollup_horizons AS h WHERE h.level = 'quarter_hour';
    since := coalesce(since, '-infinity');
    DELETE FROM metering.rollups_day AS r WHERE r.organization_id = organization AND r.bucket >= since;

    WITH quarters AS MATERIALIZED (
        SELECT * FROM metering.rollups_quarter_hour AS q WHERE q.organization_id = organization AND q.bucket >= since
    ), starts AS MATERIALIZED (
        SELECT s.bucket, greatest(metering.day_start_v1(s.bucket, new_zone), since) AS day
        FROM (SELECT DISTINCT bucket FROM quarters) AS s
    ), days AS (
        SELECT
            q.organization_id, q.dimension_set, s.day AS bucket, q.dims_id, q.provider, q.endpoint, q.method, q.model,
            q.region, q.status_code, q.key_id, q.application, q.user_ref, q.tag_name, q.tag_value, q.currency,
            sum(q.requests) AS requests, sum(q.errors) AS errors, sum(q.unpriced) AS unpriced, sum(q.cost) AS cost,
            sum(q.latency_count) AS latency_count, sum(q.latency_sum_us) AS latency_sum_us,
            sum(q.request_bytes) AS request_bytes, sum(q.response_bytes) AS response_bytes,
            sum(q.input_tokens) AS input_tokens, sum(q.output_tokens) AS output_tokens,
            sum(q.cached_input_tokens) AS cached_input_tokens, sum(q.cache_write_tokens) AS cache_write_tokens,
            sum(q.reasoning_tokens) AS reasoning_tokens, sum(q.audio_input_tokens) AS audio_input_tokens,
            sum(q.audio_output_tokens) AS audio_output_tokens, sum(q.image_input_tokens) AS image_input_tokens,
            sum(q.image_output_tokens) AS image_output_tokens,
            metering.merge_bins_v1(string_agg(q.latency_bins, ''::bytea)) AS latency_bins
        FROM quarters AS q
        JOIN starts AS s USING (bucket)
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
    )
    INSERT INTO metering.rollups_day (
        organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code, key_id,
        application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost, latency_count,
        latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens, cached_input_tokens,
        cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens,
        image_output_tokens, latency_bins
    )
    SELECT * FROM days;
    GET DIAGNOSTICS made = ROW_COUNT;

    INSERT INTO metering.day_zones AS z (organization_id, zone) VALUES (organization, new_zone)
    ON CONFLICT (organization_id) DO UPDATE SET zone = excluded.zone, rebuilt_at = now();
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION metering.rebuild_days_v1(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.rebuild_days_v1(uuid, text) TO nexus_system;
