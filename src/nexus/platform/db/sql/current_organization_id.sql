-- platform.current_organization_id: the organization of the transaction, NULL when none is set.
-- After a transaction with SET LOCAL the setting is the empty string, which does not cast: hence NULLIF.
CREATE FUNCTION platform.current_organization_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.organization_id', true), '')::uuid $$;
REVOKE ALL ON FUNCTION platform.current_organization_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.current_organization_id()
    TO nexus_service, nexus_writer, nexus_system, nexus_readonly, nexus_backup;
