-- metering.calls_to_export: calls of the gateways that the collector has not got yet, in the order in which they were stored.
-- requires: platform.writer_organization_ids
-- Written in the transaction that stores the call, so none is missed, not even one that waited in the spool; deleted in the
-- transaction in which the collector took it. The worker keeps it within a million of each type: `api_call` is in
-- metering.calls, `mcp_request` in mcp.requests.
CREATE TABLE metering.calls_to_export (
    organization_id  uuid         NOT NULL,
    key_at           timestamptz  NOT NULL,
    call_id          uuid         NOT NULL,
    number           bigint       NOT NULL GENERATED ALWAYS AS IDENTITY,
    record_type      text         NOT NULL DEFAULT 'api_call',
    PRIMARY KEY (organization_id, key_at, call_id, record_type)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- Answers: which calls of a type are next.
CREATE INDEX calls_to_export_record_type_number_idx ON metering.calls_to_export (record_type, number);

ALTER TABLE metering.calls_to_export ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.calls_to_export FORCE ROW LEVEL SECURITY;
CREATE POLICY calls_to_export_writer ON metering.calls_to_export TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY calls_to_export_system ON metering.calls_to_export TO nexus_system USING (true);
GRANT SELECT, INSERT ON metering.calls_to_export TO nexus_writer;
GRANT SELECT, UPDATE, DELETE ON metering.calls_to_export TO nexus_system;
