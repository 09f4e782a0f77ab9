-- What keeps the pages about errors and tools quick with a million errors and ten thousand tools.
GRANT CREATE ON SCHEMA issues, mcp TO nexus_system;
-- issues.find_v2: issues whose errors have these words, in the form of a web search: no more than so many, some of them twice.
-- requires: issues.causes, platform.current_organization_id
-- Runs as its owner: under row-level security PostgreSQL does not use the index of the words, as `@@` might leak what it looks
-- at. The organization is the transaction's own and nothing else; without one nothing is found. Who gets as many as were asked
-- for goes through the list in its order instead, and looks at the words of each: what is in everything is soon found there.
CREATE FUNCTION issues.find_v2(words text, at_most integer) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT c.issue_id
    FROM issues.causes AS c
    WHERE c.organization_id = (SELECT platform.current_organization_id())
      AND c.search @@ websearch_to_tsquery('simple', words)
    LIMIT at_most
$$;
ALTER FUNCTION issues.find_v2(text, integer) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION issues.find_v2(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.find_v2(text, integer) TO nexus_service;
RESET ROLE;
-- mcp.find_tool_calls_v2: keys of the tool calls whose parameters hold what is given (`@>`), newest first.
-- requires: mcp.tool_calls, platform.current_organization_id
-- Runs as its owner: under row-level security PostgreSQL does not use the index of the parameters, as `@>` might leak
-- what it looks at. The organization is the transaction's own and nothing else; without one nothing is found. Servers,
-- tools and outcomes narrow it where they are not NULL; `before_at`, `before_id` are of the last call seen.
-- First it looks through the newest 5,000 calls of the tools: what many calls hold is soon found there, and few calls are soon
-- looked through. Only where these are many and do not fill the page the index of the parameters is asked, for what few hold.
CREATE FUNCTION mcp.find_tool_calls_v2(
    wanted jsonb, servers text[], tools text[], outcomes text[], since timestamptz, until timestamptz,
    before_at timestamptz, before_id uuid, at_most integer
) RETURNS TABLE (found_at timestamptz, found_id uuid)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    owner      uuid := platform.current_organization_id();
    looked_at  bigint;
    found      bigint;
    near       text := 'c.organization_id = $1 AND c.occurred_at >= $5 AND c.occurred_at < $6'
                       || CASE WHEN cardinality(tools) = 1 THEN ' AND c.tool = $3[1]'
                               WHEN tools IS NULL THEN '' ELSE ' AND c.tool = ANY ($3)' END
                       || CASE WHEN before_at IS NULL THEN '' ELSE ' AND (c.occurred_at, c.id) < ($7, $8)' END;
    matches    text := 'c.parameters @> $9 AND c.parameters IS NOT NULL'
                       || CASE WHEN servers IS NULL THEN '' ELSE ' AND c.server = ANY ($2)' END
                       || CASE WHEN outcomes IS NULL THEN '' ELSE ' AND c.outcome = ANY ($4)' END;
    newest     text := ' ORDER BY c.occurred_at DESC, c.id DESC LIMIT ';
    columns    text := 'c.key_at, c.id, c.occurred_at, c.server, c.outcome, c.parameters';
    looked     text := 'SELECT ' || columns || ' FROM mcp.tool_calls AS c WHERE ' || near || newest || '5000';
BEGIN
    EXECUTE 'SELECT count(*), count(*) FILTER (WHERE ' || matches || ') FROM (' || looked || ') AS c'
    INTO looked_at, found USING owner, servers, tools, outcomes, since, until, before_at, before_id, wanted;
    -- Materialized: the index of the parameters is to be used, and not that of the order.
    RETURN QUERY EXECUTE 'WITH fit AS MATERIALIZED (' ||
        CASE WHEN looked_at < 5000 OR found >= at_most THEN 'SELECT c.* FROM (' || looked || ') AS c WHERE ' || matches
             ELSE 'SELECT ' || columns || ' FROM mcp.tool_calls AS c WHERE ' || near || ' AND ' || matches END
        || ') SELECT c.key_at, c.id FROM fit AS c' || newest || '$10'
    USING owner, servers, tools, outcomes, since, until, before_at, before_id, wanted, at_most;
END
$$;
ALTER FUNCTION mcp.find_tool_calls_v2(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION mcp.find_tool_calls_v2(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.find_tool_calls_v2(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer) TO nexus_service;
RESET ROLE;
REVOKE CREATE ON SCHEMA issues, mcp FROM nexus_system;
DROP FUNCTION issues.find_v1(text);
DROP FUNCTION mcp.find_tool_calls_v1(jsonb, text[], text[], text[], timestamptz, timestamptz, timestamptz, uuid, integer);

CREATE INDEX issues_category_idx ON issues.issues (organization_id, category);
CREATE INDEX rollups_quarter_hour_name_idx ON mcp.rollups_quarter_hour (organization_id, dimension_set, server, name, bucket);
CREATE INDEX rollups_hour_name_idx ON mcp.rollups_hour (organization_id, dimension_set, server, name, bucket);
CREATE INDEX rollups_day_name_idx ON mcp.rollups_day (organization_id, dimension_set, server, name, bucket);
CREATE INDEX rollups_day_rank_idx ON mcp.rollups_day (organization_id, dimension_set, bucket)
    INCLUDE (subject, server, name, outcome, calls, duration_count, duration_sum_us, response_bytes);
CREATE INDEX tool_calls_principal_idx ON mcp.tool_calls (organization_id, principal, client_name, occurred_at);

-- metering.fold_rollups_v1: moves up to so many rows of a journal into its rollups of all levels; tells how many it moved.
-- requires: metering.dims_id_v1, metering.merge_bins_v1, platform.ensure_partition_v1
-- What fold_journal_v1 does for API calls, whose many sums it spells out, this does for any journal: its dimensions,
-- measures and sets are given. `cube` names the journal, the prefix of the rollups and the table of horizons;
-- `dimensions` and their types; `measures` and how each is merged (sum, min, max); `counted`, the measure that counts what
-- a row is about, so that of a row with a bin it is the bin's count; `sets`, the dimensions that each set keeps apart. Days are days of UTC.
-- -1 when another node is folding this journal. Runs as nexus_system: the cube is written into statements, and only what
-- is quoted or one of a few words comes from it. One statement takes rows out of the journal and adds them to the
-- rollups, so whoever reads both in one snapshot always sees each record once.
CREATE OR REPLACE FUNCTION metering.fold_rollups_v1(cube jsonb, max_rows integer) RETURNS integer
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
                SELECT organization_id, dimension_set, bucket, dims_id, %3$s, %4$s,
                       -- Most rows are of one call; to call a function for each takes many times longer than all else.
                       CASE WHEN length(latency_bins) = 10 AND substr(latency_bins, 3) <> '\x0000000000000000' THEN latency_bins
                            ELSE metering.merge_bins_v1(latency_bins) END
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

-- The sets that keep clients, servers or principals apart and nothing else are summed up once from one that keeps them all.
SET ROLE nexus_system;
INSERT INTO mcp.rollups_minute (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 5, r.bucket, metering.dims_id_v1(ROW(r.subject, ''::text, ''::text, r.outcome, NULL::smallint, r.principal, ''::text, ''::text)::text), r.subject, ''::text, ''::text, r.outcome, NULL::smallint, r.principal, ''::text, ''::text,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_minute AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.principal;
INSERT INTO mcp.rollups_minute (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 6, r.bucket, metering.dims_id_v1(ROW(r.subject, ''::text, ''::text, r.outcome, NULL::smallint, ''::text, r.client_name, r.client_version)::text), r.subject, ''::text, ''::text, r.outcome, NULL::smallint, ''::text, r.client_name, r.client_version,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_minute AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.client_name, r.client_version;
INSERT INTO mcp.rollups_minute (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 7, r.bucket, metering.dims_id_v1(ROW(r.subject, r.server, ''::text, r.outcome, NULL::smallint, ''::text, ''::text, ''::text)::text), r.subject, r.server, ''::text, r.outcome, NULL::smallint, ''::text, ''::text, ''::text,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_minute AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.server;
INSERT INTO mcp.rollups_quarter_hour (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 5, r.bucket, metering.dims_id_v1(ROW(r.subject, ''::text, ''::text, r.outcome, NULL::smallint, r.principal, ''::text, ''::text)::text), r.subject, ''::text, ''::text, r.outcome, NULL::smallint, r.principal, ''::text, ''::text,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_quarter_hour AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.principal;
INSERT INTO mcp.rollups_quarter_hour (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 6, r.bucket, metering.dims_id_v1(ROW(r.subject, ''::text, ''::text, r.outcome, NULL::smallint, ''::text, r.client_name, r.client_version)::text), r.subject, ''::text, ''::text, r.outcome, NULL::smallint, ''::text, r.client_name, r.client_version,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_quarter_hour AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.client_name, r.client_version;
INSERT INTO mcp.rollups_quarter_hour (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 7, r.bucket, metering.dims_id_v1(ROW(r.subject, r.server, ''::text, r.outcome, NULL::smallint, ''::text, ''::text, ''::text)::text), r.subject, r.server, ''::text, r.outcome, NULL::smallint, ''::text, ''::text, ''::text,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_quarter_hour AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.server;
INSERT INTO mcp.rollups_hour (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 5, r.bucket, metering.dims_id_v1(ROW(r.subject, ''::text, ''::text, r.outcome, NULL::smallint, r.principal, ''::text, ''::text)::text), r.subject, ''::text, ''::text, r.outcome, NULL::smallint, r.principal, ''::text, ''::text,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_hour AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.principal;
INSERT INTO mcp.rollups_hour (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 6, r.bucket, metering.dims_id_v1(ROW(r.subject, ''::text, ''::text, r.outcome, NULL::smallint, ''::text, r.client_name, r.client_version)::text), r.subject, ''::text, ''::text, r.outcome, NULL::smallint, ''::text, r.client_name, r.client_version,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_hour AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.client_name, r.client_version;
INSERT INTO mcp.rollups_hour (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 7, r.bucket, metering.dims_id_v1(ROW(r.subject, r.server, ''::text, r.outcome, NULL::smallint, ''::text, ''::text, ''::text)::text), r.subject, r.server, ''::text, r.outcome, NULL::smallint, ''::text, ''::text, ''::text,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_hour AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.server;
INSERT INTO mcp.rollups_day (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 5, r.bucket, metering.dims_id_v1(ROW(r.subject, ''::text, ''::text, r.outcome, NULL::smallint, r.principal, ''::text, ''::text)::text), r.subject, ''::text, ''::text, r.outcome, NULL::smallint, r.principal, ''::text, ''::text,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_day AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.principal;
INSERT INTO mcp.rollups_day (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 6, r.bucket, metering.dims_id_v1(ROW(r.subject, ''::text, ''::text, r.outcome, NULL::smallint, ''::text, r.client_name, r.client_version)::text), r.subject, ''::text, ''::text, r.outcome, NULL::smallint, ''::text, r.client_name, r.client_version,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_day AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.client_name, r.client_version;
INSERT INTO mcp.rollups_day (organization_id, dimension_set, bucket, dims_id, subject, server, name, outcome, status_code, principal, client_name,
                                 client_version, calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes, latency_bins)
SELECT r.organization_id, 7, r.bucket, metering.dims_id_v1(ROW(r.subject, r.server, ''::text, r.outcome, NULL::smallint, ''::text, ''::text, ''::text)::text), r.subject, r.server, ''::text, r.outcome, NULL::smallint, ''::text, ''::text, ''::text,
       sum(r.calls), sum(r.duration_count), sum(r.duration_sum_us), min(r.duration_min_us), max(r.duration_max_us), sum(r.response_bytes),
       metering.merge_bins_v1(string_agg(r.latency_bins, ''::bytea))
FROM mcp.rollups_day AS r WHERE r.dimension_set = 4
GROUP BY r.organization_id, r.bucket, r.subject, r.outcome, r.server;
RESET ROLE;
