-- mcp.settle_sightings_v1: of records that tell of one request, leaves the one that knows most; in the caller's transaction.
-- requires: mcp.tool_calls, mcp.requests, mcp.retract_v1
-- The gateway knows most, then the server's own middleware, then spans of instrumented clients and servers. `what` is `tool` or
-- `request`. A record is known by its *anchor*, the span of whoever asked: of the server's span its parent, of all others the span
-- they name. The gateway asks under a span of its own, and was asked in a span that is a request's only where a client's span says so.
-- A client that is not instrumented may ask many times in one span: there, middleware and server's span meet by the JSON-RPC id, too.
-- Whichever comes first. Returns the ordinals of staged records that do not count; what was stored before is retracted.
-- Runs as nexus_writer under its policies.
CREATE OR REPLACE FUNCTION mcp.settle_sightings_v1(what text) RETURNS integer[]
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
        WITH told AS MATERIALIZED (
            SELECT c.organization_id, c.key_at, c.id, c.trace_id, c.span_id, c.request_id,
                   c.metadata -> 'gateway' ->> 'parent_span_id' AS asked_in,
                   c.metadata -> 'otel' ->> 'side' AS side,
                   CASE WHEN c.metadata ? 'gateway' THEN 3 WHEN c.metadata ? 'otel' THEN 1 ELSE 2 END AS knows,
                   CASE WHEN c.metadata -> 'otel' ->> 'side' = 'server' THEN c.metadata -> 'otel' ->> 'parent_span_id'
                        ELSE c.span_id END AS anchor
            FROM (SELECT DISTINCT s.organization_id, s.trace_id FROM %1$s AS s WHERE s.trace_id IS NOT NULL AND s.span_id IS NOT NULL) AS t
            JOIN %2$s AS c ON c.organization_id = t.organization_id AND c.trace_id = t.trace_id
            WHERE c.span_id IS NOT NULL
        ), better AS (
            SELECT b.organization_id, b.trace_id, b.knows, b.request_id, b.span_id AS node, false AS is_clients FROM told AS b WHERE b.knows > 1
            UNION ALL
            SELECT b.organization_id, b.trace_id, b.knows, b.request_id, b.asked_in, true FROM told AS b WHERE b.asked_in IS NOT NULL
        )
        SELECT array_agg(d.organization_id), array_agg(d.key_at), array_agg(d.id)
        FROM (
            SELECT DISTINCT c.organization_id, c.key_at, c.id
            FROM better AS b
            JOIN told AS c ON c.organization_id = b.organization_id AND c.trace_id = b.trace_id AND c.anchor = b.node
            WHERE c.knows < b.knows
              AND CASE WHEN b.is_clients THEN c.side = 'client'
                       WHEN b.knows = 2 AND c.side = 'server' THEN c.request_id = b.request_id
                       ELSE true END
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
