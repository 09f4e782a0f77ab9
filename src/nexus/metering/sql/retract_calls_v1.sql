-- metering.retract_calls_v1: takes back stored calls that another record tells better, and their sums.
-- requires: metering.calls, metering.call_sightings, metering.rollup_journal, metering.latency_bin_v1, platform.writer_organization_ids
-- Only the organizations whose records the transaction stores; a call that this very transaction stored (`staged`) is not in
-- the journal yet, and is only deleted. Runs as nexus_system, as the writer may delete nothing.
CREATE FUNCTION metering.retract_calls_v1(organization_ids uuid[], key_ats timestamptz[], call_ids uuid[], staged uuid[])
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
ALTER FUNCTION metering.retract_calls_v1(uuid[], timestamptz[], uuid[], uuid[]) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION metering.retract_calls_v1(uuid[], timestamptz[], uuid[], uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.retract_calls_v1(uuid[], timestamptz[], uuid[], uuid[]) TO nexus_writer;
RESET ROLE;
