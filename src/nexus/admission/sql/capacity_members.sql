-- admission.capacity_members: organizations that share a capacity, and what of it each is guaranteed.
-- requires: identity.organizations, platform.audit_row_v1, platform.bump_snapshot_v1, admission.check_capacity_v1, admission.shared_capacities
-- Only nexus_system reads it: an organization sees its own share by its own limits, and nothing of another's.
CREATE TABLE admission.capacity_members (
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    capacity_id      uuid         NOT NULL REFERENCES admission.shared_capacities (id) ON DELETE CASCADE,
    -- Units an hour. All guarantees together are at most the capacity's rate.
    guaranteed       bigint       NOT NULL CONSTRAINT capacity_members_guaranteed CHECK (guaranteed > 0),
    -- The most it is given, whatever is left over; NULL: all there is.
    most             bigint       CONSTRAINT capacity_members_most CHECK (most >= guaranteed),
    -- What is left over is shared out by these.
    weight           integer      NOT NULL DEFAULT 1 CONSTRAINT capacity_members_weight CHECK (weight BETWEEN 1 AND 1000),
    created_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, capacity_id)
);
CREATE INDEX capacity_members_capacity_id_idx ON admission.capacity_members (capacity_id);
ALTER TABLE admission.capacity_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.capacity_members FORCE ROW LEVEL SECURITY;
CREATE POLICY capacity_members_system ON admission.capacity_members TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON admission.capacity_members TO nexus_system;
CREATE TRIGGER capacity_members_audit AFTER INSERT OR UPDATE OR DELETE ON admission.capacity_members
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER capacity_members_check AFTER INSERT OR UPDATE OF guaranteed ON admission.capacity_members
    FOR EACH ROW EXECUTE FUNCTION admission.check_capacity_v1();
CREATE TRIGGER capacity_members_version AFTER INSERT OR UPDATE OR DELETE ON admission.capacity_members
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
