CREATE SCHEMA mcp;
GRANT USAGE ON SCHEMA mcp TO nexus_service;
GRANT USAGE ON SCHEMA mcp TO nexus_writer;
GRANT USAGE ON SCHEMA mcp TO nexus_system;
GRANT USAGE ON SCHEMA mcp TO nexus_readonly;
GRANT USAGE ON SCHEMA mcp TO nexus_backup;

-- metering.keep_new_records_v1: stores staged records of one type once each; what is left in the staging table is what was stored.
-- requires: metering.seen_ids
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Identity is the
-- organization, the type and the id. `staged` is a table of pg_temp, `target` the table that keeps the type. Columns of
-- the target are taken from the staged ones of the same name, those in `computed` from the expression given there.
-- Runs as whoever stores, under its policies. Every insert is sorted by its key, so that batches which share records
-- wait for each other in one order and never deadlock: first all of seen_ids, then all of the target. The staging table
-- is new in each transaction, so its statements are planned anew in any case: to write them here costs nothing more.
CREATE FUNCTION metering.keep_new_records_v1(record_type text, staged text, target text, computed jsonb DEFAULT '{}') RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    kept                  text := format('INSERT INTO %s (%%s) SELECT %%s FROM pg_temp.%I AS s ORDER BY s.organization_id, s.key_at, s.id, s.ordinal ON CONFLICT DO NOTHING', target::regclass, staged);
    remaining             bigint;
    opaque                bigint;
    stored                bigint;
    stored_organizations  uuid[];
    stored_ids            uuid[];
    duplicates            integer[] := '{}';
    more                  integer[];
    -- Ids of API calls are kept as they are, those of other types as names made of type and id.
    seen_id               text := CASE record_type WHEN 'api_call' THEN 's.id'
                                  ELSE format('encode(substr(sha256(convert_to(%L || s.id::text, ''UTF8'')), 1, 16), ''hex'')::uuid', record_type || ' ') END;
