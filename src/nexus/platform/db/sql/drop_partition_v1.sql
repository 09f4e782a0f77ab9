-- platform.drop_partition_v1: drops the one partition of a table that holds an instant; tells whether there was one.
-- requires: platform.partitioned_tables
-- For tables whose rows may come late: an old partition may be young in use, and then must not be dropped with its elders.
-- Owned by nexus_owner, as platform.drop_partitions_v1; whoever calls it has counted what is lost, as nexus_system.
CREATE FUNCTION platform.drop_partition_v1(parent text, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    known platform.partitioned_tables%ROWTYPE;
    high  timestamptz;
    name  text;
BEGIN
    SELECT * INTO known FROM platform.partitioned_tables AS t WHERE t.table_name = parent;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no partitioned table is named %', parent USING ERRCODE = 'undefined_table';
    END IF;
    high := date_trunc(known.width, at) + ('1 ' || known.width)::interval;
    IF high > now() - interval '1 day' THEN
        RAISE EXCEPTION 'only what is older than a day may be dropped, not what is before %', high
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    name := split_part(parent, '.', 2) || '_' || to_char(at, CASE known.width WHEN 'day' THEN 'YYYYMMDD' ELSE 'YYYYMM' END);
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.partition.' || parent, 0));
    IF NOT EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(parent) AND c.relname = name
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I.%I', split_part(parent, '.', 1), name);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION platform.drop_partition_v1(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.drop_partition_v1(text, timestamptz) TO nexus_system;
