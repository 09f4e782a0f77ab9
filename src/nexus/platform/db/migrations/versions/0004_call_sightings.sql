-- Adds metering.call_sightings and what settles them; stage_calls_v1 gets a column, store_calls_v1 a step.
GRANT CREATE ON SCHEMA metering TO nexus_system;
-- metering.call_sightings: by what calls are known that several may tell of: spans of the program that called, ids of answers.
-- requires: platform.writer_organization_ids
-- The same call may come as the gateway's record and as spans, in any order and through several nodes. `node` is a span or
-- an answer; `seen` is who tells of it: 1 the span of an HTTP request, 2 the span of an inference, 3 the gateway, 4 nobody,
-- but an inference within that span does. `call_id` is the record as long as it is kept. Rows leave like those of
-- metering.seen_ids, `retention.seen_ids_days` after their receipt.
CREATE TABLE metering.call_sightings (
    organization_id  uuid         NOT NULL,
    node             uuid         NOT NULL,
    seen             smallint     NOT NULL,
    parent           uuid,
    call_id          uuid,
    key_at           timestamptz,
    received_at      timestamptz  NOT NULL,
    PRIMARY KEY (organization_id, node, seen)
);
-- Answers: what was seen within a span.
CREATE INDEX call_sightings_parent_idx ON metering.call_sightings (organization_id, parent) WHERE parent IS NOT NULL;
-- Answers: which rows are past the horizon. They lie in the order of receipt, so a few bytes for each range of pages do.
CREATE INDEX call_sightings_received_at_idx ON metering.call_sightings USING brin (received_at) WITH (autosummarize = on);

ALTER TABLE metering.call_sightings ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.call_sightings FORCE ROW LEVEL SECURITY;
CREATE POLICY call_sightings_writer ON metering.call_sightings TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY call_sightings_system ON metering.call_sightings TO nexus_system USING (true);
GRANT SELECT, INSERT ON metering.call_sightings TO nexus_writer;
GRANT SELECT, DELETE ON metering.call_sightings TO nexus_system;
GRANT UPDATE (call_id, key_at) ON metering.call_sightings TO nexus_system;
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
    WHERE g.id <> ALL (staged);
