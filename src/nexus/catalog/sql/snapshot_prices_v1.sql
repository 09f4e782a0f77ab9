-- catalog.snapshot_prices_v1: the whole price book as documents, for the data plane's snapshot (contracts/prices.py).
-- requires: catalog.price_components, catalog.models, catalog.providers
CREATE FUNCTION catalog.snapshot_prices_v1() RETURNS TABLE (document jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT jsonb_build_object(
        'kind', 'provider', 'provider', p.slug, 'aliases', to_jsonb(p.aliases), 'fallback', to_jsonb(p.fallback_providers),
        'match', p.match)
    FROM catalog.providers AS p
    WHERE p.organization_id IS NULL
    UNION ALL
    -- A tenant's own provider lends its name only, and to that tenant only: it must not catch another's calls.
    SELECT jsonb_build_object('kind', 'provider', 'provider', p.slug, 'organization_id', p.organization_id)
    FROM catalog.providers AS p
    WHERE p.organization_id IS NOT NULL
    UNION ALL
    SELECT jsonb_build_object(
        'kind', 'model', 'provider', m.provider, 'model', m.slug, 'match', m.match, 'organization_id', m.organization_id,
        'position', m.position)
    FROM catalog.models AS m
    UNION ALL
    SELECT jsonb_build_object(
        'kind', 'price', 'id', p.id, 'organization_id', p.organization_id, 'provider', p.provider, 'model', p.model,
        'endpoint', p.endpoint, 'method', p.method, 'tier', p.tier, 'region', p.region, 'currency', p.currency,
        'variant', p.variant, 'position', p.position, 'daily_from', p.daily_from, 'daily_to', p.daily_to,
        'valid_from', lower(p.validity), 'valid_to', upper(p.validity), 'source', p.source,
        'components', c.components)
    FROM catalog.prices AS p
    JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
            'unit', c.unit, 'above', c.context_above, 'amount', c.amount::text, 'per', c.per)) AS components
        FROM catalog.price_components AS c
        WHERE c.price_id = p.id AND c.organization_id IS NOT DISTINCT FROM p.organization_id
    ) AS c ON c.components IS NOT NULL
    WHERE p.superseded_at IS NULL
$$;
REVOKE ALL ON FUNCTION catalog.snapshot_prices_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION catalog.snapshot_prices_v1() TO nexus_system, nexus_service;
