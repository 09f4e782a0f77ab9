-- issues.store_errors_v1: stores the staged errors once each, samples of them, and journals their sums, in the caller's transaction.
-- requires: issues.occurrences, issues.issues, issues.causes, issues.samples, issues.journal, metering.keep_new_records_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
-- The first error of a cause makes the cause and its issue here, so that a list shows them at once; counts come from the journal.
CREATE FUNCTION issues.store_errors_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('error', 'staged_errors', 'issues.occurrences');
BEGIN
    -- What is left in the staging table is what was stored. Sorted by key: whoever waits, waits in one order.
    WITH newest AS (
        SELECT DISTINCT ON (s.organization_id, s.fingerprint) s.*,
               min(s.occurred_at) OVER (PARTITION BY s.organization_id, s.fingerprint) AS first_seen
        FROM pg_temp.staged_errors AS s
        WHERE NOT EXISTS (SELECT FROM issues.causes AS c WHERE c.organization_id = s.organization_id AND c.fingerprint = s.fingerprint)
        ORDER BY s.organization_id, s.fingerprint, s.occurred_at DESC, s.id DESC
    ), made AS (
        INSERT INTO issues.causes (organization_id, fingerprint, issue_id, rule, normalised, title, error_type, culprit, first_seen, last_seen)
        SELECT n.organization_id, n.fingerprint, gen_random_uuid(), n.rule, n.normalised, n.message, n.error_type, n.culprit, n.first_seen, n.occurred_at
        FROM newest AS n
        ORDER BY n.organization_id, n.fingerprint
        ON CONFLICT DO NOTHING
        RETURNING organization_id, fingerprint, issue_id
    )
    INSERT INTO issues.issues (organization_id, id, title, error_type, culprit, level, category, severity, impact_level,
                               service, environment, service_version, first_seen, last_seen)
    SELECT m.organization_id, m.issue_id, n.message, n.error_type, n.culprit, n.level, n.category, n.severity, n.impact_level,
           n.service, n.environment, n.service_version, n.first_seen, n.occurred_at
    FROM made AS m JOIN newest AS n USING (organization_id, fingerprint);

    INSERT INTO issues.samples (
        organization_id, id, occurred_at, received_at, fingerprint, culprit, level, error_type, error_code, message, category, severity, impact_level, service, environment, service_version, application, user_ref, key_id, stack_trace, context, tool_context, deployment_id, handled, end_user, session_id, request_id, execution_id, trace_id, span_id, url, user_agent, ip_address, tags, metadata
    )
    SELECT
        organization_id, id, occurred_at, received_at, fingerprint, culprit, level, error_type, error_code, message, category, severity, impact_level, service, environment, service_version, application, user_ref, key_id, stack_trace, context, tool_context, deployment_id, handled, end_user, session_id, request_id, execution_id, trace_id, span_id, url, user_agent, ip_address, tags, metadata
    FROM (
        SELECT s.*, row_number() OVER (PARTITION BY s.organization_id, s.fingerprint ORDER BY s.occurred_at, s.id) AS from_first,
               row_number() OVER (PARTITION BY s.organization_id, s.fingerprint ORDER BY s.occurred_at DESC, s.id DESC) AS from_newest
        FROM pg_temp.staged_errors AS s
    ) AS t
    -- As issues.fold_v1 keeps them: the first 5 and the newest 25 of all are among those of each batch.
    WHERE t.from_first <= 5 OR t.from_newest <= 25
    ORDER BY t.organization_id, t.fingerprint, t.occurred_at, t.id
    ON CONFLICT DO NOTHING;

    INSERT INTO issues.journal (
        organization_id, fingerprint, hour, level, category, severity, impact_level, service, environment, service_version, application, met,
        occurrences, first_seen, last_seen
    )
    SELECT s.organization_id, s.fingerprint, date_bin('1 hour', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'), s.level, s.category,
           s.severity, s.impact_level, s.service, s.environment, s.service_version, s.application, coalesce(nullif(s.end_user, ''), s.user_ref),
           count(*), min(s.occurred_at), max(s.occurred_at)
    FROM pg_temp.staged_errors AS s
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION issues.store_errors_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.store_errors_v1() TO nexus_writer;
