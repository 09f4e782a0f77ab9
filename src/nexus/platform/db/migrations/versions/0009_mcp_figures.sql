GRANT CREATE ON SCHEMA mcp TO nexus_system;

-- metering.fold_rollups_v1: moves up to so many rows of a journal into its rollups of all levels; tells how many it moved.
-- requires: metering.dims_id_v1, metering.merge_bins_v1, platform.ensure_partition_v1
-- What fold_journal_v1 does for API calls, whose many sums it spells out, this does for any journal: its dimensions,
-- measures and sets are given. `cube` names the journal, the prefix of the rollups and the table of horizons;
-- `dimensions` and their types; `measures` and how each is merged (sum, min, max); `counted`, the measure that counts what
-- a row is about, so that of a row with a bin it is the bin's count; `sets`, the dimensions that each set keeps apart. Days are days of UTC.
-- -1 when another node is folding this journal. Runs as nexus_system: the cube is written into statements, and only what
-- is quoted or one of a few words comes from it. One statement takes rows out of the journal and adds them to the
-- rollups, so whoever reads both in one snapshot always sees each record once.
CREATE FUNCTION metering.fold_rollups_v1(cube jsonb, max_rows integer) RETURNS integer
    LANGUAGE plpgsql SECURITY INVOKER
    SET work_mem = '64MB' SET jit = off
    AS $$
