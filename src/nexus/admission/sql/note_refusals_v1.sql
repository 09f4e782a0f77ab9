-- admission.note_refusals_v1: takes the counts of refused calls of one process, as they stand; a JSON array of rows of admission.refusals.
-- requires: admission.refusals, identity.organizations
-- Told again it changes nothing: of two counts of one minute the larger one holds. What an organization had that is gone is nobody's.
-- Sorted, so that processes that tell at once wait for each other in one order. Runs as its caller.
CREATE FUNCTION admission.note_refusals_v1(process uuid, counts jsonb) RETURNS integer
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    noted integer;
BEGIN
    PERFORM platform.ensure_partition_v1('admission.refusals', m.month)
    FROM (SELECT DISTINCT date_trunc('month', (c ->> 'minute')::timestamptz, 'UTC') AS month FROM jsonb_array_elements(counts) AS c) AS m;
    INSERT INTO admission.refusals AS r
        (organization_id, minute, bucket, kind, key_id, application, process, limit_name, scope, subject, dimension, calls,
         retry_after_ms, last_at)
    SELECT c.organization_id, c.minute, c.bucket, c.kind, c.key_id, c.application, note_refusals_v1.process, c.limit_name, c.scope,
           c.subject, c.dimension, c.calls, c.retry_after_ms, c.last_at
    FROM jsonb_to_recordset(counts) AS c
        (organization_id uuid, minute timestamptz, bucket text, kind text, key_id uuid, application text, limit_name text, scope text,
         subject text, dimension text, calls bigint, retry_after_ms bigint, last_at timestamptz)
    JOIN identity.organizations AS o ON o.id = c.organization_id
    ORDER BY c.organization_id, c.minute, c.bucket, c.kind, c.key_id, c.application
    ON CONFLICT ON CONSTRAINT refusals_pkey DO UPDATE
    SET calls = greatest(r.calls, excluded.calls), retry_after_ms = excluded.retry_after_ms, last_at = greatest(r.last_at, excluded.last_at);
    GET DIAGNOSTICS noted = ROW_COUNT;
    RETURN noted;
END
$$;
REVOKE ALL ON FUNCTION admission.note_refusals_v1(uuid, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admission.note_refusals_v1(uuid, jsonb) TO nexus_system;
