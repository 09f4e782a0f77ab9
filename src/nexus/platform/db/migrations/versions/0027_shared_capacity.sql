-- Capacity that several organizations share, and the ledger of what each is granted.

-- admission.check_capacity_v1: trigger that refuses what would promise more of a shared capacity than there is.
-- The capacity stays locked until the change commits, so two changes at once are added up one after the other.
CREATE FUNCTION admission.check_capacity_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    capacity    admission.shared_capacities%ROWTYPE;
    guarantees  numeric;
    rates       numeric;
    bursts      numeric;
BEGIN
    SELECT * INTO capacity
    FROM admission.shared_capacities AS c
    WHERE c.id = coalesce(to_jsonb(NEW) ->> 'capacity_id', to_jsonb(NEW) ->> 'id')::uuid
    FOR UPDATE;
    SELECT coalesce(sum(m.guaranteed), 0) INTO guarantees FROM admission.capacity_members AS m WHERE m.capacity_id = capacity.id;
    IF guarantees > capacity.rate THEN
        RAISE EXCEPTION 'more is guaranteed than there is'
            USING ERRCODE = 'check_violation', TABLE = 'capacity_members', CONSTRAINT = 'capacity_members_guaranteed';
    END IF;
    SELECT coalesce(sum(g.held_rate), 0), coalesce(sum(g.held_burst), 0) INTO rates, bursts
    FROM admission.capacity_grants AS g
    WHERE g.capacity_id = capacity.id;
    IF rates > capacity.ceiling_rate OR bursts > capacity.ceiling_burst THEN
        RAISE EXCEPTION 'more is granted than there is'
            USING ERRCODE = 'check_violation', TABLE = 'capacity_grants', CONSTRAINT = 'capacity_grants_held';
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION admission.check_capacity_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admission.check_capacity_v1() TO nexus_owner;

-- admission.shared_capacities: capacity that several organizations share, such as a storage cluster or an account at a provider.
-- requires: platform.audit_row_v1, platform.bump_snapshot_v1, admission.check_capacity_v1
-- It belongs to the installation, not to an organization: whoever configures the system changes it, through nexus_system.
CREATE TABLE admission.shared_capacities (
    id             uuid         PRIMARY KEY,
    name           text         NOT NULL CONSTRAINT shared_capacities_name_form CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    dimension      text         NOT NULL CONSTRAINT shared_capacities_dimension
                                CHECK (dimension IN ('requests', 'operations', 'bytes', 'tokens')),
    scope          text         NOT NULL CONSTRAINT shared_capacities_scope
                                CHECK (scope IN ('organization', 'cluster', 'provider', 'model', 'endpoint')),
    subject        text         CONSTRAINT shared_capacities_subject_length CHECK (length(subject) BETWEEN 1 AND 500),
    -- Units an hour, so that shares of a rate are whole numbers whose sum is exact; micro-operations, bytes and so on.
    rate           bigint       NOT NULL CONSTRAINT shared_capacities_rate CHECK (rate BETWEEN 1 AND 4503599627370496),
    burst          bigint       NOT NULL CONSTRAINT shared_capacities_burst CHECK (burst BETWEEN 1 AND 4503599627370496),
    -- How people write its rates.
    per            text         NOT NULL CONSTRAINT shared_capacities_per CHECK (per IN ('second', 'minute', 'hour')),
    failure        text         NOT NULL CONSTRAINT shared_capacities_failure CHECK (failure IN ('closed', 'local')),
    -- What all grants together may come to: more than there is by now only until what was granted before has been given back.
    ceiling_rate   bigint       NOT NULL,
    ceiling_burst  bigint       NOT NULL,
    created_at     timestamptz  NOT NULL DEFAULT now(),
    updated_at     timestamptz  NOT NULL DEFAULT now(),
    -- It is no limit any more, and goes when all that was granted of it has been given back.
    removed_at     timestamptz,
    CONSTRAINT shared_capacities_subject_sense CHECK ((scope = 'organization') = (subject IS NULL)),
    CONSTRAINT shared_capacities_ceiling CHECK (ceiling_rate >= rate AND ceiling_burst >= burst)
);
CREATE UNIQUE INDEX shared_capacities_name_key ON admission.shared_capacities (name) WHERE removed_at IS NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON admission.shared_capacities TO nexus_system;
CREATE TRIGGER shared_capacities_audit AFTER INSERT OR UPDATE OR DELETE ON admission.shared_capacities
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER shared_capacities_check AFTER UPDATE OF rate, ceiling_rate, ceiling_burst ON admission.shared_capacities
    FOR EACH ROW EXECUTE FUNCTION admission.check_capacity_v1();
