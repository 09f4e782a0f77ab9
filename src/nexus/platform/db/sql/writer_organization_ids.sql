-- platform.writer_organization_ids: the organizations whose records the transaction may store; empty when none is set.
CREATE FUNCTION platform.writer_organization_ids() RETURNS uuid[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT string_to_array(NULLIF(current_setting('app.organization_ids', true), ''), ',')::uuid[] $$;
REVOKE ALL ON FUNCTION platform.writer_organization_ids() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.writer_organization_ids() TO nexus_writer, nexus_system;
