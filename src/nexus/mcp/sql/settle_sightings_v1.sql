-- mcp.settle_sightings_v1: of staged records that tell of a call the gateway tells of too, leaves the gateway's; in the caller's transaction.
-- requires: mcp.tool_calls, mcp.requests, mcp.retract_v1
-- The gateway continues a call's trace under a span of its own. A record of the server, which has the same trace and span, tells of the
-- same call: it does not count beside the gateway's, whichever comes first. `what` is `tool` or `request`. Returns the ordinals
-- of staged records that do not count; what was stored before is retracted. Runs as nexus_writer under its policies.
CREATE FUNCTION mcp.settle_sightings_v1(what text) RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    staging        text := CASE what WHEN 'tool' THEN 'pg_temp.staged_tool_calls' ELSE 'pg_temp.staged_requests' END;
    stored         text := CASE what WHEN 'tool' THEN 'mcp.tool_calls' ELSE 'mcp.requests' END;
    organizations  uuid[];
    traces         text[];
    doomed_of      uuid[];
    doomed_at      timestamptz[];
    doomed         uuid[];
    gone           integer[];
    staged         uuid[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(DISTINCT s.organization_id), array_agg(DISTINCT s.trace_id) FROM %s AS s
         WHERE s.trace_id IS NOT NULL AND s.span_id IS NOT NULL', staging
    ) INTO organizations, traces;
    IF traces IS NULL THEN
        RETURN '{}';
    END IF;
    -- Two transactions that tell of one call name its trace both: the second waits here, and then sees what the first wrote.
    PERFORM pg_advisory_xact_lock(1835233652, l.bucket)
    FROM (SELECT DISTINCT hashtext(t.trace_id) & 63 AS bucket FROM unnest(traces) AS t (trace_id) ORDER BY 1) AS l;

    EXECUTE format($q$
        SELECT array_agg(d.organization_id), array_agg(d.key_at), array_agg(d.id)
        FROM (
            SELECT DISTINCT c.organization_id, c.key_at, c.id
            FROM %1$s AS s
            JOIN %2$s AS g ON g.organization_id = s.organization_id AND g.trace_id = s.trace_id AND g.span_id = s.span_id
            JOIN %2$s AS c ON c.organization_id = s.organization_id AND c.trace_id = s.trace_id AND c.span_id = s.span_id
            WHERE s.trace_id IS NOT NULL AND s.span_id IS NOT NULL
              AND g.metadata ? 'gateway' AND NOT coalesce(c.metadata ? 'gateway', false)
        ) AS d $q$, staging, stored
    ) INTO doomed_of, doomed_at, doomed;
    IF doomed IS NULL THEN
        RETURN '{}';
    END IF;
    EXECUTE format($q$
        WITH dropped AS (
            DELETE FROM %s AS s USING unnest($1, $2) AS d (organization_id, id)
            WHERE s.organization_id = d.organization_id AND s.id = d.id
            RETURNING s.ordinal, s.id
        )
        SELECT coalesce(array_agg(x.ordinal), '{}'), coalesce(array_agg(x.id), '{}') FROM dropped AS x $q$, staging
    ) INTO gone, staged USING doomed_of, doomed;
    PERFORM mcp.retract_v1(what, doomed_of, doomed_at, doomed, staged);
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION mcp.settle_sightings_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.settle_sightings_v1(text) TO nexus_writer;
