-- mcp.tool_calls: one row per call of an MCP tool, immutable; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- Identity and key_at as in metering.calls. Parameters, response, message and stack are masked before they come here, and
-- the hash is one of the masked parameters. `principal` is who called: the user, else `key:` and the access key's id.
CREATE TABLE mcp.tool_calls (
    organization_id   uuid             NOT NULL,
    id                uuid             NOT NULL,
    key_at            timestamptz      NOT NULL,
    occurred_at       timestamptz      NOT NULL,
    received_at       timestamptz      NOT NULL,
    server            text             NOT NULL,
    tool              text             NOT NULL,
    outcome           text             NOT NULL,
    principal         text             NOT NULL,
    client_name       text             NOT NULL,
    client_version    text             NOT NULL,
    application       text             NOT NULL,
    user_ref          text             NOT NULL,
    key_id            uuid,
    duration_us       bigint,
    response_bytes    bigint           NOT NULL,
    memory_bytes      bigint,
    cpu_percent       double precision,
    cache_hit         boolean,
    parameters        jsonb,
    parameters_hash   text,
    response          jsonb,
    error_type        text,
    error_code        text,
    error_message     text,
    error_stack       text,
    server_version    text,
    tool_version      text,
    operation         text,
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
    CONSTRAINT tool_calls_outcome CHECK (outcome IN ('ok', 'tool_error', 'protocol_error')),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT tool_calls_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
-- Answers: the list of calls newest first, the edges of ranges below a minute.
CREATE INDEX tool_calls_organization_id_occurred_at_id_idx ON mcp.tool_calls (organization_id, occurred_at, id);
-- Answers: the calls of one tool newest first.
CREATE INDEX tool_calls_tool_idx ON mcp.tool_calls (organization_id, tool, occurred_at, id);
-- Answers: the list of failed calls newest first; they are few among many.
CREATE INDEX tool_calls_failed_idx ON mcp.tool_calls (organization_id, occurred_at, id) WHERE outcome <> 'ok';
-- Answers: what one principal called through one client around a time.
CREATE INDEX tool_calls_principal_idx ON mcp.tool_calls (organization_id, principal, client_name, occurred_at);
-- Answers: the tool calls of one trace.
CREATE INDEX tool_calls_trace_id_idx ON mcp.tool_calls (organization_id, trace_id) WHERE trace_id IS NOT NULL;
-- Answers: which calls had these parameters (`@>`), through mcp.find_tool_calls_v2.
CREATE INDEX tool_calls_parameters_idx ON mcp.tool_calls USING gin (parameters jsonb_path_ops) WHERE parameters IS NOT NULL;

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('mcp.tool_calls', 'month', 3, 90);

ALTER TABLE mcp.tool_calls ENABLE ROW LEVEL SECURITY;
ALTER TABLE mcp.tool_calls FORCE ROW LEVEL SECURITY;
CREATE POLICY tool_calls_tenant ON mcp.tool_calls FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY tool_calls_writer ON mcp.tool_calls TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY tool_calls_system ON mcp.tool_calls TO nexus_system USING (true);
GRANT SELECT ON mcp.tool_calls TO nexus_service, nexus_readonly, nexus_system;
GRANT DELETE ON mcp.tool_calls TO nexus_system;
GRANT SELECT, INSERT ON mcp.tool_calls TO nexus_writer;