BEGIN
    SELECT format(kept, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
                  string_agg(coalesce(computed ->> a.attname, 's.' || quote_ident(a.attname)), ', ' ORDER BY a.attnum))
    INTO kept
    FROM pg_attribute AS a
    WHERE a.attrelid = target::regclass AND a.attnum > 0 AND NOT a.attisdropped;

    EXECUTE format('SELECT count(*), count(*) FILTER (WHERE s.is_opaque) FROM pg_temp.%I AS s', staged) INTO remaining, opaque;

    IF opaque > 0 THEN
        -- Ids without a time: the first of each in the batch goes on, if it was not seen before.
        EXECUTE format($sql$
            WITH fresh AS (
                INSERT INTO metering.seen_ids (organization_id, id, received_at)
                SELECT s.organization_id, %1$s, min(s.received_at)
                FROM pg_temp.%2$I AS s
                WHERE s.is_opaque
                GROUP BY 1, 2
                ORDER BY 1, 2
                ON CONFLICT DO NOTHING
                RETURNING organization_id, id
            )
            SELECT count(*), array_agg(f.organization_id), array_agg(f.id) FROM fresh AS f
        $sql$, seen_id, staged) INTO stored, stored_organizations, stored_ids;
        IF stored < opaque THEN
            EXECUTE format($sql$
                WITH gone AS (
                    DELETE FROM pg_temp.%2$I AS d
                    WHERE d.is_opaque AND d.ordinal NOT IN (
                        SELECT min(s.ordinal)
                        FROM pg_temp.%2$I AS s
                        JOIN unnest($1, $2) AS f (organization_id, id) ON f.organization_id = s.organization_id AND f.id = %1$s
                        WHERE s.is_opaque
                        GROUP BY f.organization_id, f.id
                    )
                    RETURNING d.ordinal
                )
                SELECT array_agg(g.ordinal) FROM gone AS g
            $sql$, seen_id, staged) INTO duplicates USING stored_organizations, stored_ids;
            remaining := remaining - cardinality(duplicates);
        END IF;
    END IF;

    -- Nearly always all are new, and to hand back each key would cost a tenth of the whole. Only where some were not is the
    -- insert undone and made again so that it tells which. Where none was, nothing is to be told apart.
    BEGIN
        EXECUTE kept;
        GET DIAGNOSTICS stored = ROW_COUNT;
        IF stored BETWEEN 1 AND remaining - 1 THEN
            RAISE EXCEPTION 'some were stored before' USING ERRCODE = 'NX001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'NX001' THEN
        EXECUTE 'WITH kept AS (' || kept || ' RETURNING organization_id, id)
            SELECT count(*), array_agg(k.organization_id), array_agg(k.id) FROM kept AS k'
        INTO stored, stored_organizations, stored_ids;
    END;
    IF stored = 0 THEN
        EXECUTE format('WITH gone AS (DELETE FROM pg_temp.%I AS s RETURNING s.ordinal) SELECT array_agg(g.ordinal) FROM gone AS g', staged)
        INTO more;
        duplicates := duplicates || more;
    ELSIF stored < remaining THEN
        EXECUTE format($sql$
            WITH gone AS (
                DELETE FROM pg_temp.%1$I AS s
                WHERE s.ordinal NOT IN (
                    SELECT min(o.ordinal)
                    FROM pg_temp.%1$I AS o
                    JOIN unnest($1, $2) AS k (organization_id, id) USING (organization_id, id)
                    GROUP BY k.organization_id, k.id
                )
                RETURNING s.ordinal
            )
            SELECT array_agg(g.ordinal) FROM gone AS g
        $sql$, staged) INTO more USING stored_organizations, stored_ids;
        duplicates := duplicates || more;
    END IF;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION metering.keep_new_records_v1(text, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.keep_new_records_v1(text, text, text, jsonb) TO nexus_writer;

-- metering.store_calls_v1: stores the staged records once each and journals their sums, in the caller's transaction.
-- requires: metering.calls, metering.keep_new_records_v1, metering.rollup_journal, metering.latency_bin_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch.
-- Runs as nexus_writer under its policies. The journal has no key, so writers never wait for each other there.
CREATE OR REPLACE FUNCTION metering.store_calls_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1(
        'api_call', 'staged_calls', 'metering.calls', '{"cost": "s.cost_nanos * 0.000000001"}'
    );
BEGIN
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

-- mcp.tool_calls: one row per call of an MCP tool, immutable; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- Identity and key_at as in metering.calls. Parameters, response, message and stack are masked before they come here, and
-- the hash is one of the masked parameters. `principal` is who called: the user, else `key:` and the access key's id.
CREATE TABLE mcp.tool_calls (
    organization_id   uuid             NOT NULL,
    id                uuid             NOT NULL,
    key_at            timestamptz      NOT NULL,
    occurred_at       timestamptz      NOT NULL,
    received_at       timestamptz      NOT NULL,
    server            text             NOT NULL,
    tool              text             NOT NULL,
    outcome           text             NOT NULL,
    principal         text             NOT NULL,
    client_name       text             NOT NULL,
    client_version    text             NOT NULL,
    application       text             NOT NULL,
    user_ref          text             NOT NULL,
    key_id            uuid,
    duration_us       bigint,
    response_bytes    bigint           NOT NULL,
    memory_bytes      bigint,
    cpu_percent       double precision,
    cache_hit         boolean,
    parameters        jsonb,
    parameters_hash   text,
    response          jsonb,
    error_type        text,
    error_code        text,
    error_message     text,
    error_stack       text,
    server_version    text,
    tool_version      text,
    operation         text,
    end_user          text,
    protocol_version  text,
    transport         text,
    session_id        text,
    request_id        text,
    trace_id          text,
    span_id           text,
    environment       text,
    user_agent        text,
    ip_address        inet,
    tags              jsonb,
    metadata          jsonb,
    PRIMARY KEY (organization_id, key_at, id),
    CONSTRAINT tool_calls_outcome CHECK (outcome IN ('ok', 'tool_error', 'protocol_error')),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT tool_calls_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
-- Answers: the list of calls newest first, the edges of ranges below a minute.
CREATE INDEX tool_calls_organization_id_occurred_at_id_idx ON mcp.tool_calls (organization_id, occurred_at, id);
-- Answers: the calls of one tool newest first.
CREATE INDEX tool_calls_tool_idx ON mcp.tool_calls (organization_id, tool, occurred_at, id);
-- Answers: the list of failed calls newest first; they are few among many.
CREATE INDEX tool_calls_failed_idx ON mcp.tool_calls (organization_id, occurred_at, id) WHERE outcome <> 'ok';
-- Answers: the tool calls of one trace.
CREATE INDEX tool_calls_trace_id_idx ON mcp.tool_calls (organization_id, trace_id) WHERE trace_id IS NOT NULL;
-- Answers: which calls had these parameters (`@>`), through mcp.find_tool_calls_v1.
CREATE INDEX tool_calls_parameters_idx ON mcp.tool_calls USING gin (parameters jsonb_path_ops) WHERE parameters IS NOT NULL;

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('mcp.tool_calls', 'month', 3, 90);

ALTER TABLE mcp.tool_calls ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.tool_calls FORCE ROW LEVEL SECURITY;
CREATE POLICY tool_calls_tenant ON mcp.tool_calls FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY tool_calls_writer ON mcp.tool_calls TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY tool_calls_system ON mcp.tool_calls TO nexus_system USING (true);
GRANT SELECT ON mcp.tool_calls TO nexus_service, nexus_readonly, nexus_system;
GRANT SELECT, INSERT ON mcp.tool_calls TO nexus_writer;

-- mcp.stage_tool_calls_v1: makes the transaction's temporary table staged_tool_calls, into which the writer copies records.
-- Columns are nexus.contracts.tool_calls.TOOL_CALL_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION mcp.stage_tool_calls_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_tool_calls (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        server text NOT NULL,
        tool text NOT NULL,
        outcome text NOT NULL,
        principal text NOT NULL,
        client_name text NOT NULL,
        client_version text NOT NULL,
        application text NOT NULL,
        user_ref text NOT NULL,
        key_id uuid,
        duration_us bigint,
        response_bytes bigint NOT NULL,
        memory_bytes bigint,
        cpu_percent double precision,
        cache_hit boolean,
        parameters jsonb,
        parameters_hash text,
        response jsonb,
        error_type text,
        error_code text,
        error_message text,
        error_stack text,
        server_version text,
        tool_version text,
        operation text,
        end_user text,
        protocol_version text,
        transport text,
        session_id text,
        request_id text,
        trace_id text,
        span_id text,
        environment text,
        user_agent text,
        ip_address inet,
        tags jsonb,
        metadata jsonb
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION mcp.stage_tool_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.stage_tool_calls_v1() TO nexus_writer;

-- mcp.store_tool_calls_v1: stores the staged tool calls once each, in the caller's transaction.
-- requires: mcp.tool_calls, metering.keep_new_records_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
CREATE FUNCTION mcp.store_tool_calls_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    RETURN metering.keep_new_records_v1('tool_call', 'staged_tool_calls', 'mcp.tool_calls');
END
$$;
REVOKE ALL ON FUNCTION mcp.store_tool_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.store_tool_calls_v1() TO nexus_writer;