END
$$;
ALTER FUNCTION metering.retract_calls_v1(uuid[], timestamptz[], uuid[], uuid[]) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION metering.retract_calls_v1(uuid[], timestamptz[], uuid[], uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.retract_calls_v1(uuid[], timestamptz[], uuid[], uuid[]) TO nexus_writer;
RESET ROLE;
-- metering.settle_sightings_v1: of records that tell of one call, finds those that must not count; in the caller's transaction.
-- requires: metering.call_sightings, metering.retract_calls_v1
-- Looks at the staged calls that were just stored. Returns the ordinals of those that do not count; what was stored before
-- and does not count any more is retracted. A span's record counts unless the gateway told of the span, of an HTTP request
-- within it or of its answer; an inference's also not when another inference lies within it, an HTTP request's not when it
-- lies within an inference. Runs as nexus_writer under its policies.
CREATE FUNCTION metering.settle_sightings_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    organizations  uuid[];
    nodes          uuid[];
    gone           integer[];
    doomed_of      uuid[];
    doomed_at      timestamptz[];
    doomed         uuid[];
    staged         uuid[];
BEGIN
    SELECT array_agg(t.organization_id), array_agg(t.node) INTO organizations, nodes
    FROM (
        SELECT DISTINCT s.organization_id, n.node::uuid AS node
        FROM pg_temp.staged_calls AS s,
             LATERAL (SELECT jsonb_array_elements_text(s.sighting -> 'nodes') AS node UNION SELECT s.sighting ->> 'parent') AS n
        WHERE s.sighting IS NOT NULL AND n.node IS NOT NULL
    ) AS t;
    IF nodes IS NULL THEN
        RETURN '{}';
    END IF;

    -- Two transactions that tell of one call name a node both: the second waits here, and then sees what the first wrote.
    -- Few locks, each for many nodes, as a batch may name thousands; taken in one order.
    PERFORM pg_advisory_xact_lock(1936287604, l.bucket)
    FROM (
        SELECT DISTINCT hashtext(t.organization_id::text || t.node::text) & 63 AS bucket
        FROM unnest(organizations, nodes) AS t (organization_id, node)
        ORDER BY 1
    ) AS l;

    INSERT INTO metering.call_sightings (organization_id, node, seen, parent, call_id, key_at, received_at)
    SELECT s.organization_id, n.node::uuid, (s.sighting ->> 'seen')::smallint, (s.sighting ->> 'parent')::uuid,
           CASE WHEN s.sighting ->> 'seen' <> '3' THEN s.id END, CASE WHEN s.sighting ->> 'seen' <> '3' THEN s.key_at END, s.received_at
    FROM pg_temp.staged_calls AS s, LATERAL jsonb_array_elements_text(s.sighting -> 'nodes') AS n (node)
    WHERE s.sighting IS NOT NULL
    UNION ALL
    SELECT s.organization_id, (s.sighting ->> 'parent')::uuid, 4, NULL, NULL, NULL, s.received_at
    FROM pg_temp.staged_calls AS s
    WHERE s.sighting ->> 'seen' = '2' AND s.sighting ->> 'parent' IS NOT NULL
    ON CONFLICT DO NOTHING;

    WITH named AS (
        SELECT t.organization_id, t.node FROM unnest(organizations, nodes) AS t (organization_id, node)
    ), near AS (
        SELECT c.* FROM named AS n JOIN metering.call_sightings AS c ON c.organization_id = n.organization_id AND c.node = n.node
        UNION
        SELECT c.* FROM named AS n JOIN metering.call_sightings AS c ON c.organization_id = n.organization_id AND c.parent = n.node
    ), judged AS (
        SELECT * FROM near
        UNION
        SELECT c.* FROM near AS n JOIN metering.call_sightings AS c ON c.organization_id = n.organization_id AND c.node = n.parent
    )
    SELECT array_agg(d.organization_id), array_agg(d.key_at), array_agg(d.call_id) INTO doomed_of, doomed_at, doomed
    FROM (
        SELECT DISTINCT j.organization_id, j.key_at, j.call_id
        FROM judged AS j
        WHERE j.call_id IS NOT NULL AND (
            EXISTS (
                SELECT FROM metering.call_sightings AS o
                WHERE o.organization_id = j.organization_id AND o.node = j.node AND (o.seen = 3 OR (o.seen = 4 AND j.seen = 2))
            )
            OR (j.seen = 1 AND EXISTS (
                SELECT FROM metering.call_sightings AS o
                WHERE o.organization_id = j.organization_id AND o.node = j.parent AND o.seen = 2
            ))
            OR (j.seen = 2 AND EXISTS (
                SELECT FROM metering.call_sightings AS h
                JOIN metering.call_sightings AS o ON o.organization_id = h.organization_id AND o.node = h.node AND o.seen = 3
                WHERE h.organization_id = j.organization_id AND h.parent = j.node AND h.seen = 1
            ))
        )
    ) AS d;
    IF doomed IS NULL THEN
        RETURN '{}';
    END IF;

    WITH dropped AS (
        DELETE FROM pg_temp.staged_calls AS s
        USING unnest(doomed_of, doomed) AS d (organization_id, id)
        WHERE s.organization_id = d.organization_id AND s.id = d.id
        RETURNING s.ordinal, s.id
    )
    SELECT coalesce(array_agg(x.ordinal), '{}'), coalesce(array_agg(x.id), '{}') INTO gone, staged FROM dropped AS x;
    PERFORM metering.retract_calls_v1(doomed_of, doomed_at, doomed, staged);
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION metering.settle_sightings_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.settle_sightings_v1() TO nexus_writer;
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
        sighting jsonb
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION metering.stage_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.stage_calls_v1() TO nexus_writer;
-- metering.store_calls_v1: stores the staged records once each and journals their sums, in the caller's transaction.
-- requires: metering.calls, metering.keep_new_records_v1, metering.settle_sightings_v1, metering.rollup_journal, metering.latency_bin_v1
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
    -- What is left in the staging table is what was stored.
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
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION metering.store_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.store_calls_v1() TO nexus_writer;
GRANT DELETE ON metering.calls TO nexus_system;
REVOKE CREATE ON SCHEMA metering FROM nexus_system;
