-- platform.drop_partitions_v1: drops the partitions of a table that end at or before an instant.
-- requires: platform.partitioned_tables
-- Owned by nexus_owner, who alone can drop, and whom forced row-level security shows no rows: so it does not count them.
-- It returns the names and the planner's estimates; whoever calls it counts first, as nexus_system.
CREATE FUNCTION platform.drop_partitions_v1(parent text, before timestamptz)
    RETURNS TABLE (partition_name text, estimated_rows bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    known platform.partitioned_tables%ROWTYPE;
    item  record;
    low   timestamptz;
BEGIN
    SELECT * INTO known FROM platform.partitioned_tables AS t WHERE t.table_name = parent;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no partitioned table is named %', parent USING ERRCODE = 'undefined_table';
    END IF;
    IF before > now() - interval '1 day' THEN
        RAISE EXCEPTION 'only what is older than a day may be dropped, not what is before %', before
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.partition.' || parent, 0));
    FOR item IN
        SELECT n.nspname, c.relname, greatest(c.reltuples, 0)::bigint AS estimate,
               substring(c.relname FROM '_([0-9]{6,8})$') AS stamp
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE i.inhparent = to_regclass(parent)
        ORDER BY c.relname
    LOOP
        low := to_timestamp(item.stamp, CASE known.width WHEN 'day' THEN 'YYYYMMDD' ELSE 'YYYYMM' END);
        IF low + ('1 ' || known.width)::interval <= before THEN
            EXECUTE format('DROP TABLE %I.%I', item.nspname, item.relname);
            partition_name := item.nspname || '.' || item.relname;
            estimated_rows := item.estimate;
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION platform.drop_partitions_v1(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.drop_partitions_v1(text, timestamptz) TO nexus_system;