DECLARE
    journal     text := (cube ->> 'journal')::regclass::text;
    prefix      text := cube ->> 'rollups';
    horizons    text := (cube ->> 'horizons')::regclass::text;
    dims        text;
    merges      text;
    names       text;
    changes     text;
    sets        text;
    inserts     text := '';
    level       text;
    places      tid[];
    months      timestamptz[];
    item        timestamptz;
    moved       integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('nexus.' || journal, 0)) THEN
        RETURN -1;
    END IF;
    EXECUTE format('SELECT array_agg(j.place), array_agg(DISTINCT date_trunc(''month'', j.minute, ''UTC''))
                    FROM (SELECT ctid AS place, minute FROM %s LIMIT $1) AS j', journal)
    INTO places, months USING max_rows;
    IF places IS NULL THEN
        RETURN 0;
    END IF;
    FOREACH item IN ARRAY months LOOP
        PERFORM platform.ensure_partition_v1(prefix || l, item) FROM unnest(ARRAY['minute', 'quarter_hour', 'hour']) AS l;
    END LOOP;

    SELECT string_agg(quote_ident(d.name), ', ' ORDER BY d.place) INTO dims
    FROM (SELECT e.value ->> 0 AS name, e.ordinality AS place FROM jsonb_array_elements(cube -> 'dimensions') WITH ORDINALITY AS e) AS d;
    SELECT string_agg(format('%s(%I) AS %2$I', CASE m.value ->> 0 WHEN 'min' THEN 'min' WHEN 'max' THEN 'max' ELSE 'sum' END, m.key), ', ' ORDER BY m.key),
           string_agg(quote_ident(m.key), ', ' ORDER BY m.key),
           string_agg(format(CASE m.value ->> 0 WHEN 'min' THEN '%1$I = least(r.%1$I, excluded.%1$I)'
                                                WHEN 'max' THEN '%1$I = greatest(r.%1$I, excluded.%1$I)'
                                                ELSE '%1$I = r.%1$I + excluded.%1$I' END, m.key), ', ' ORDER BY m.key)
    INTO merges, names, changes
    FROM (SELECT key, jsonb_build_array(value) AS value FROM jsonb_each_text(cube -> 'measures')) AS m;
    -- Dimensions that a set does not keep apart are empty in its rows.
    SELECT string_agg(format('SELECT organization_id, %s::smallint AS dimension_set, minute, %s, bin, %s FROM taken GROUP BY organization_id, minute, bin%s',
                             s.key, s.columns, merges, s.grouped), ' UNION ALL ')
    INTO sets
    FROM (
        SELECT kept.key,
               string_agg(CASE WHEN kept.value ? d.name THEN quote_ident(d.name)
                               WHEN d.type = 'text' THEN format('%L::text AS %I', '', d.name)
                               ELSE format('NULL::%s AS %I', d.type::regtype, d.name) END, ', ' ORDER BY d.place) AS columns,
               coalesce(string_agg(', ' || quote_ident(d.name), '' ORDER BY d.place) FILTER (WHERE kept.value ? d.name), '') AS grouped
        FROM jsonb_each(cube -> 'sets') AS kept
        CROSS JOIN (SELECT e.value ->> 0 AS name, e.value ->> 1 AS type, e.ordinality AS place
                    FROM jsonb_array_elements(cube -> 'dimensions') WITH ORDINALITY AS e) AS d
        GROUP BY kept.key
    ) AS s;
    FOREACH level IN ARRAY ARRAY['minute', 'quarter_hour', 'hour', 'day'] LOOP
        inserts := inserts || format($sql$,
            into_%1$s AS (
                INSERT INTO %2$s AS r (organization_id, dimension_set, bucket, dims_id, %3$s, %4$s, latency_bins)
                SELECT organization_id, dimension_set, bucket, dims_id, %3$s, %4$s, metering.merge_bins_v1(latency_bins)
                FROM of_%1$s
                WHERE bucket >= coalesce((SELECT h.whole_from FROM %5$s AS h WHERE h.level = %1$L), '-infinity')
                ORDER BY organization_id, dimension_set, bucket, dims_id
                ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
                    %6$s,
                    latency_bins = CASE
                        WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                        THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                        ELSE r.latency_bins || excluded.latency_bins
                    END,
                    touched_at = now()
            )$sql$, level, (prefix || level)::regclass, dims, names, horizons, changes);
    END LOOP;
    EXECUTE format($sql$
        WITH taken AS MATERIALIZED (DELETE FROM %1$s WHERE ctid = ANY ($1) RETURNING *),
        binned AS (%2$s),
        of_minute AS MATERIALIZED (
            SELECT organization_id, dimension_set, minute AS bucket, metering.dims_id_v1(ROW(%3$s)::text) AS dims_id, %3$s, %4$s,
                   coalesce(string_agg(int2send(bin) || int8send(%5$I::bigint), ''::bytea) FILTER (WHERE bin IS NOT NULL), '') AS latency_bins
            FROM binned GROUP BY organization_id, dimension_set, minute, %3$s
        ),
        of_quarter_hour AS MATERIALIZED (
            SELECT organization_id, dimension_set, date_bin('15 minutes', bucket, timestamptz '2000-01-01 00:00:00+00') AS bucket, dims_id, %3$s, %4$s,
                   string_agg(latency_bins, ''::bytea) AS latency_bins
            FROM of_minute GROUP BY 1, 2, 3, 4, %3$s
        ),
        of_hour AS MATERIALIZED (
            SELECT organization_id, dimension_set, date_bin('1 hour', bucket, timestamptz '2000-01-01 00:00:00+00') AS bucket, dims_id, %3$s, %4$s,
                   string_agg(latency_bins, ''::bytea) AS latency_bins
            FROM of_quarter_hour GROUP BY 1, 2, 3, 4, %3$s
        ),
        of_day AS MATERIALIZED (
            SELECT organization_id, dimension_set, date_trunc('day', bucket, 'UTC') AS bucket, dims_id, %3$s, %4$s,
                   string_agg(latency_bins, ''::bytea) AS latency_bins
            FROM of_hour GROUP BY 1, 2, 3, 4, %3$s
        )%6$s
        SELECT count(*) FROM taken
    $sql$, journal, sets, dims, merges, cube ->> 'counted', inserts)
    INTO moved USING places;
    RETURN moved;
END
$$;
REVOKE ALL ON FUNCTION metering.fold_rollups_v1(jsonb, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.fold_rollups_v1(jsonb, integer) TO nexus_system;

-- mcp.requests: one row per request to an MCP server, immutable; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- Identity and key_at as in metering.calls, masking and principal as in mcp.tool_calls. A call of a tool may be here as the
-- request `tools/call` and in mcp.tool_calls as what the tool did: two things, counted apart.
CREATE TABLE mcp.requests (
    organization_id   uuid         NOT NULL,
    id                uuid         NOT NULL,
    key_at            timestamptz  NOT NULL,
    occurred_at       timestamptz  NOT NULL,
    received_at       timestamptz  NOT NULL,
    server            text         NOT NULL,
    method            text         NOT NULL,
    target            text         NOT NULL,
    outcome           text         NOT NULL,
    status_code       smallint,
    principal         text         NOT NULL,
    client_name       text         NOT NULL,
    client_version    text         NOT NULL,
    application       text         NOT NULL,
    user_ref          text         NOT NULL,
    key_id            uuid,
    duration_us       bigint,
    queue_us          bigint,
    processing_us     bigint,
    request_bytes     bigint       NOT NULL,
    response_bytes    bigint       NOT NULL,
    http_method       text,
    path              text,
    query             jsonb,
    request_headers   jsonb,
    response_headers  jsonb,
    request_body      jsonb,
    response_body     jsonb,
    error_type        text,
    error_code        text,
    error_message     text,
    correlation_id    text,
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
    CONSTRAINT requests_outcome CHECK (outcome IN ('ok', 'tool_error', 'protocol_error')),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT requests_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
-- Answers: the list of requests newest first, the edges of ranges below a minute.
CREATE INDEX requests_organization_id_occurred_at_id_idx ON mcp.requests (organization_id, occurred_at, id);
-- Answers: the list of failed requests newest first; they are few among many.
CREATE INDEX requests_failed_idx ON mcp.requests (organization_id, occurred_at, id) WHERE outcome <> 'ok';
-- Answers: the requests of one trace.
CREATE INDEX requests_trace_id_idx ON mcp.requests (organization_id, trace_id) WHERE trace_id IS NOT NULL;

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('mcp.requests', 'month', 3, 90);

ALTER TABLE mcp.requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.requests FORCE ROW LEVEL SECURITY;
CREATE POLICY requests_tenant ON mcp.requests FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY requests_writer ON mcp.requests TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY requests_system ON mcp.requests TO nexus_system USING (true);
GRANT SELECT ON mcp.requests TO nexus_service, nexus_readonly, nexus_system;
GRANT SELECT, INSERT ON mcp.requests TO nexus_writer;

-- mcp.rollup_journal: sums of what each batch stored, written in the batch's own transaction, not yet in the rollups.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- As metering.rollup_journal: rollups + journal is exact at any moment. `subject` is `tool` or `request`, `name` the tool or
-- the method. One row per minute, combination of dimensions and bin of the duration; bin NULL holds what had no duration.
CREATE TABLE mcp.rollup_journal (
    organization_id  uuid         NOT NULL,
    minute           timestamptz  NOT NULL,
    subject          text         NOT NULL,
    server           text         NOT NULL,
    name             text         NOT NULL,
    outcome          text         NOT NULL,
    status_code      smallint,
    principal        text         NOT NULL,
    client_name      text         NOT NULL,
    client_version   text         NOT NULL,
    bin              smallint,
    calls            bigint       NOT NULL,
    duration_count   bigint       NOT NULL,
    duration_sum_us  numeric      NOT NULL,
    duration_min_us  bigint,
    duration_max_us  bigint,
    response_bytes   numeric      NOT NULL
) WITH (
    -- Every row lives for seconds: vacuum by count, not by share, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);
-- Answers: what one organization's rollups still lack in a range.
CREATE INDEX rollup_journal_organization_id_minute_idx ON mcp.rollup_journal (organization_id, minute);

ALTER TABLE mcp.rollup_journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.rollup_journal FORCE ROW LEVEL SECURITY;
CREATE POLICY rollup_journal_tenant ON mcp.rollup_journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollup_journal_writer ON mcp.rollup_journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY rollup_journal_system ON mcp.rollup_journal TO nexus_system USING (true);
GRANT SELECT ON mcp.rollup_journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON mcp.rollup_journal TO nexus_writer;
GRANT SELECT, INSERT, DELETE ON mcp.rollup_journal TO nexus_system;

-- mcp.rollup_horizons: from when on each level is whole; retention has taken something from before.
-- As metering.rollup_horizons: it holds for the installation, and a level without a row has lost nothing yet.
CREATE TABLE mcp.rollup_horizons (
    level       text         PRIMARY KEY
                             CONSTRAINT rollup_horizons_level CHECK (level IN ('raw', 'minute', 'quarter_hour', 'hour')),
    whole_from  timestamptz  NOT NULL
);
GRANT SELECT ON mcp.rollup_horizons TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON mcp.rollup_horizons TO nexus_system;

-- mcp.rollups_minute: sums per minute, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The sets are those of nexus.mcp.types.CUBE: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE mcp.rollups_minute (
    organization_id  uuid         NOT NULL,
    dimension_set    smallint     NOT NULL,
    bucket           timestamptz  NOT NULL,
    dims_id          uuid         NOT NULL,
    subject          text         NOT NULL,
    server           text         NOT NULL,
    name             text         NOT NULL,
    outcome          text         NOT NULL,
    status_code      smallint,
    principal        text         NOT NULL,
    client_name      text         NOT NULL,
    client_version   text         NOT NULL,
    calls            bigint       NOT NULL,
    duration_count   bigint       NOT NULL,
    duration_sum_us  numeric      NOT NULL,
    duration_min_us  bigint,
    duration_max_us  bigint,
    response_bytes   numeric      NOT NULL,
    latency_bins     bytea        NOT NULL,
    touched_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE mcp.rollups_minute ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('mcp.rollups_minute', 'month', 1, 14, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE mcp.rollups_minute ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.rollups_minute FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_minute_tenant ON mcp.rollups_minute FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_minute_system ON mcp.rollups_minute TO nexus_system USING (true);
GRANT SELECT ON mcp.rollups_minute TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON mcp.rollups_minute TO nexus_system;

-- mcp.rollups_quarter_hour: sums per quarter of an hour, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The sets are those of nexus.mcp.types.CUBE: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE mcp.rollups_quarter_hour (
    organization_id  uuid         NOT NULL,
    dimension_set    smallint     NOT NULL,
    bucket           timestamptz  NOT NULL,
    dims_id          uuid         NOT NULL,
    subject          text         NOT NULL,
    server           text         NOT NULL,
    name             text         NOT NULL,
    outcome          text         NOT NULL,
    status_code      smallint,
    principal        text         NOT NULL,
    client_name      text         NOT NULL,
    client_version   text         NOT NULL,
    calls            bigint       NOT NULL,
    duration_count   bigint       NOT NULL,
    duration_sum_us  numeric      NOT NULL,
    duration_min_us  bigint,
    duration_max_us  bigint,
    response_bytes   numeric      NOT NULL,
    latency_bins     bytea        NOT NULL,
    touched_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE mcp.rollups_quarter_hour ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('mcp.rollups_quarter_hour', 'month', 2, 395, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE mcp.rollups_quarter_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.rollups_quarter_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_quarter_hour_tenant ON mcp.rollups_quarter_hour FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_quarter_hour_system ON mcp.rollups_quarter_hour TO nexus_system USING (true);
GRANT SELECT ON mcp.rollups_quarter_hour TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON mcp.rollups_quarter_hour TO nexus_system;

-- mcp.rollups_hour: sums per hour, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The sets are those of nexus.mcp.types.CUBE: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE mcp.rollups_hour (
    organization_id  uuid         NOT NULL,
    dimension_set    smallint     NOT NULL,
    bucket           timestamptz  NOT NULL,
    dims_id          uuid         NOT NULL,
    subject          text         NOT NULL,
    server           text         NOT NULL,
    name             text         NOT NULL,
    outcome          text         NOT NULL,
    status_code      smallint,
    principal        text         NOT NULL,
    client_name      text         NOT NULL,
    client_version   text         NOT NULL,
    calls            bigint       NOT NULL,
    duration_count   bigint       NOT NULL,
    duration_sum_us  numeric      NOT NULL,
    duration_min_us  bigint,
    duration_max_us  bigint,
    response_bytes   numeric      NOT NULL,
    latency_bins     bytea        NOT NULL,
    touched_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE mcp.rollups_hour ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('mcp.rollups_hour', 'month', 2, 395, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE mcp.rollups_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.rollups_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_hour_tenant ON mcp.rollups_hour FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_hour_system ON mcp.rollups_hour TO nexus_system USING (true);
GRANT SELECT ON mcp.rollups_hour TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON mcp.rollups_hour TO nexus_system;

-- mcp.rollups_day: sums per day of UTC, by set of dimensions.
-- requires: platform.current_organization_id
-- The sets are those of nexus.mcp.types.CUBE: a dimension that a set does not keep apart is empty in its rows.
CREATE TABLE mcp.rollups_day (
    organization_id  uuid         NOT NULL,
    dimension_set    smallint     NOT NULL,
    bucket           timestamptz  NOT NULL,
    dims_id          uuid         NOT NULL,
    subject          text         NOT NULL,
    server           text         NOT NULL,
    name             text         NOT NULL,
    outcome          text         NOT NULL,
    status_code      smallint,
    principal        text         NOT NULL,
    client_name      text         NOT NULL,
    client_version   text         NOT NULL,
    calls            bigint       NOT NULL,
    duration_count   bigint       NOT NULL,
    duration_sum_us  numeric      NOT NULL,
    duration_min_us  bigint,
    duration_max_us  bigint,
    response_bytes   numeric      NOT NULL,
    latency_bins     bytea        NOT NULL,
    touched_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE mcp.rollups_day ALTER COLUMN latency_bins SET STORAGE MAIN;

ALTER TABLE mcp.rollups_day ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.rollups_day FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_day_tenant ON mcp.rollups_day FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_day_system ON mcp.rollups_day TO nexus_system USING (true);
GRANT SELECT ON mcp.rollups_day TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON mcp.rollups_day TO nexus_system;

-- mcp.stage_requests_v1: makes the transaction's temporary table staged_requests, into which the writer copies records.
-- Columns are nexus.contracts.mcp_requests.MCP_REQUEST_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION mcp.stage_requests_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_requests (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        server text NOT NULL,
        method text NOT NULL,
        target text NOT NULL,
        outcome text NOT NULL,
        status_code smallint,
        principal text NOT NULL,
        client_name text NOT NULL,
        client_version text NOT NULL,
        application text NOT NULL,
        user_ref text NOT NULL,
        key_id uuid,
        duration_us bigint,
        queue_us bigint,
        processing_us bigint,
        request_bytes bigint NOT NULL,
        response_bytes bigint NOT NULL,
        http_method text,
        path text,
        query jsonb,
        request_headers jsonb,
        response_headers jsonb,
        request_body jsonb,
        response_body jsonb,
        error_type text,
        error_code text,
        error_message text,
        correlation_id text,
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
REVOKE ALL ON FUNCTION mcp.stage_requests_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.stage_requests_v1() TO nexus_writer;

-- mcp.store_tool_calls_v1: stores the staged tool calls once each and journals their sums, in the caller's transaction.
-- requires: mcp.tool_calls, mcp.rollup_journal, metering.keep_new_records_v1, metering.latency_bin_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
CREATE OR REPLACE FUNCTION mcp.store_tool_calls_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('tool_call', 'staged_tool_calls', 'mcp.tool_calls');
BEGIN
    -- What is left in the staging table is what was stored.
    INSERT INTO mcp.rollup_journal (
        organization_id, minute, subject, server, name, outcome, status_code, principal, client_name, client_version, bin,
        calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes
    )
    SELECT
        s.organization_id, date_bin('1 minute', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'),
        'tool', s.server, s.tool, s.outcome, NULL::smallint, s.principal, s.client_name, s.client_version,
        metering.latency_bin_v1(s.duration_us), count(*), count(s.duration_us), coalesce(sum(s.duration_us), 0),
        min(s.duration_us), max(s.duration_us), sum(s.response_bytes)
    FROM pg_temp.staged_tool_calls AS s
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION mcp.store_tool_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.store_tool_calls_v1() TO nexus_writer;

-- mcp.store_requests_v1: stores the staged requests once each and journals their sums, in the caller's transaction.
-- requires: mcp.requests, mcp.rollup_journal, metering.keep_new_records_v1, metering.latency_bin_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
CREATE FUNCTION mcp.store_requests_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('mcp_request', 'staged_requests', 'mcp.requests');
BEGIN
    -- What is left in the staging table is what was stored.
    INSERT INTO mcp.rollup_journal (
        organization_id, minute, subject, server, name, outcome, status_code, principal, client_name, client_version, bin,
        calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes
    )
    SELECT
        s.organization_id, date_bin('1 minute', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'),
        'request', s.server, s.method, s.outcome, s.status_code, s.principal, s.client_name, s.client_version,
        metering.latency_bin_v1(s.duration_us), count(*), count(s.duration_us), coalesce(sum(s.duration_us), 0),
        min(s.duration_us), max(s.duration_us), sum(s.response_bytes)
    FROM pg_temp.staged_requests AS s
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION mcp.store_requests_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.store_requests_v1() TO nexus_writer;

-- mcp.find_tool_calls_v1: keys of the tool calls whose parameters hold what is given (`@>`), newest first.
-- requires: mcp.tool_calls, platform.current_organization_id
-- Runs as its owner: under row-level security PostgreSQL does not use the index of the parameters, as `@>` might leak
-- what it looks at. The organization is the transaction's own and nothing else; without one nothing is found. Servers,
-- tools and outcomes narrow it where they are not NULL; `before_at`, `before_id` are of the last call seen.
CREATE FUNCTION mcp.find_tool_calls_v1(
    wanted jsonb, servers text[], tools text[], outcomes text[], since timestamptz, until timestamptz,
    before_at timestamptz, before_id uuid, at_most integer
) RETURNS TABLE (found_at timestamptz, found_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT c.key_at, c.id
    FROM mcp.tool_calls AS c
    WHERE c.organization_id = (SELECT platform.current_organization_id())
      AND c.parameters @> wanted AND c.parameters IS NOT NULL
      AND c.occurred_at >= since AND c.occurred_at < until
      AND (servers IS NULL OR c.server = ANY (servers))
      AND (tools IS NULL OR c.tool = ANY (tools))
      AND (outcomes IS NULL OR c.outcome = ANY (outcomes))
      AND (before_at IS NULL OR (c.occurred_at, c.id) < (before_at, before_id))
    ORDER BY c.occurred_at DESC, c.id DESC
    LIMIT at_most
$$;
ALTER FUNCTION mcp.find_tool_calls_v1(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION mcp.find_tool_calls_v1(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.find_tool_calls_v1(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) TO nexus_service;
RESET ROLE;

REVOKE CREATE ON SCHEMA mcp FROM nexus_system;
