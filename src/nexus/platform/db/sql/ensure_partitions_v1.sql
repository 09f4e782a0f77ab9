-- platform.ensure_partitions_v1: makes the partitions of this month and of those ahead, for every registered table.
-- requires: platform.ensure_partition_v1
-- Returns how many it made. A partition per day is made for two weeks ahead at most.
CREATE FUNCTION platform.ensure_partitions_v1() RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    made integer := 0;
    item record;
BEGIN
    FOR item IN
        SELECT t.table_name, step AS at
        FROM platform.partitioned_tables AS t,
             LATERAL generate_series(
                 now(),
                 CASE t.width WHEN 'month' THEN now() + make_interval(months => t.months_ahead) ELSE now() + interval '14 days' END,
                 ('1 ' || t.width)::interval
             ) AS step
        ORDER BY t.table_name, step
    LOOP
        IF platform.ensure_partition_v1(item.table_name, item.at) THEN
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION platform.ensure_partitions_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.ensure_partitions_v1() TO nexus_system;
