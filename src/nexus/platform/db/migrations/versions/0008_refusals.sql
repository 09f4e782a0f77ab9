-- Counts of refused calls. Frozen: later changes come as later revisions.
-- admission.refusals: calls that a limit refused, or in shadow mode would have, counted by minute and by who asked; cut by month.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Each deciding process tells its own counts of a minute, as they stand, until the minute is over: the larger one holds, so that
-- what is told twice counts once. `bucket` is the limit's id, or it, a colon and whose it is; a colon and nothing is all whose
-- count found no room of its own.
CREATE TABLE admission.refusals (
    organization_id  uuid         NOT NULL,
    minute           timestamptz  NOT NULL,
    bucket           text         NOT NULL,
    kind             text         NOT NULL CONSTRAINT refusals_kind CHECK (kind IN ('refused', 'impossible', 'unavailable', 'shadow')),
    -- NULL has no place in a key: of nobody's key it is all zeros.
    key_id           uuid         NOT NULL,
    application      text         NOT NULL,
    process          uuid         NOT NULL,
    limit_name       text         NOT NULL,
    scope            text         NOT NULL,
    subject          text         NOT NULL,
    dimension        text         NOT NULL,
    calls            bigint       NOT NULL CONSTRAINT refusals_calls CHECK (calls > 0),
    -- What was last said of when to try again; NULL where waiting does not help, and of what only would have been refused.
    retry_after_ms   bigint,
    last_at          timestamptz  NOT NULL,
    PRIMARY KEY (organization_id, minute, bucket, kind, key_id, application, process)
) PARTITION BY RANGE (minute);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days)
VALUES ('admission.refusals', 'month', 3, 90);
ALTER TABLE admission.refusals ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.refusals FORCE ROW LEVEL SECURITY;
CREATE POLICY refusals_tenant ON admission.refusals FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY refusals_system ON admission.refusals TO nexus_system USING (true);
GRANT SELECT ON admission.refusals TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE (calls, retry_after_ms, last_at) ON admission.refusals TO nexus_system;

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
