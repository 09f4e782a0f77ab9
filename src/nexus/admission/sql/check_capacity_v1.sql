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
