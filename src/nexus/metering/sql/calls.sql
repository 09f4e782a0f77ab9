-- metering.calls: one row per API call, immutable but for its price; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- Identity is (organization_id, id). A unique key of a partitioned table must hold the time it is cut by, so key_at is a
-- function of the id: the time inside a UUIDv7. Any other id is decided by metering.seen_ids before it comes here, and
-- key_at is then the time of the call. Questions are asked by occurred_at, which late and corrected clocks may set apart.
CREATE TABLE metering.calls (
    organization_id      uuid           NOT NULL,
    id                   uuid           NOT NULL,
    key_at               timestamptz    NOT NULL,
    occurred_at          timestamptz    NOT NULL,
    received_at          timestamptz    NOT NULL,
    provider             text           NOT NULL,
    endpoint             text           NOT NULL,
    method               text           NOT NULL,
    status_code          smallint       NOT NULL,
    response_time_us     bigint,
    ttfb_us              bigint,
    request_bytes        bigint         NOT NULL,
    response_bytes       bigint         NOT NULL,
    model                text           NOT NULL,
    region               text           NOT NULL,
    key_id               uuid,
    application          text           NOT NULL,
    user_ref             text           NOT NULL,
    end_user             text,
    session_id           text,
    request_id           text,
    trace_id             text,
    input_tokens         bigint         NOT NULL,
    output_tokens        bigint         NOT NULL,
    cached_input_tokens  bigint         NOT NULL,
    cache_write_tokens   bigint         NOT NULL,
    reasoning_tokens     bigint         NOT NULL,
    audio_input_tokens   bigint         NOT NULL,
    audio_output_tokens  bigint         NOT NULL,
    image_input_tokens   bigint         NOT NULL,
    image_output_tokens  bigint         NOT NULL,
    units                jsonb,
    service_variant      jsonb,
    cost                 numeric(20,10),
    currency             text           NOT NULL,
    price_source         text           NOT NULL,
    price_id             uuid,
    unpriced_reason      text,
    tags                 jsonb,
    metadata             jsonb,
    error_type           text,
    error_message        text,
    user_agent           text,
    ip_address           inet,
    request_headers      jsonb,
    response_headers     jsonb,
    -- The limit that refused it: it was never made, and no figure counts it.
    refused_by           text,
    PRIMARY KEY (organization_id, key_at, id),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT calls_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
-- Answers: the list of calls newest first, the edges of ranges below a minute, exact percentiles (`edge_*` in statements.py).
CREATE INDEX calls_organization_id_occurred_at_id_idx ON metering.calls (organization_id, occurred_at, id);
-- Answers: the list of failed calls newest first, and repricing of calls without a price; both are few among many.
CREATE INDEX calls_errors_idx ON metering.calls (organization_id, occurred_at, id) WHERE status_code >= 400 OR status_code = 0;
CREATE INDEX calls_unpriced_idx ON metering.calls (organization_id, occurred_at, id) WHERE cost IS NULL;
-- Answers: the list of calls that limits refused, newest first.
CREATE INDEX calls_refused_idx ON metering.calls (organization_id, occurred_at, id) WHERE refused_by IS NOT NULL;
-- Answers: all attempts of one request, which the gateway gives an id that rises with time: its entries fill page after page.
CREATE INDEX calls_request_id_idx ON metering.calls (organization_id, request_id) WHERE request_id IS NOT NULL;

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('metering.calls', 'month', 3, 90);

ALTER TABLE metering.calls ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.calls FORCE ROW LEVEL SECURITY;
CREATE POLICY calls_tenant ON metering.calls FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY calls_writer ON metering.calls TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY calls_system ON metering.calls TO nexus_system USING (true);
GRANT SELECT ON metering.calls TO nexus_service, nexus_readonly, nexus_system;
GRANT SELECT, INSERT ON metering.calls TO nexus_writer;
-- Repricing is all that may change a call. One that another record tells better is taken back: metering.retract_calls_v1.
GRANT UPDATE (cost, currency, price_source, price_id, unpriced_reason), DELETE ON metering.calls TO nexus_system;
