-- admission.snapshot_limits_v1: all that limits and costs are made of, now and as scheduled, for the data plane's snapshot.
-- requires: admission.quota_versions, admission.cost_rules, identity.access_keys, admission.capacity_members, admission.capacity_grants
-- Runs as its caller: nexus_system sees all through its policies. What ended a minute ago is still given, for clocks that lag.
CREATE FUNCTION admission.snapshot_limits_v1() RETURNS TABLE (kind text, document jsonb)
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
REVOKE ALL ON FUNCTION admission.snapshot_limits_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admission.snapshot_limits_v1() TO nexus_system;
