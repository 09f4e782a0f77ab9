-- Calls that limits refused get records: metering.calls says which limit it was, and no figure counts them.
ALTER TABLE metering.calls ADD COLUMN refused_by text;
CREATE INDEX calls_refused_idx ON metering.calls (organization_id, occurred_at, id) WHERE refused_by IS NOT NULL;

-- metering.stage_calls_v1: makes the transaction's temporary table staged_calls, into which the writer copies records.
-- Columns are nexus.contracts.calls.CALL_COLUMN_TYPES, in order; a test compares. COPY straight into metering.calls is
-- refused by row-level security. Dropped on commit: a table kept by a session that never rests would hold back the
-- freezing of old transaction ids, which nobody else may vacuum.
CREATE OR REPLACE FUNCTION metering.stage_calls_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_calls (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        provider text NOT NULL,
        endpoint text NOT NULL,
        method text NOT NULL,
        status_code smallint NOT NULL,
        response_time_us bigint,
        ttfb_us bigint,
        request_bytes bigint NOT NULL,
        response_bytes bigint NOT NULL,
        model text NOT NULL,
        region text NOT NULL,
        key_id uuid,
        application text NOT NULL,
        user_ref text NOT NULL,
        end_user text,
        session_id text,
        request_id text,
        trace_id text,
        input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        cached_input_tokens bigint NOT NULL,
        cache_write_tokens bigint NOT NULL,
        reasoning_tokens bigint NOT NULL,
        audio_input_tokens bigint NOT NULL,
        audio_output_tokens bigint NOT NULL,
        image_input_tokens bigint NOT NULL,
        image_output_tokens bigint NOT NULL,
        units jsonb,
        service_variant jsonb,
        cost_nanos bigint,
        currency text NOT NULL,
        price_source text NOT NULL,
        price_id uuid,
        unpriced_reason text,
        tags jsonb,
        metadata jsonb,
        error_type text,
        error_message text,
        user_agent text,
        ip_address inet,
        request_headers jsonb,
        response_headers jsonb,
        sighting jsonb,
        refused_by text
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION metering.stage_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.stage_calls_v1() TO nexus_writer;

-- metering.store_calls_v1: stores the staged records once each and journals their sums, in the caller's transaction.
-- requires: metering.calls, metering.keep_new_records_v1, metering.settle_sightings_v1, metering.call_exports, metering.calls_to_export, metering.rollup_journal, metering.latency_bin_v1
-- Returns the ordinals of duplicates: of stored records, of earlier ordinals in the batch, or of a call another record tells.
-- Runs as nexus_writer under its policies. The journal has no key, so writers never wait for each other there.
CREATE OR REPLACE FUNCTION metering.store_calls_v1() RETURNS integer[]
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

-- Its owner alone may replace it.
GRANT CREATE ON SCHEMA metering TO nexus_system;
SET ROLE nexus_system;
-- metering.retract_calls_v1: takes back stored calls that another record tells better, and their sums.
-- requires: metering.calls, metering.call_sightings, metering.rollup_journal, metering.latency_bin_v1, platform.writer_organization_ids
-- Only the organizations whose records the transaction stores; a call that this very transaction stored (`staged`) is not in
-- the journal yet, and is only deleted. Runs as nexus_system, as the writer may delete nothing.
CREATE OR REPLACE FUNCTION metering.retract_calls_v1(organization_ids uuid[], key_ats timestamptz[], call_ids uuid[], staged uuid[])
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT organization_ids <@ coalesce(platform.writer_organization_ids(), '{}') THEN
        RAISE EXCEPTION 'calls of an organization that does not store here' USING ERRCODE = '42501';
    END IF;
    UPDATE metering.call_sightings AS c SET call_id = NULL, key_at = NULL
    FROM unnest(organization_ids, call_ids) AS d (organization_id, call_id)
    WHERE c.organization_id = d.organization_id AND c.call_id = d.call_id;

    WITH gone AS (
        DELETE FROM metering.calls AS c
        USING unnest(organization_ids, key_ats, call_ids) AS d (organization_id, key_at, id)
        WHERE c.organization_id = d.organization_id AND c.key_at = d.key_at AND c.id = d.id
        RETURNING c.*
    )
    INSERT INTO metering.rollup_journal (
        organization_id, minute, provider, endpoint, method, model, region, status_code, key_id, application,
        user_ref, currency, tags, bin, requests, unpriced, cost, latency_sum_us, request_bytes, response_bytes,
        input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens,
        audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens
    )
    SELECT
        g.organization_id, date_bin('1 minute', g.occurred_at, timestamptz '2000-01-01 00:00:00+00'),
        g.provider, g.endpoint, g.method, g.model, g.region, g.status_code, g.key_id, g.application, g.user_ref,
        g.currency, g.tags, metering.latency_bin_v1(g.response_time_us),
        -1, -(g.cost IS NULL)::int, -coalesce(g.cost, 0), -coalesce(g.response_time_us, 0), -g.request_bytes,
        -g.response_bytes, -g.input_tokens, -g.output_tokens, -g.cached_input_tokens, -g.cache_write_tokens,
        -g.reasoning_tokens, -g.audio_input_tokens, -g.audio_output_tokens, -g.image_input_tokens, -g.image_output_tokens
    FROM gone AS g
    WHERE g.id <> ALL (staged) AND g.refused_by IS NULL;
END
$$;
RESET ROLE;
REVOKE CREATE ON SCHEMA metering FROM nexus_system;
