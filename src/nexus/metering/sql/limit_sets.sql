-- metering.limit_sets: which limits calls were asked for, kept once for each month of the calls that were asked the same.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- A call names its set in metadata.gateway.limit_set, beside its own amounts. Stored before the calls that name it, for the
-- months of their keys, and deleted in the transaction that drops that month of metering.calls.
CREATE TABLE metering.limit_sets (
    organization_id  uuid         NOT NULL,
    -- Made of what is in it (nexus.contracts.limit_sets).
    id               uuid         NOT NULL,
    month            timestamptz  NOT NULL,
    -- For each limit: bucket, name, scope, dimension, how many of its amounts make one, which of a call's amounts are its.
    limits           jsonb        NOT NULL,
    PRIMARY KEY (organization_id, id, month)
);

ALTER TABLE metering.limit_sets ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.limit_sets FORCE ROW LEVEL SECURITY;
CREATE POLICY limit_sets_tenant ON metering.limit_sets FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY limit_sets_writer ON metering.limit_sets FOR INSERT TO nexus_writer
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY limit_sets_system ON metering.limit_sets TO nexus_system USING (true);
GRANT SELECT ON metering.limit_sets TO nexus_service, nexus_readonly;
GRANT INSERT ON metering.limit_sets TO nexus_writer;
GRANT SELECT, DELETE ON metering.limit_sets TO nexus_system;
