-- platform.audit_row_v1: row trigger that writes old and new row to the audit log; its arguments name masked columns.
-- requires: platform.audit_log
-- Only changed columns are kept of an update (with the key), so that the log tells what was done. Masked columns show that they changed, not what to.
-- A missing partition is made on the spot: an audited change must never fail for want of one, nor go unaudited.
CREATE FUNCTION platform.audit_row_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    whole   jsonb := coalesce(new_row, old_row);
    masked  text;
    before  jsonb;
    after   jsonb;
BEGIN
    IF TG_OP = 'UPDATE' AND old_row = new_row THEN
        RETURN NULL;
    END IF;
    before := old_row;
    after := new_row;
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, n.value) INTO before, after
        FROM jsonb_each(old_row) AS o JOIN jsonb_each(new_row) AS n ON n.key = o.key
        WHERE o.value IS DISTINCT FROM n.value;
    END IF;
    FOREACH masked IN ARRAY coalesce(TG_ARGV, '{}') LOOP
        IF before -> masked IS NOT NULL AND before -> masked <> 'null' THEN
            before := jsonb_set(before, ARRAY[masked], '"[masked]"');
        END IF;
        IF after -> masked IS NOT NULL AND after -> masked <> 'null' THEN
            after := jsonb_set(after, ARRAY[masked], '"[masked]"');
        END IF;
    END LOOP;
    PERFORM platform.ensure_partition_v1('platform.audit_log', clock_timestamp());
    INSERT INTO platform.audit_log (
        organization_id, table_name, action, row_id, old_row, new_row,
        actor_user_id, actor_key_id, actor_label, ip_address, user_agent, request_id
    ) VALUES (
        CASE WHEN TG_TABLE_SCHEMA = 'identity' AND TG_TABLE_NAME = 'organizations' THEN (whole ->> 'id')::uuid
             ELSE coalesce((whole ->> 'organization_id')::uuid,
                           NULLIF(current_setting('app.organization_id', true), '')::uuid) END,
        TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME,
        lower(TG_OP),
        coalesce(whole ->> 'id', whole ->> 'key', whole ->> 'user_id', whole ->> 'name'),
        before,
        after,
        NULLIF(current_setting('app.actor_user_id', true), '')::uuid,
        NULLIF(current_setting('app.actor_key_id', true), '')::uuid,
        coalesce(NULLIF(current_setting('app.actor_label', true), ''), session_user),
        NULLIF(current_setting('app.actor_ip', true), ''),
        NULLIF(current_setting('app.actor_user_agent', true), ''),
        NULLIF(current_setting('app.request_id', true), '')
    );
    RETURN NULL;
END
$$;
ALTER FUNCTION platform.audit_row_v1() OWNER TO nexus_system;
-- Its grants are now its new owner's to change. Whoever hangs a trigger on a table must be allowed to run the function.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION platform.audit_row_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.audit_row_v1() TO nexus_owner;
RESET ROLE;
