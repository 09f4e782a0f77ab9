-- admission.capacity_grants: the ledger of what is granted of shared capacities, one row for each organization's cell.
-- requires: platform.bump_snapshot_v1, admission.check_capacity_v1, admission.shared_capacities
-- A grant is written here before it is put in force in Redis, and what is taken back counts as held until nobody can spend it:
-- whatever of this was done, and whatever was not, all that is in force is at most the sum of what is held.
-- It outlives its organization, so that what that had is given to nobody before it has been given back.
CREATE TABLE admission.capacity_grants (
    organization_id  uuid         NOT NULL,
    capacity_id      uuid         NOT NULL REFERENCES admission.shared_capacities (id),
    -- The fence: each change of what is in force in Redis has a greater one.
    number           bigint       NOT NULL CONSTRAINT capacity_grants_number CHECK (number > 0),
    -- What is to be in force; nothing where the organization is no member any more. Units an hour, and units.
    rate             bigint       NOT NULL CONSTRAINT capacity_grants_rate CHECK (rate >= 0),
    burst            bigint       NOT NULL CONSTRAINT capacity_grants_burst CHECK (burst >= 0),
    -- What may still be spent.
    held_rate        bigint       NOT NULL,
    held_burst       bigint       NOT NULL,
    state            text         NOT NULL CONSTRAINT capacity_grants_state CHECK (state IN ('granted', 'shrinking')),
    -- What was asked for of late, admitted or not; NULL while nobody knows.
    demand           bigint,
    changed_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, capacity_id),
    CONSTRAINT capacity_grants_held CHECK (held_rate >= rate AND held_burst >= burst),
    CONSTRAINT capacity_grants_confirmed CHECK (state = 'shrinking' OR (held_rate = rate AND held_burst = burst))
);
CREATE INDEX capacity_grants_capacity_id_idx ON admission.capacity_grants (capacity_id);
ALTER TABLE admission.capacity_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.capacity_grants FORCE ROW LEVEL SECURITY;
CREATE POLICY capacity_grants_system ON admission.capacity_grants TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON admission.capacity_grants TO nexus_system;
CREATE TRIGGER capacity_grants_check AFTER INSERT OR UPDATE OF held_rate, held_burst ON admission.capacity_grants
    FOR EACH ROW EXECUTE FUNCTION admission.check_capacity_v1();
-- A member's limit begins with its first grant.
CREATE TRIGGER capacity_grants_version AFTER INSERT OR DELETE ON admission.capacity_grants
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
