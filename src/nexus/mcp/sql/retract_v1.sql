-- mcp.retract_v1: takes back stored tool calls or requests that the gateway tells better, and their sums.
-- requires: mcp.tool_calls, mcp.requests, mcp.rollup_journal, metering.latency_bin_v1, platform.writer_organization_ids
-- Only the organizations whose records the transaction stores; what this very transaction stored (`staged`) is not in the journal yet,
-- and is only deleted. Least and most of a duration stay as they are: they cannot be taken back. Runs as nexus_system, as the
-- writer may delete nothing.
CREATE FUNCTION mcp.retract_v1(what text, organization_ids uuid[], key_ats timestamptz[], record_ids uuid[], staged uuid[])
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT organization_ids <@ coalesce(platform.writer_organization_ids(), '{}') THEN
        RAISE EXCEPTION 'records of an organization that does not store here' USING ERRCODE = '42501';
    END IF;
    WITH doomed AS (
        SELECT d.organization_id, d.key_at, d.id FROM unnest(organization_ids, key_ats, record_ids) AS d (organization_id, key_at, id)
    ), calls AS (
        DELETE FROM mcp.tool_calls AS c USING doomed AS d
        WHERE what = 'tool' AND c.organization_id = d.organization_id AND c.key_at = d.key_at AND c.id = d.id
        RETURNING c.organization_id, c.id, c.occurred_at, c.server, c.tool AS name, c.outcome, NULL::smallint AS status_code,
                  c.principal, c.client_name, c.client_version, c.duration_us, c.response_bytes
    ), requests AS (
        DELETE FROM mcp.requests AS c USING doomed AS d
        WHERE what = 'request' AND c.organization_id = d.organization_id AND c.key_at = d.key_at AND c.id = d.id
        RETURNING c.organization_id, c.id, c.occurred_at, c.server, c.method AS name, c.outcome, c.status_code,
                  c.principal, c.client_name, c.client_version, c.duration_us, c.response_bytes
    ), gone AS (
        SELECT * FROM calls UNION ALL SELECT * FROM requests
    )
    INSERT INTO mcp.rollup_journal (
        organization_id, minute, subject, server, name, outcome, status_code, principal, client_name, client_version, bin,
        calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes
    )
    SELECT
        g.organization_id, date_bin('1 minute', g.occurred_at, timestamptz '2000-01-01 00:00:00+00'), what, g.server, g.name,
        g.outcome, g.status_code, g.principal, g.client_name, g.client_version, metering.latency_bin_v1(g.duration_us),
        -1, -(g.duration_us IS NOT NULL)::int, -coalesce(g.duration_us, 0), NULL, NULL, -g.response_bytes
    FROM gone AS g
    WHERE g.id <> ALL (staged);
END
$$;
ALTER FUNCTION mcp.retract_v1(text, uuid[], timestamptz[], uuid[], uuid[]) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION mcp.retract_v1(text, uuid[], timestamptz[], uuid[], uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.retract_v1(text, uuid[], timestamptz[], uuid[], uuid[]) TO nexus_writer;
RESET ROLE;
