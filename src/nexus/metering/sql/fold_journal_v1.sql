-- metering.fold_journal_v1: moves up to so many journal rows into the rollups of all levels; tells how many it moved.
-- requires: metering.rollup_journal, metering.rollups_minute, metering.rollups_quarter_hour, metering.rollups_hour, metering.rollups_day, metering.day_zones, metering.rollup_horizons, metering.day_start_v1, metering.merge_bins_v1, metering.dims_id_v1, metering.known_zone_v1, metering.sum_bigint_v1, identity.organizations, platform.ensure_partition_v1
-- -1 when another node is folding. Runs as nexus_system. One statement takes rows out of the journal and adds them to the
-- rollups, so whoever reads both in one snapshot always sees each record once. One folder at a time holds the lock
-- nexus.metering.rollups (rebuilding of days and retention take it too), so row locks never meet in two orders.
-- Smaller sets are made from larger ones, and coarser levels from finer, so most work is done once.
CREATE FUNCTION metering.fold_journal_v1(max_rows integer) RETURNS integer
    LANGUAGE plpgsql SECURITY INVOKER
    -- Groups must be hashed: sorting rows of twelve texts costs several times as much.
    SET work_mem = '64MB' SET jit = off
    AS $$
DECLARE
    places  tid[];
    months  timestamptz[];
    item    timestamptz;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('nexus.metering.rollups', 0)) THEN
        RETURN -1;
    END IF;
    SELECT array_agg(j.place), array_agg(DISTINCT date_trunc('month', j.minute, 'UTC'))
    INTO places, months
    FROM (SELECT ctid AS place, minute FROM metering.rollup_journal LIMIT max_rows) AS j;
    IF places IS NULL THEN
        RETURN 0;
    END IF;
    FOREACH item IN ARRAY months LOOP
        PERFORM platform.ensure_partition_v1('metering.rollups_minute', item),
                platform.ensure_partition_v1('metering.rollups_quarter_hour', item),
                platform.ensure_partition_v1('metering.rollups_hour', item);
    END LOOP;
    INSERT INTO metering.day_zones (organization_id, zone)
    SELECT o.id, metering.known_zone_v1(o.reporting_zone)
    FROM identity.organizations AS o
    WHERE o.id IN (SELECT j.organization_id FROM metering.rollup_journal AS j WHERE j.ctid = ANY (places))
      AND NOT EXISTS (SELECT FROM metering.day_zones AS z WHERE z.organization_id = o.id)
    ORDER BY o.id
    ON CONFLICT DO NOTHING;

    WITH
    taken AS MATERIALIZED (
        DELETE FROM metering.rollup_journal AS j
        WHERE j.ctid = ANY (places)
        RETURNING *, CASE WHEN status_code >= 400 OR status_code = 0 THEN requests ELSE 0 END AS errors,
                  CASE WHEN bin IS NOT NULL THEN requests ELSE 0 END AS latency_count
    ),
    of_endpoints AS MATERIALIZED (
        SELECT organization_id, 2::smallint AS dimension_set, minute,
               provider, endpoint, method, model, region, status_code, NULL::uuid AS key_id, '' AS application, '' AS
               user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM taken
        GROUP BY organization_id, minute, provider, endpoint, method, model, region, status_code, currency, bin
    ),
    of_models AS MATERIALIZED (
        SELECT organization_id, 1::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, model, '' AS region, NULL::smallint AS status_code, NULL::uuid
               AS key_id, '' AS application, '' AS user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM of_endpoints
        GROUP BY organization_id, minute, provider, model, currency, bin
    ),
    of_users AS MATERIALIZED (
        SELECT organization_id, 4::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, model, '' AS region, NULL::smallint AS status_code, NULL::uuid
               AS key_id, '' AS application, user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM taken
        GROUP BY organization_id, minute, provider, model, user_ref, currency, bin
    ),
    binned AS (
        SELECT * FROM of_endpoints
        UNION ALL
        SELECT * FROM of_models
        UNION ALL
        SELECT organization_id, 0::smallint AS dimension_set, minute,
               '' AS provider, '' AS endpoint, '' AS method, '' AS model, '' AS region, NULL::smallint AS status_code,
               NULL::uuid AS key_id, '' AS application, '' AS user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM of_models
        GROUP BY organization_id, minute, currency, bin
        UNION ALL
        SELECT organization_id, 3::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, model, '' AS region, NULL::smallint AS status_code, key_id,
               application, '' AS user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM taken
        GROUP BY organization_id, minute, provider, model, key_id, application, currency, bin
        UNION ALL
        SELECT * FROM of_users
        UNION ALL
        SELECT organization_id, 6::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, '' AS model, '' AS region, NULL::smallint AS status_code, NULL::uuid
               AS key_id, '' AS application, user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM of_users
        GROUP BY organization_id, minute, provider, user_ref, currency, bin
        UNION ALL
        SELECT organization_id, 5::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, model, '' AS region, NULL::smallint AS status_code, NULL::uuid
               AS key_id, '' AS application, '' AS user_ref, g.key AS tag_name, g.value AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM taken CROSS JOIN LATERAL jsonb_each_text(tags) AS g
        GROUP BY organization_id, minute, provider, model, g.key, g.value, currency, bin
    ),
    minutes AS MATERIALIZED (
        SELECT organization_id, dimension_set, minute AS bucket,
               metering.dims_id_v1(ROW(provider, endpoint, method, model, region, status_code, key_id, application, user_ref, tag_name, tag_value, currency)::text) AS dims_id,
               provider, endpoint, method, model, region, status_code, key_id, application, user_ref, tag_name,
               tag_value, currency,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens,
               coalesce(string_agg(int2send(bin) || int8send(latency_count::bigint), ''::bytea) FILTER (WHERE latency_count <> 0), '') AS latency_bins
        FROM binned
        GROUP BY organization_id, dimension_set, minute, provider, endpoint, method, model, region, status_code, key_id, application, user_ref, tag_name, tag_value, currency
    ),
    quarters AS MATERIALIZED (
        SELECT m.organization_id, m.dimension_set, date_bin('15 minutes', m.bucket, timestamptz '2000-01-01 00:00:00+00') AS bucket, m.dims_id,
               m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
               m.user_ref, m.tag_name, m.tag_value, m.currency,
               metering.sum_bigint_v1(m.requests) AS requests, metering.sum_bigint_v1(m.errors) AS errors, metering.sum_bigint_v1(m.unpriced) AS unpriced, sum(m.cost) AS cost,
               metering.sum_bigint_v1(m.latency_count) AS latency_count, sum(m.latency_sum_us) AS latency_sum_us, sum(m.request_bytes) AS
               request_bytes, sum(m.response_bytes) AS response_bytes, metering.sum_bigint_v1(m.input_tokens) AS input_tokens,
               metering.sum_bigint_v1(m.output_tokens) AS output_tokens, metering.sum_bigint_v1(m.cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(m.cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(m.reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(m.audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(m.audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(m.image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(m.image_output_tokens) AS image_output_tokens,
               string_agg(m.latency_bins, ''::bytea) AS latency_bins
        FROM minutes AS m
        GROUP BY m.organization_id, m.dimension_set, date_bin('15 minutes', m.bucket, timestamptz '2000-01-01 00:00:00+00'), m.dims_id,
                 m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
                 m.user_ref, m.tag_name, m.tag_value, m.currency
    ),
    hours AS MATERIALIZED (
        SELECT m.organization_id, m.dimension_set, date_bin('1 hour', m.bucket, timestamptz '2000-01-01 00:00:00+00') AS bucket, m.dims_id,
               m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
               m.user_ref, m.tag_name, m.tag_value, m.currency,
               metering.sum_bigint_v1(m.requests) AS requests, metering.sum_bigint_v1(m.errors) AS errors, metering.sum_bigint_v1(m.unpriced) AS unpriced, sum(m.cost) AS cost,
               metering.sum_bigint_v1(m.latency_count) AS latency_count, sum(m.latency_sum_us) AS latency_sum_us, sum(m.request_bytes) AS
               request_bytes, sum(m.response_bytes) AS response_bytes, metering.sum_bigint_v1(m.input_tokens) AS input_tokens,
               metering.sum_bigint_v1(m.output_tokens) AS output_tokens, metering.sum_bigint_v1(m.cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(m.cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(m.reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(m.audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(m.audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(m.image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(m.image_output_tokens) AS image_output_tokens,
               string_agg(m.latency_bins, ''::bytea) AS latency_bins
        FROM quarters AS m
        GROUP BY m.organization_id, m.dimension_set, date_bin('1 hour', m.bucket, timestamptz '2000-01-01 00:00:00+00'), m.dims_id,
                 m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
                 m.user_ref, m.tag_name, m.tag_value, m.currency
    ),
    day_starts AS MATERIALIZED (
        SELECT q.organization_id, q.bucket, metering.day_start_v1(q.bucket, coalesce(z.zone, 'UTC')) AS day
        FROM (SELECT DISTINCT organization_id, bucket FROM quarters) AS q
        LEFT JOIN metering.day_zones AS z USING (organization_id)
    ),
    days AS MATERIALIZED (
        SELECT m.organization_id, m.dimension_set, d.day AS bucket, m.dims_id,
               m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
               m.user_ref, m.tag_name, m.tag_value, m.currency,
               metering.sum_bigint_v1(m.requests) AS requests, metering.sum_bigint_v1(m.errors) AS errors, metering.sum_bigint_v1(m.unpriced) AS unpriced, sum(m.cost) AS cost,
               metering.sum_bigint_v1(m.latency_count) AS latency_count, sum(m.latency_sum_us) AS latency_sum_us, sum(m.request_bytes) AS
               request_bytes, sum(m.response_bytes) AS response_bytes, metering.sum_bigint_v1(m.input_tokens) AS input_tokens,
               metering.sum_bigint_v1(m.output_tokens) AS output_tokens, metering.sum_bigint_v1(m.cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(m.cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(m.reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(m.audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(m.audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(m.image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(m.image_output_tokens) AS image_output_tokens,
               string_agg(m.latency_bins, ''::bytea) AS latency_bins
        FROM quarters AS m
        JOIN day_starts AS d USING (organization_id, bucket)
        GROUP BY m.organization_id, m.dimension_set, d.day, m.dims_id,
                 m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
                 m.user_ref, m.tag_name, m.tag_value, m.currency
    ),
    into_minute AS (
        INSERT INTO metering.rollups_minute AS r (
            organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code,
            key_id, application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost,
            latency_count, latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens,
            cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
            image_input_tokens, image_output_tokens, latency_bins
        )
        SELECT
            m.organization_id, m.dimension_set, m.bucket, m.dims_id, m.provider, m.endpoint, m.method, m.model,
            m.region, m.status_code, m.key_id, m.application, m.user_ref, m.tag_name, m.tag_value, m.currency,
            m.requests, m.errors, m.unpriced, m.cost, m.latency_count, m.latency_sum_us, m.request_bytes,
            m.response_bytes, m.input_tokens, m.output_tokens, m.cached_input_tokens, m.cache_write_tokens,
            m.reasoning_tokens, m.audio_input_tokens, m.audio_output_tokens, m.image_input_tokens,
            m.image_output_tokens,
            CASE WHEN length(m.latency_bins) > 1200 THEN metering.merge_bins_v1(m.latency_bins) ELSE m.latency_bins END
        FROM minutes AS m
        WHERE m.bucket >= coalesce((SELECT h.whole_from FROM metering.rollup_horizons AS h WHERE h.level = 'minute'), '-infinity')
        ORDER BY m.organization_id, m.dimension_set, m.bucket, m.dims_id
        ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
            requests = r.requests + excluded.requests,
            errors = r.errors + excluded.errors,
            unpriced = r.unpriced + excluded.unpriced,
            cost = r.cost + excluded.cost,
            latency_count = r.latency_count + excluded.latency_count,
            latency_sum_us = r.latency_sum_us + excluded.latency_sum_us,
            request_bytes = r.request_bytes + excluded.request_bytes,
            response_bytes = r.response_bytes + excluded.response_bytes,
            input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
            cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
            audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = r.image_input_tokens + excluded.image_input_tokens,
            image_output_tokens = r.image_output_tokens + excluded.image_output_tokens,
            latency_bins = CASE
                WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                ELSE r.latency_bins || excluded.latency_bins
            END,
            touched_at = now()
    ),
    into_quarter_hour AS (
        INSERT INTO metering.rollups_quarter_hour AS r (
            organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code,
            key_id, application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost,
            latency_count, latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens,
            cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
            image_input_tokens, image_output_tokens, latency_bins
        )
        SELECT
            m.organization_id, m.dimension_set, m.bucket, m.dims_id, m.provider, m.endpoint, m.method, m.model,
            m.region, m.status_code, m.key_id, m.application, m.user_ref, m.tag_name, m.tag_value, m.currency,
            m.requests, m.errors, m.unpriced, m.cost, m.latency_count, m.latency_sum_us, m.request_bytes,
            m.response_bytes, m.input_tokens, m.output_tokens, m.cached_input_tokens, m.cache_write_tokens,
            m.reasoning_tokens, m.audio_input_tokens, m.audio_output_tokens, m.image_input_tokens,
            m.image_output_tokens,
            CASE WHEN length(m.latency_bins) > 1200 THEN metering.merge_bins_v1(m.latency_bins) ELSE m.latency_bins END
        FROM quarters AS m
        WHERE m.bucket >= coalesce((SELECT h.whole_from FROM metering.rollup_horizons AS h WHERE h.level = 'quarter_hour'), '-infinity')
        ORDER BY m.organization_id, m.dimension_set, m.bucket, m.dims_id
        ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
            requests = r.requests + excluded.requests,
            errors = r.errors + excluded.errors,
            unpriced = r.unpriced + excluded.unpriced,
            cost = r.cost + excluded.cost,
            latency_count = r.latency_count + excluded.latency_count,
            latency_sum_us = r.latency_sum_us + excluded.latency_sum_us,
            request_bytes = r.request_bytes + excluded.request_bytes,
            response_bytes = r.response_bytes + excluded.response_bytes,
            input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
            cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
            audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = r.image_input_tokens + excluded.image_input_tokens,
            image_output_tokens = r.image_output_tokens + excluded.image_output_tokens,
            latency_bins = CASE
                WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                ELSE r.latency_bins || excluded.latency_bins
            END,
            touched_at = now()
    ),
    into_hour AS (
        INSERT INTO metering.rollups_hour AS r (
            organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code,
            key_id, application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost,
            latency_count, latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens,
            cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
            image_input_tokens, image_output_tokens, latency_bins
        )
        SELECT
            m.organization_id, m.dimension_set, m.bucket, m.dims_id, m.provider, m.endpoint, m.method, m.model,
            m.region, m.status_code, m.key_id, m.application, m.user_ref, m.tag_name, m.tag_value, m.currency,
            m.requests, m.errors, m.unpriced, m.cost, m.latency_count, m.latency_sum_us, m.request_bytes,
            m.response_bytes, m.input_tokens, m.output_tokens, m.cached_input_tokens, m.cache_write_tokens,
            m.reasoning_tokens, m.audio_input_tokens, m.audio_output_tokens, m.image_input_tokens,
            m.image_output_tokens,
            CASE WHEN length(m.latency_bins) > 1200 THEN metering.merge_bins_v1(m.latency_bins) ELSE m.latency_bins END
        FROM hours AS m
        WHERE m.bucket >= coalesce((SELECT h.whole_from FROM metering.rollup_horizons AS h WHERE h.level = 'hour'), '-infinity')
        ORDER BY m.organization_id, m.dimension_set, m.bucket, m.dims_id
        ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
            requests = r.requests + excluded.requests,
            errors = r.errors + excluded.errors,
            unpriced = r.unpriced + excluded.unpriced,
            cost = r.cost + excluded.cost,
            latency_count = r.latency_count + excluded.latency_count,
            latency_sum_us = r.latency_sum_us + excluded.latency_sum_us,
            request_bytes = r.request_bytes + excluded.request_bytes,
            response_bytes = r.response_bytes + excluded.response_bytes,
            input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
            cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
            audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = r.image_input_tokens + excluded.image_input_tokens,
            image_output_tokens = r.image_output_tokens + excluded.image_output_tokens,
            latency_bins = CASE
                WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                ELSE r.latency_bins || excluded.latency_bins
            END,
            touched_at = now()
    ),
    into_day AS (
        INSERT INTO metering.rollups_day AS r (
            organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code,
            key_id, application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost,
            latency_count, latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens,
            cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
            image_input_tokens, image_output_tokens, latency_bins
        )
        SELECT
            m.organization_id, m.dimension_set, m.bucket, m.dims_id, m.provider, m.endpoint, m.method, m.model,
            m.region, m.status_code, m.key_id, m.application, m.user_ref, m.tag_name, m.tag_value, m.currency,
            m.requests, m.errors, m.unpriced, m.cost, m.latency_count, m.latency_sum_us, m.request_bytes,
            m.response_bytes, m.input_tokens, m.output_tokens, m.cached_input_tokens, m.cache_write_tokens,
            m.reasoning_tokens, m.audio_input_tokens, m.audio_output_tokens, m.image_input_tokens,
            m.image_output_tokens,
            CASE WHEN length(m.latency_bins) > 1200 THEN metering.merge_bins_v1(m.latency_bins) ELSE m.latency_bins END
        FROM days AS m
        ORDER BY m.organization_id, m.dimension_set, m.bucket, m.dims_id
        ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
            requests = r.requests + excluded.requests,
            errors = r.errors + excluded.errors,
            unpriced = r.unpriced + excluded.unpriced,
            cost = r.cost + excluded.cost,
            latency_count = r.latency_count + excluded.latency_count,
            latency_sum_us = r.latency_sum_us + excluded.latency_sum_us,
            request_bytes = r.request_bytes + excluded.request_bytes,
            response_bytes = r.response_bytes + excluded.response_bytes,
            input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
            cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
            audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = r.image_input_tokens + excluded.image_input_tokens,
            image_output_tokens = r.image_output_tokens + excluded.image_output_tokens,
            latency_bins = CASE
                WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                ELSE r.latency_bins || excluded.latency_bins
            END,
            touched_at = now()
    )
    SELECT count(*) INTO max_rows FROM taken;
    RETURN max_rows;
END
$$;
REVOKE ALL ON FUNCTION metering.fold_journal_v1(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.fold_journal_v1(integer) TO nexus_system;