CREATE TRIGGER shared_capacities_version AFTER INSERT OR UPDATE OR DELETE ON admission.shared_capacities
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');

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

-- admission.snapshot_limits_v1: all that limits and costs are made of, now and as scheduled, for the data plane's snapshot.
-- requires: admission.quota_versions, admission.cost_rules, identity.access_keys, admission.capacity_members, admission.capacity_grants
-- Runs as its caller: nexus_system sees all through its policies. What ended a minute ago is still given, for clocks that lag.
CREATE OR REPLACE FUNCTION admission.snapshot_limits_v1() RETURNS TABLE (kind text, document jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT 'quota', jsonb_build_object(
        'organization_id', q.organization_id, 'quota_id', q.id, 'name', q.name, 'scope', q.scope, 'subject', q.subject,
        'provider', q.provider,
        'version', v.version, 'limits', v.limits,
        'from', extract(epoch FROM lower(v.validity)), 'to', extract(epoch FROM upper(v.validity)))
    FROM admission.quota_versions AS v
    JOIN admission.quotas AS q ON q.organization_id = v.organization_id AND q.id = v.quota_id
    WHERE NOT isempty(v.validity) AND coalesce(upper(v.validity) > now() - interval '1 minute', true)
    UNION ALL
    SELECT 'key', jsonb_build_object('organization_id', k.organization_id, 'key_id', k.id, 'per_minute', k.rate_limit_per_minute)
    FROM identity.access_keys AS k
    WHERE k.rate_limit_per_minute IS NOT NULL AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), true)
    UNION ALL
    SELECT 'application', jsonb_build_object('organization_id', a.organization_id, 'name', a.name, 'cluster', c.name)
    FROM admission.applications AS a
    JOIN admission.clusters AS c ON c.organization_id = a.organization_id AND c.id = a.cluster_id
    WHERE a.is_active
    UNION ALL
    SELECT 'operation', jsonb_build_object(
        'organization_id', t.organization_id, 'name', t.name, 'base', t.c_base::text, 'quantum', t.unit_quantum,
        'bandwidth', t.c_bw::text, 'whole_quanta', t.whole_quanta)
    FROM admission.operation_types AS t
    WHERE t.is_active
    UNION ALL
    SELECT 'cost_rule', jsonb_build_object(
        'organization_id', r.organization_id, 'application', a.name, 'name', r.operation, 'base', r.c_base::text,
        'bandwidth', r.c_bw::text, 'from', extract(epoch FROM lower(r.validity)), 'to', extract(epoch FROM upper(r.validity)))
    FROM admission.cost_rules AS r
    JOIN admission.applications AS a ON a.organization_id = r.organization_id AND a.id = r.application_id
    WHERE coalesce(upper(r.validity) > now() - interval '1 minute', true)
    UNION ALL
    SELECT 'share', jsonb_build_object(
        'organization_id', m.organization_id, 'capacity_id', c.id, 'name', c.name, 'dimension', c.dimension, 'scope', c.scope,
        'subject', c.subject, 'failure', c.failure, 'rate', c.rate, 'burst', c.burst, 'guaranteed', m.guaranteed, 'most', m.most,
        'members', count(*) OVER (PARTITION BY c.id))
    FROM admission.capacity_members AS m
    JOIN admission.shared_capacities AS c ON c.id = m.capacity_id
    JOIN admission.capacity_grants AS g ON g.organization_id = m.organization_id AND g.capacity_id = m.capacity_id
    WHERE c.removed_at IS NULL
$$;
