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
REVOKE ALL ON FUNCTION metering.fold_rollups_v1(jsonb, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.fold_rollups_v1(jsonb, integer) TO nexus_system;
