-- mcp.requests: one row per request to an MCP server, immutable; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- Identity and key_at as in metering.calls, masking and principal as in mcp.tool_calls. A call of a tool may be here as the
-- request `tools/call` and in mcp.tool_calls as what the tool did: two things, counted apart.
CREATE TABLE mcp.requests (
    organization_id   uuid         NOT NULL,
    id                uuid         NOT NULL,
    key_at            timestamptz  NOT NULL,
    occurred_at       timestamptz  NOT NULL,
    received_at       timestamptz  NOT NULL,
    server            text         NOT NULL,
    method            text         NOT NULL,
    target            text         NOT NULL,
    outcome           text         NOT NULL,
    status_code       smallint,
    principal         text         NOT NULL,
    client_name       text         NOT NULL,
    client_version    text         NOT NULL,
    application       text         NOT NULL,
    user_ref          text         NOT NULL,
    key_id            uuid,
    duration_us       bigint,
    queue_us          bigint,
    processing_us     bigint,
    request_bytes     bigint       NOT NULL,
    response_bytes    bigint       NOT NULL,
    http_method       text,
    path              text,
    query             jsonb,
    request_headers   jsonb,
    response_headers  jsonb,
    request_body      jsonb,
    response_body     jsonb,
    error_type        text,
    error_code        text,
    error_message     text,
    correlation_id    text,
    end_user          text,
    protocol_version  text,
    transport         text,
    session_id        text,
    request_id        text,
    trace_id          text,
    span_id           text,
    environment       text,
    user_agent        text,
    ip_address        inet,
    tags              jsonb,
    metadata          jsonb,
    PRIMARY KEY (organization_id, key_at, id),
    CONSTRAINT requests_outcome CHECK (outcome IN ('ok', 'tool_error', 'protocol_error')),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT requests_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
-- Answers: the list of requests newest first, the edges of ranges below a minute.
CREATE INDEX requests_organization_id_occurred_at_id_idx ON mcp.requests (organization_id, occurred_at, id);
-- Answers: the list of failed requests newest first; they are few among many.
CREATE INDEX requests_failed_idx ON mcp.requests (organization_id, occurred_at, id) WHERE outcome <> 'ok';
-- Answers: which tools servers listed; few requests are lists.
CREATE INDEX requests_tool_lists_idx ON mcp.requests (organization_id, occurred_at) WHERE method = 'tools/list' AND response_body IS NOT NULL;
-- Answers: the requests of one trace.
CREATE INDEX requests_trace_id_idx ON mcp.requests (organization_id, trace_id) WHERE trace_id IS NOT NULL;

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('mcp.requests', 'month', 3, 90);

ALTER TABLE mcp.requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.requests FORCE ROW LEVEL SECURITY;
CREATE POLICY requests_tenant ON mcp.requests FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY requests_writer ON mcp.requests TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY requests_system ON mcp.requests TO nexus_system USING (true);
GRANT SELECT ON mcp.requests TO nexus_service, nexus_readonly, nexus_system;
GRANT DELETE ON mcp.requests TO nexus_system;
GRANT SELECT, INSERT ON mcp.requests TO nexus_writer;
