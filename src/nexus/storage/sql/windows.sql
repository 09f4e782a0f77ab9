-- storage.windows: one row per reported window of storage operations, immutable; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- What one application did to one cluster by one kind of operation, from occurred_at on, for window_us. Identity and key_at as in
-- metering.calls. `latency_us` is the mean over the window's operations, the percentiles are of them too; `bytes_per_second` is
-- what was reported, else what bytes and window make.
CREATE TABLE storage.windows (
    organization_id        uuid             NOT NULL,
    id                     uuid             NOT NULL,
    key_at                 timestamptz      NOT NULL,
    occurred_at            timestamptz      NOT NULL,
    received_at            timestamptz      NOT NULL,
    application            text             NOT NULL,
    cluster                text             NOT NULL,
    operation              text             NOT NULL,
    environment            text             NOT NULL,
    read_ops               bigint           NOT NULL,
    write_ops              bigint           NOT NULL,
    error_count            bigint           NOT NULL,
    bytes_read             bigint           NOT NULL,
    bytes_written          bigint           NOT NULL,
    window_us              bigint,
    latency_us             bigint,
    latency_p95_us         bigint,
    latency_p99_us         bigint,
    bytes_per_second       double precision,
    peak_bytes_per_second  double precision,
    connection_count       bigint,
    key_id                 uuid,
    tags                   jsonb,
    metadata               jsonb,
    PRIMARY KEY (organization_id, key_at, id),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT windows_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
-- Answers: the list of windows newest first, the edges of ranges below a minute.
CREATE INDEX windows_organization_id_occurred_at_id_idx ON storage.windows (organization_id, occurred_at, id);
-- Answers: the windows of one application newest first.
CREATE INDEX windows_application_idx ON storage.windows (organization_id, application, occurred_at, id);

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('storage.windows', 'month', 3, 90);

ALTER TABLE storage.windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.windows FORCE ROW LEVEL SECURITY;
CREATE POLICY windows_tenant ON storage.windows FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY windows_writer ON storage.windows TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY windows_system ON storage.windows TO nexus_system USING (true);
GRANT SELECT ON storage.windows TO nexus_service, nexus_readonly, nexus_system;
GRANT DELETE ON storage.windows TO nexus_system;
GRANT SELECT, INSERT ON storage.windows TO nexus_writer;
