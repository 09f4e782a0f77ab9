-- MCP servers behind the gateway, and which of them and of their tools a key may use. Frozen: later changes come as later revisions.
GRANT CREATE ON SCHEMA mcp TO nexus_system;
-- mcp.servers: MCP servers that an organization offers through the gateway. The secret is sealed (platform/sealing.py).
-- requires: identity.organizations
-- A server with a command is a program on Nexus's own machine: who may define one, mcp/servers.py says.
CREATE TABLE mcp.servers (
    id               uuid            NOT NULL,
    organization_id  uuid            NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    name             text            NOT NULL CONSTRAINT servers_name_form CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'),
    description      text            NOT NULL DEFAULT '' CONSTRAINT servers_description_length CHECK (length(description) <= 1000),
    transport        text            NOT NULL CONSTRAINT servers_transport CHECK (transport IN ('streamable_http', 'stdio')),
    url              text            CONSTRAINT servers_url_form CHECK (url ~ '^https?://[^/?#@\s]+(/[^?#\s]*)?$' AND length(url) <= 500),
    command          text[]          CONSTRAINT servers_command_size CHECK (cardinality(command) BETWEEN 1 AND 50),
    auth_form        text            NOT NULL DEFAULT 'none'
                                     CONSTRAINT servers_auth_form CHECK (auth_form IN ('bearer', 'x-api-key', 'api-key', 'basic', 'none')),
    prefix           text            NOT NULL DEFAULT '' CONSTRAINT servers_prefix_length CHECK (length(prefix) <= 16),
    variables        text[]          NOT NULL DEFAULT '{}',
    sealed           bytea,
    timeout_seconds  integer         NOT NULL DEFAULT 300 CONSTRAINT servers_timeout CHECK (timeout_seconds BETWEEN 1 AND 3600),
    price            numeric(20,10)  CONSTRAINT servers_price CHECK (price BETWEEN 0 AND 1000000),
    tool_prices      jsonb           NOT NULL DEFAULT '{}' CONSTRAINT servers_tool_prices CHECK (jsonb_typeof(tool_prices) = 'object'),
    is_enabled       boolean         NOT NULL DEFAULT true,
    created_by       uuid,
    created_at       timestamptz     NOT NULL DEFAULT now(),
    updated_at       timestamptz     NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT servers_name UNIQUE (organization_id, name),
    CONSTRAINT servers_way CHECK (
        (transport = 'streamable_http' AND url IS NOT NULL AND command IS NULL)
        OR (transport = 'stdio' AND url IS NULL AND command IS NOT NULL AND auth_form = 'none'))
);
ALTER TABLE mcp.servers ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.servers FORCE ROW LEVEL SECURITY;
CREATE POLICY servers_tenant ON mcp.servers TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY servers_system ON mcp.servers TO nexus_system USING (true);
-- The service may write a sealed secret but never reads one back.
GRANT INSERT, DELETE,
    UPDATE (name, description, url, command, auth_form, prefix, variables, sealed, timeout_seconds, price, tool_prices,
            is_enabled, updated_at),
    SELECT (id, organization_id, name, description, transport, url, command, auth_form, prefix, variables, timeout_seconds,
            price, tool_prices, is_enabled, created_by, created_at, updated_at)
    ON mcp.servers TO nexus_service;
GRANT SELECT (id, organization_id, name, description, transport, url, command, auth_form, prefix, variables, timeout_seconds,
              price, tool_prices, is_enabled, created_by, created_at, updated_at)
    ON mcp.servers TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON mcp.servers TO nexus_system;
CREATE TRIGGER servers_audit AFTER INSERT OR UPDATE OR DELETE ON mcp.servers
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('sealed');
CREATE TRIGGER servers_version AFTER INSERT OR UPDATE OR DELETE ON mcp.servers
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');

