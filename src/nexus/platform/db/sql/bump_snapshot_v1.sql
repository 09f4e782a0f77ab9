-- platform.bump_snapshot_v1: statement trigger that raises the version of the snapshot named in its argument.
-- requires: platform.snapshot_versions
-- The row stays locked until the change commits, so versions become visible in the order of commits.
CREATE FUNCTION platform.bump_snapshot_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO platform.snapshot_versions AS s (name) VALUES (TG_ARGV[0])
    ON CONFLICT (name) DO UPDATE SET version = s.version + 1, changed_at = now();
    RETURN NULL;
END
$$;
ALTER FUNCTION platform.bump_snapshot_v1() OWNER TO nexus_system;
-- Its grants are now its new owner's to change. Whoever hangs a trigger on a table must be allowed to run the function.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION platform.bump_snapshot_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.bump_snapshot_v1() TO nexus_owner;
RESET ROLE;
