-- costs.snapshot_budgets_v1: budgets that pause calls, and today's exchange rates into their currencies, for the data plane's limits.
-- requires: costs.budgets, costs.exchange_v1
-- Runs as its caller: nexus_system sees all through its policies. Documents as admission.snapshot_limits_v1 gives them.
CREATE FUNCTION costs.snapshot_budgets_v1() RETURNS TABLE (kind text, document jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT 'budget', jsonb_build_object(
        'organization_id', b.organization_id, 'budget_id', b.id, 'name', b.name, 'scope', b.scope, 'subject', b.subject,
        'amount', b.amount::text, 'currency', b.currency, 'period', b.period, 'begins_on', b.begins_on, 'zone', b.zone,
        'failure', b.failure, 'version', b.version)
    FROM costs.budgets AS b
    WHERE b.is_active AND b.pauses
    UNION ALL
    SELECT 'exchange', jsonb_build_object(
        'organization_id', p.organization_id, 'source', p.source, 'target', p.target, 'rate', p.rate::text)
    FROM (
        SELECT b.organization_id, k.currency AS source, b.currency AS target,
               costs.exchange_v1(b.organization_id, k.currency, b.currency, (now() AT TIME ZONE 'UTC')::date) AS rate
        FROM (SELECT DISTINCT organization_id, currency FROM costs.budgets WHERE is_active AND pauses) AS b
        CROSS JOIN (
            SELECT base AS currency FROM costs.exchange_rates WHERE rated_on >= (now() AT TIME ZONE 'UTC')::date - 10
            UNION
            SELECT quote FROM costs.exchange_rates WHERE rated_on >= (now() AT TIME ZONE 'UTC')::date - 10
        ) AS k
        WHERE k.currency <> b.currency
    ) AS p
    WHERE p.rate IS NOT NULL
$$;
REVOKE ALL ON FUNCTION costs.snapshot_budgets_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION costs.snapshot_budgets_v1() TO nexus_system;
