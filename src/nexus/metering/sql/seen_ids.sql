-- metering.seen_ids: ids that carry no time of their own, so that a record sent again is recognised whatever its timestamp.
-- requires: platform.writer_organization_ids
-- Exactly once needs a key without the time, and a table with such a key cannot be cut by time. So rows leave by
-- batched deletes, `retention.seen_ids_days` (35) after their receipt: that is the horizon of exactly once for such ids.
-- Only ids that are no UUIDv7 pay for it; our SDK, gateway and replay of UUIDv7 records never come here.
CREATE TABLE metering.seen_ids (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    received_at      timestamptz  NOT NULL,
    PRIMARY KEY (organization_id, id)
) WITH (fillfactor = 100, autovacuum_vacuum_insert_scale_factor = 0.05);
-- Answers: which ids are past the horizon. Rows lie in the order of receipt, so a few bytes for each range of pages do.
CREATE INDEX seen_ids_received_at_idx ON metering.seen_ids USING brin (received_at) WITH (autosummarize = on);

ALTER TABLE metering.seen_ids ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.seen_ids FORCE ROW LEVEL SECURITY;
CREATE POLICY seen_ids_writer ON metering.seen_ids TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY seen_ids_system ON metering.seen_ids TO nexus_system USING (true);
GRANT SELECT, INSERT ON metering.seen_ids TO nexus_writer;
GRANT SELECT, DELETE ON metering.seen_ids TO nexus_system;
