-- metering.rollup_journal: sums of what each batch stored, written in the batch's own transaction, not yet in the rollups.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- Insert only for writers: batches that touch the same groups never wait for each other and cannot deadlock. Folding moves
-- rows into the rollups in one transaction (DELETE here, upsert there), so rollups + journal is exact at any moment.
-- One row per minute, combination of dimensions and latency bin; bin NULL holds the calls without a response time.
-- A repricing adds rows with 0 requests and the difference in cost and unpriced.
CREATE TABLE metering.rollup_journal (
    organization_id      uuid         NOT NULL,
    minute               timestamptz  NOT NULL,
    provider             text         NOT NULL,
    endpoint             text         NOT NULL,
    method               text         NOT NULL,
    model                text         NOT NULL,
    region               text         NOT NULL,
    status_code          smallint     NOT NULL,
    key_id               uuid,
    application          text         NOT NULL,
    user_ref             text         NOT NULL,
    currency             text         NOT NULL,
    tags                 jsonb,
    bin                  smallint,
    requests             bigint       NOT NULL,
    unpriced             bigint       NOT NULL,
    cost                 numeric      NOT NULL,
    latency_sum_us       bigint       NOT NULL,
    request_bytes        bigint       NOT NULL,
    response_bytes       bigint       NOT NULL,
    input_tokens         bigint       NOT NULL,
    output_tokens        bigint       NOT NULL,
    cached_input_tokens  bigint       NOT NULL,
    cache_write_tokens   bigint       NOT NULL,
    reasoning_tokens     bigint       NOT NULL,
    audio_input_tokens   bigint       NOT NULL,
    audio_output_tokens  bigint       NOT NULL,
    image_input_tokens   bigint       NOT NULL,
    image_output_tokens  bigint       NOT NULL
) WITH (
    -- Every row lives for seconds: vacuum by count, not by share, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);
-- Answers: what one organization's rollups still lack in a range.
CREATE INDEX rollup_journal_organization_id_minute_idx ON metering.rollup_journal (organization_id, minute);

ALTER TABLE metering.rollup_journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.rollup_journal FORCE ROW LEVEL SECURITY;
CREATE POLICY rollup_journal_tenant ON metering.rollup_journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollup_journal_writer ON metering.rollup_journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY rollup_journal_system ON metering.rollup_journal TO nexus_system USING (true);
GRANT SELECT ON metering.rollup_journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON metering.rollup_journal TO nexus_writer;
GRANT SELECT, INSERT, DELETE ON metering.rollup_journal TO nexus_system;
