-- metering.call_bodies: one side of a gateway call's bodies, masked and sealed; cut by day of the call.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- key_at is the time in the call's id, as in metering.calls. `sealed` is compressed text under NEXUS_SECRET_KEY, NULL where
-- nothing is kept but what is told here (a picture, an encoding we cannot read). By day, as days leave whole and give
-- their disk space back; 90 days is the longest an organization may keep them.
CREATE TABLE metering.call_bodies (
    organization_id  uuid         NOT NULL,
    key_at           timestamptz  NOT NULL,
    call_id          uuid         NOT NULL,
    side             text         NOT NULL CONSTRAINT call_bodies_side CHECK (side IN ('request', 'response')),
    state            text         NOT NULL CONSTRAINT call_bodies_state CHECK (state IN ('text', 'empty', 'binary', 'unreadable')),
    media_type       text         NOT NULL CONSTRAINT call_bodies_media_type CHECK (length(media_type) <= 200),
    size_bytes       bigint       NOT NULL CONSTRAINT call_bodies_size CHECK (size_bytes >= 0),
    is_cut           boolean      NOT NULL,
    masked           jsonb        NOT NULL,
    sealed           bytea,
    stored_at        timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, key_at, call_id, side)
) PARTITION BY RANGE (key_at);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('metering.call_bodies', 'day', 0, 90);

ALTER TABLE metering.call_bodies ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.call_bodies FORCE ROW LEVEL SECURITY;
CREATE POLICY call_bodies_tenant ON metering.call_bodies FOR SELECT TO nexus_service
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY call_bodies_writer ON metering.call_bodies FOR INSERT TO nexus_writer
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY call_bodies_system ON metering.call_bodies TO nexus_system USING (true);
GRANT SELECT ON metering.call_bodies TO nexus_service;
GRANT INSERT ON metering.call_bodies TO nexus_writer;
GRANT SELECT, DELETE ON metering.call_bodies TO nexus_system;
