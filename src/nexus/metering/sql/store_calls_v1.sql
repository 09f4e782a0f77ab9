-- metering.store_calls_v1: stores the staged records once each and journals their sums, in the caller's transaction.
-- requires: metering.calls, metering.keep_new_records_v1, metering.settle_sightings_v1, metering.call_exports, metering.calls_to_export, metering.rollup_journal, metering.latency_bin_v1
-- Returns the ordinals of duplicates: of stored records, of earlier ordinals in the batch, or of a call another record tells.
-- Runs as nexus_writer under its policies. The journal has no key, so writers never wait for each other there.
CREATE FUNCTION metering.store_calls_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1(
        'api_call', 'staged_calls', 'metering.calls', '{"cost": "s.cost_nanos * 0.000000001"}'
    );
BEGIN
    duplicates := duplicates || metering.settle_sightings_v1();
    -- What is left in the staging table is what was stored. A call that was refused was never made: no figure counts it.
    INSERT INTO metering.rollup_journal (
        organization_id, minute, provider, endpoint, method, model, region, status_code, key_id, application,
        user_ref, currency, tags, bin, requests, unpriced, cost, latency_sum_us, request_bytes, response_bytes,
        input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens,
        audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens
    )
    SELECT
        s.organization_id, date_bin('1 minute', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'),
        s.provider, s.endpoint, s.method, s.model, s.region, s.status_code, s.key_id, s.application, s.user_ref,
        s.currency, s.tags,
        metering.latency_bin_v1(s.response_time_us),
        count(*), count(*) FILTER (WHERE s.cost_nanos IS NULL), coalesce(sum(s.cost_nanos), 0) * 0.000000001,
        coalesce(sum(s.response_time_us), 0), sum(s.request_bytes), sum(s.response_bytes),
        sum(s.input_tokens), sum(s.output_tokens), sum(s.cached_input_tokens), sum(s.cache_write_tokens),
        sum(s.reasoning_tokens), sum(s.audio_input_tokens), sum(s.audio_output_tokens), sum(s.image_input_tokens),
        sum(s.image_output_tokens)
    FROM pg_temp.staged_calls AS s
    WHERE s.refused_by IS NULL
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;
    IF EXISTS (SELECT FROM metering.call_exports) THEN
        INSERT INTO metering.calls_to_export (organization_id, key_at, call_id)
        SELECT s.organization_id, s.key_at, s.id FROM pg_temp.staged_calls AS s WHERE s.metadata ? 'gateway'
        ORDER BY s.organization_id, s.key_at, s.id
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION metering.store_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.store_calls_v1() TO nexus_writer;
