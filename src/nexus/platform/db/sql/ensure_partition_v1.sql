-- platform.ensure_partition_v1: makes the partition that holds an instant, if it is missing; tells whether it made one.
-- requires: platform.partitioned_tables
-- Owned by nexus_owner, the one exception among definer functions: only the owner of a table can attach to it. It takes
-- no name from its caller but one registered in platform.partitioned_tables, and nothing is granted on what it makes.
-- Two nodes at once: the second waits for the first's advisory lock and then finds the partition.
CREATE FUNCTION platform.ensure_partition_v1(parent text, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    known       platform.partitioned_tables%ROWTYPE;
    low         timestamptz;
    high        timestamptz;
    name        text;
    schema_name text := split_part(parent, '.', 1);
BEGIN
    SELECT * INTO known FROM platform.partitioned_tables AS t WHERE t.table_name = parent;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no partitioned table is named %', parent USING ERRCODE = 'undefined_table';
    END IF;
    IF at < timestamptz '1970-01-01 00:00:00+00' OR at > now() + interval '25 months' THEN
        RAISE EXCEPTION 'no partition of % may hold %', parent, at USING ERRCODE = 'datetime_field_overflow';
    END IF;
    low := date_trunc(known.width, at);
    high := low + ('1 ' || known.width)::interval;
    name := split_part(parent, '.', 2) || '_' || to_char(low, CASE known.width WHEN 'day' THEN 'YYYYMMDD' ELSE 'YYYYMM' END);
    IF to_regclass(format('%I.%I', schema_name, name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.partition.' || parent, 0));
    -- Read from the catalog with a new snapshot: the name cache may still hold that there was none.
    IF EXISTS (
        SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = schema_name AND c.relname = name
    ) THEN
        RETURN false;
    END IF;
    -- Made apart and attached: readers and writers of the parent are not held up.
    EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING GENERATED)%s',
                   schema_name, name, schema_name, split_part(parent, '.', 2),
                   CASE WHEN known.storage_options <> '' THEN ' WITH (' || known.storage_options || ')' ELSE '' END);
    EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                   schema_name, split_part(parent, '.', 2), schema_name, name, low, high);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION platform.ensure_partition_v1(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.ensure_partition_v1(text, timestamptz) TO nexus_writer, nexus_system;
