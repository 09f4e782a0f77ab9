-- platform.record_action_v1: writes an action that changes no row (a sign-in, an export) to the audit log.
-- requires: platform.audit_log, platform.current_organization_id
-- The organization is the transaction's own; a caller cannot write into another's log.
CREATE FUNCTION platform.record_action_v1(action text, row_id text, detail jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM platform.ensure_partition_v1('platform.audit_log', clock_timestamp());
    INSERT INTO platform.audit_log (
        organization_id, action, row_id, new_row,
        actor_user_id, actor_key_id, actor_label, ip_address, user_agent, request_id
    ) VALUES (
        platform.current_organization_id(), action, row_id, detail,
        NULLIF(current_setting('app.actor_user_id', true), '')::uuid,
        NULLIF(current_setting('app.actor_key_id', true), '')::uuid,
        coalesce(NULLIF(current_setting('app.actor_label', true), ''), session_user),
        NULLIF(current_setting('app.actor_ip', true), ''),
        NULLIF(current_setting('app.actor_user_agent', true), ''),
        NULLIF(current_setting('app.request_id', true), '')
    );
END
$$;
ALTER FUNCTION platform.record_action_v1(text, text, jsonb) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION platform.record_action_v1(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.record_action_v1(text, text, jsonb) TO nexus_service, nexus_system;
RESET ROLE;
