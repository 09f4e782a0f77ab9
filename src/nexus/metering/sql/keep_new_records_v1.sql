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