-- mcp.snapshot_servers_v1: every MCP server that may be called, its secret sealed, for the gateway's snapshot.
-- requires: mcp.servers
CREATE FUNCTION mcp.snapshot_servers_v1()
    RETURNS TABLE (id uuid, organization_id uuid, name text, transport text, url text, command text[], auth_form text,
                   sealed bytea, timeout_seconds integer, price text, tool_prices jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT s.id, s.organization_id, s.name, s.transport, s.url, s.command, s.auth_form, s.sealed, s.timeout_seconds,
           s.price::text, s.tool_prices
    FROM mcp.servers AS s
    JOIN identity.organizations AS o ON o.id = s.organization_id AND o.is_active
    WHERE s.is_enabled
$$;
REVOKE ALL ON FUNCTION mcp.snapshot_servers_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.snapshot_servers_v1() TO nexus_system;

ALTER TABLE identity.key_reaches ADD COLUMN mcp_servers text[], ADD COLUMN mcp_tools text[];
GRANT UPDATE (mcp_servers, mcp_tools) ON identity.key_reaches TO nexus_service;
DROP FUNCTION identity.snapshot_key_reaches_v1();
-- identity.snapshot_key_reaches_v1: what each access key may use through the gateway, for its snapshot.
-- requires: identity.key_reaches
-- A rotated key has the reach of the nearest key before it that has one, unless it has its own.
CREATE FUNCTION identity.snapshot_key_reaches_v1()
    RETURNS TABLE (key_id uuid, providers text[], models text[], endpoints text[], mcp_servers text[], mcp_tools text[])
    LANGUAGE sql STABLE
    AS $$
    WITH RECURSIVE lineage AS (
        SELECT r.organization_id, r.key_id, r.providers, r.models, r.endpoints, r.mcp_servers, r.mcp_tools, 0 AS distance
        FROM identity.key_reaches AS r
        UNION ALL
        SELECT l.organization_id, k.id, l.providers, l.models, l.endpoints, l.mcp_servers, l.mcp_tools, l.distance + 1
        FROM lineage AS l
        JOIN identity.access_keys AS k ON k.organization_id = l.organization_id AND k.rotated_from = l.key_id
        WHERE l.distance < 1000
    )
    SELECT DISTINCT ON (l.key_id) l.key_id, l.providers, l.models, l.endpoints, l.mcp_servers, l.mcp_tools
    FROM lineage AS l
    ORDER BY l.key_id, l.distance
$$;
REVOKE ALL ON FUNCTION identity.snapshot_key_reaches_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_key_reaches_v1() TO nexus_system;

CREATE INDEX requests_tool_lists_idx ON mcp.requests (organization_id, occurred_at) WHERE method = 'tools/list' AND response_body IS NOT NULL;

GRANT DELETE ON mcp.tool_calls TO nexus_system;
GRANT DELETE ON mcp.requests TO nexus_system;

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

-- mcp.store_tool_calls_v1: stores the staged tool calls once each and journals their sums, in the caller's transaction.
-- requires: mcp.tool_calls, mcp.rollup_journal, metering.keep_new_records_v1, metering.latency_bin_v1, mcp.settle_sightings_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
CREATE OR REPLACE FUNCTION mcp.store_tool_calls_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('tool_call', 'staged_tool_calls', 'mcp.tool_calls');
BEGIN
    duplicates := coalesce(duplicates, '{}') || mcp.settle_sightings_v1('tool');
    -- What is left in the staging table is what was stored and counts.
    INSERT INTO mcp.rollup_journal (
        organization_id, minute, subject, server, name, outcome, status_code, principal, client_name, client_version, bin,
        calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes
    )
    SELECT
        s.organization_id, date_bin('1 minute', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'),
        'tool', s.server, s.tool, s.outcome, NULL::smallint, s.principal, s.client_name, s.client_version,
        metering.latency_bin_v1(s.duration_us), count(*), count(s.duration_us), coalesce(sum(s.duration_us), 0),
        min(s.duration_us), max(s.duration_us), sum(s.response_bytes)
    FROM pg_temp.staged_tool_calls AS s
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION mcp.store_tool_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.store_tool_calls_v1() TO nexus_writer;

-- mcp.store_requests_v1: stores the staged requests once each and journals their sums, in the caller's transaction.
-- requires: mcp.requests, mcp.rollup_journal, metering.keep_new_records_v1, metering.latency_bin_v1, mcp.settle_sightings_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
CREATE OR REPLACE FUNCTION mcp.store_requests_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('mcp_request', 'staged_requests', 'mcp.requests');
BEGIN
    duplicates := coalesce(duplicates, '{}') || mcp.settle_sightings_v1('request');
    -- What is left in the staging table is what was stored and counts.
    INSERT INTO mcp.rollup_journal (
        organization_id, minute, subject, server, name, outcome, status_code, principal, client_name, client_version, bin,
        calls, duration_count, duration_sum_us, duration_min_us, duration_max_us, response_bytes
    )
    SELECT
        s.organization_id, date_bin('1 minute', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'),
        'request', s.server, s.method, s.outcome, s.status_code, s.principal, s.client_name, s.client_version,
        metering.latency_bin_v1(s.duration_us), count(*), count(s.duration_us), coalesce(sum(s.duration_us), 0),
        min(s.duration_us), max(s.duration_us), sum(s.response_bytes)
    FROM pg_temp.staged_requests AS s
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION mcp.store_requests_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.store_requests_v1() TO nexus_writer;

INSERT INTO identity.permissions (name, description) VALUES
    ('mcp_server:read', 'see MCP servers behind the gateway, never their secrets'),
    ('mcp_server:manage', 'add, change and remove MCP servers reached over HTTP'),
    ('mcp_server:run', 'say which programs Nexus starts as MCP servers on its own machine');
INSERT INTO identity.role_permissions (role_id, permission)
SELECT r.id, p.permission
FROM identity.roles AS r
JOIN (
    VALUES
        ('organization_owner', ARRAY['mcp_server:read', 'mcp_server:manage']),
        ('organization_admin', ARRAY['mcp_server:read', 'mcp_server:manage']),
        ('organization_member', ARRAY['mcp_server:read'])
) AS grants (role, permissions) ON grants.role = r.name
CROSS JOIN LATERAL unnest(grants.permissions) AS p (permission)
WHERE r.organization_id IS NULL;
REVOKE CREATE ON SCHEMA mcp FROM nexus_system;
