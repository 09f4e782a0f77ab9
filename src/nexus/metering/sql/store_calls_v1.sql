-- metering.store_calls_v1: stores the staged records once each and journals their sums, in the caller's transaction.
-- requires: metering.calls, metering.seen_ids, metering.rollup_journal, metering.latency_bin_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch.
-- Runs as nexus_writer under its policies. Every insert is sorted by its key, so that batches which share records wait
-- for each other in one order and never deadlock: first all of seen_ids, then all of calls. The journal has no key.
CREATE FUNCTION metering.store_calls_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    remaining             bigint;
    opaque                bigint;
    stored                bigint;
    stored_organizations  uuid[];
    stored_ids            uuid[];
    duplicates            integer[] := '{}';
    more                  integer[];
BEGIN
    SELECT count(*), count(*) FILTER (WHERE s.is_opaque) INTO remaining, opaque FROM pg_temp.staged_calls AS s;

    IF opaque > 0 THEN
        -- Ids without a time: the first of each in the batch goes on, if it was not seen before.
        WITH fresh AS (
            INSERT INTO metering.seen_ids (organization_id, id, received_at)
            SELECT s.organization_id, s.id, min(s.received_at)
            FROM pg_temp.staged_calls AS s
            WHERE s.is_opaque
            GROUP BY s.organization_id, s.id
            ORDER BY s.organization_id, s.id
            ON CONFLICT DO NOTHING
            RETURNING organization_id, id
        )
        SELECT count(*), array_agg(f.organization_id), array_agg(f.id)
        INTO stored, stored_organizations, stored_ids FROM fresh AS f;
        IF stored < opaque THEN
            WITH gone AS (
                DELETE FROM pg_temp.staged_calls AS s
                WHERE s.is_opaque AND s.ordinal NOT IN (
                    SELECT min(o.ordinal)
                    FROM pg_temp.staged_calls AS o
                    JOIN unnest(stored_organizations, stored_ids) AS f (organization_id, id) USING (organization_id, id)
                    WHERE o.is_opaque
                    GROUP BY f.organization_id, f.id
                )
                RETURNING s.ordinal
            )
            SELECT array_agg(g.ordinal) INTO duplicates FROM gone AS g;
            remaining := remaining - cardinality(duplicates);
        END IF;
    END IF;

    -- Nearly always all are new, and to hand back each key would cost a tenth of the whole. Only where some were not is the
    -- insert undone and made again so that it tells which. Where none was, nothing is to be told apart.
    BEGIN
        INSERT INTO metering.calls (
            organization_id, id, key_at, occurred_at, received_at, provider, endpoint, method, status_code,
            response_time_us, ttfb_us, request_bytes, response_bytes, model, region, key_id, application, user_ref,
            end_user, session_id, request_id, trace_id, input_tokens, output_tokens, cached_input_tokens,
            cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens,
            image_output_tokens, units, service_variant, cost, currency, price_source, price_id, unpriced_reason,
            tags, metadata, error_type, error_message, user_agent, ip_address, request_headers, response_headers
        )
        SELECT
            s.organization_id, s.id, s.key_at, s.occurred_at, s.received_at, s.provider, s.endpoint, s.method,
            s.status_code, s.response_time_us, s.ttfb_us, s.request_bytes, s.response_bytes, s.model, s.region,
            s.key_id, s.application, s.user_ref, s.end_user, s.session_id, s.request_id, s.trace_id, s.input_tokens,
            s.output_tokens, s.cached_input_tokens, s.cache_write_tokens, s.reasoning_tokens, s.audio_input_tokens,
            s.audio_output_tokens, s.image_input_tokens, s.image_output_tokens, s.units, s.service_variant,
            s.cost_nanos * 0.000000001, s.currency, s.price_source, s.price_id, s.unpriced_reason, s.tags, s.metadata,
            s.error_type, s.error_message, s.user_agent, s.ip_address, s.request_headers, s.response_headers
        FROM pg_temp.staged_calls AS s
        ORDER BY s.organization_id, s.key_at, s.id, s.ordinal
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS stored = ROW_COUNT;
        IF stored BETWEEN 1 AND remaining - 1 THEN
            RAISE EXCEPTION 'some were stored before' USING ERRCODE = 'NX001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'NX001' THEN
        WITH kept AS (
            INSERT INTO metering.calls (
                organization_id, id, key_at, occurred_at, received_at, provider, endpoint, method, status_code,
                response_time_us, ttfb_us, request_bytes, response_bytes, model, region, key_id, application, user_ref,
                end_user, session_id, request_id, trace_id, input_tokens, output_tokens, cached_input_tokens,
                cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens,
                image_output_tokens, units, service_variant, cost, currency, price_source, price_id, unpriced_reason,
                tags, metadata, error_type, error_message, user_agent, ip_address, request_headers, response_headers
            )
            SELECT
                s.organization_id, s.id, s.key_at, s.occurred_at, s.received_at, s.provider, s.endpoint, s.method,
                s.status_code, s.response_time_us, s.ttfb_us, s.request_bytes, s.response_bytes, s.model, s.region,
                s.key_id, s.application, s.user_ref, s.end_user, s.session_id, s.request_id, s.trace_id, s.input_tokens,
                s.output_tokens, s.cached_input_tokens, s.cache_write_tokens, s.reasoning_tokens, s.audio_input_tokens,
                s.audio_output_tokens, s.image_input_tokens, s.image_output_tokens, s.units, s.service_variant,
                s.cost_nanos * 0.000000001, s.currency, s.price_source, s.price_id, s.unpriced_reason, s.tags, s.metadata,
                s.error_type, s.error_message, s.user_agent, s.ip_address, s.request_headers, s.response_headers
            FROM pg_temp.staged_calls AS s
            ORDER BY s.organization_id, s.key_at, s.id, s.ordinal
            ON CONFLICT DO NOTHING
            RETURNING organization_id, id
        )
        SELECT count(*), array_agg(k.organization_id), array_agg(k.id)
        INTO stored, stored_organizations, stored_ids FROM kept AS k;
    END;
    IF stored = 0 THEN
        SELECT array_agg(s.ordinal) INTO more FROM pg_temp.staged_calls AS s;
        duplicates := duplicates || more;
    ELSIF stored < remaining THEN
        WITH gone AS (
            DELETE FROM pg_temp.staged_calls AS s
            WHERE s.ordinal NOT IN (
                SELECT min(o.ordinal)
                FROM pg_temp.staged_calls AS o
                JOIN unnest(stored_organizations, stored_ids) AS k (organization_id, id) USING (organization_id, id)
                GROUP BY k.organization_id, k.id
            )
            RETURNING s.ordinal
        )
        SELECT array_agg(g.ordinal) INTO more FROM gone AS g;
        duplicates := duplicates || more;
    END IF;

    -- What is left in the staging table is what was stored.
    IF stored > 0 THEN
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
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;
    END IF;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION metering.store_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.store_calls_v1() TO nexus_writer;
