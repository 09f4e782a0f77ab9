-- metering.call_sightings: by what calls are known that several may tell of: spans of the program that called, ids of answers.
-- requires: platform.writer_organization_ids
-- The same call may come as the gateway's record and as spans, in any order and through several nodes. `node` is a span or
-- an answer; `seen` is who tells of it: 1 the span of an HTTP request, 2 the span of an inference, 3 the gateway, 4 nobody,
-- but an inference within that span does. `call_id` is the record as long as it is kept. Rows leave like those of
-- metering.seen_ids, `retention.seen_ids_days` after their receipt.
CREATE TABLE metering.call_sightings (
    organization_id  uuid         NOT NULL,
    node             uuid         NOT NULL,
    seen             smallint     NOT NULL,
    parent           uuid,
    call_id          uuid,
    key_at           timestamptz,
    received_at      timestamptz  NOT NULL,
    PRIMARY KEY (organization_id, node, seen)
);
-- Answers: what was seen within a span.
CREATE INDEX call_sightings_parent_idx ON metering.call_sightings (organization_id, parent) WHERE parent IS NOT NULL;
-- Answers: which rows are past the horizon. They lie in the order of receipt, so a few bytes for each range of pages do.
CREATE INDEX call_sightings_received_at_idx ON metering.call_sightings USING brin (received_at) WITH (autosummarize = on);

ALTER TABLE metering.call_sightings ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.call_sightings FORCE ROW LEVEL SECURITY;
CREATE POLICY call_sightings_writer ON metering.call_sightings TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY call_sightings_system ON metering.call_sightings TO nexus_system USING (true);
GRANT SELECT, INSERT ON metering.call_sightings TO nexus_writer;
GRANT SELECT, DELETE ON metering.call_sightings TO nexus_system;
GRANT UPDATE (call_id, key_at) ON metering.call_sightings TO nexus_system;
