-- query: list_providers
SELECT id, slug, name, description, category, status, pricing_model, base_url, docs_url, status_url, website_url, icon,
       requests_per_minute, tokens_per_minute, auth_types, regions, metadata, source, organization_id IS NULL AS is_shared
FROM catalog.providers
WHERE ($1::text IS NULL OR (slug, id) > ($1, $2::uuid))
  AND ($3::text IS NULL OR category = $3)
  AND ($4::text IS NULL OR slug = $4)
ORDER BY slug, id
LIMIT $5

-- query: list_endpoints
SELECT id, provider, method, path_template, name, category, expected_response_ms, requests_per_minute, is_deprecated,
       source, organization_id IS NULL AS is_shared
FROM catalog.endpoints
WHERE ($1::uuid IS NULL OR id > $1) AND ($2::text IS NULL OR provider = $2)
ORDER BY id
LIMIT $3

-- query: list_models
SELECT id, provider, slug, name, description, context_window, max_output, is_deprecated, source,
       organization_id IS NULL AS is_shared
FROM catalog.models
WHERE ($1::text IS NULL OR (provider, slug, id) > ($1, $2, $3::uuid))
  AND ($4::text IS NULL OR provider = $4)
  AND ($5::text IS NULL OR strpos(lower(slug), lower($5)) > 0)
ORDER BY provider, slug, id
LIMIT $6

-- query: list_prices
SELECT p.id, p.provider, p.model, p.endpoint, p.method, p.tier, p.region, p.currency, p.variant,
       p.daily_from::text AS daily_from, p.daily_to::text AS daily_to,
       lower(p.validity) AS valid_from, upper(p.validity) AS valid_to, p.source, p.import_id, p.created_at, p.superseded_at,
       p.organization_id IS NULL AS is_shared,
       (SELECT jsonb_agg(jsonb_build_object('unit', c.unit, 'amount', trim_scale(c.amount)::text, 'per', c.per,
                                            'context_above', c.context_above) ORDER BY c.unit, c.context_above)
        FROM catalog.price_components AS c WHERE c.price_id = p.id) AS components
FROM catalog.prices AS p
WHERE ($1::uuid IS NULL OR p.id > $1)
  AND ($2::text IS NULL OR p.provider = $2)
  AND ($3::text IS NULL OR p.model = $3)
  AND ($4::timestamptz IS NULL OR p.validity @> $4)
  AND ($5 OR p.superseded_at IS NULL)
  AND ($6::uuid IS NULL OR p.id = $6)
ORDER BY p.id
LIMIT $7

-- query: insert_provider
INSERT INTO catalog.providers (
    id, organization_id, slug, name, description, category, status, pricing_model, base_url, docs_url, status_url,
    website_url, auth_types, regions, aliases, fallback_providers, match, source
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17::jsonb, $18)
ON CONFLICT ON CONSTRAINT providers_slug_unique DO NOTHING

-- query: update_provider_rules
-- role: nexus_system
-- The shipped list of providers knows no rules; the price list that does keeps them up to date.
UPDATE catalog.providers SET match = $2::jsonb, fallback_providers = $3::text[], updated_at = now()
WHERE slug = $1 AND organization_id IS NULL

-- query: insert_endpoint
INSERT INTO catalog.endpoints (id, organization_id, provider, method, path_template, name, category, source)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT ON CONSTRAINT endpoints_once DO NOTHING

-- query: insert_model
INSERT INTO catalog.models (
    id, organization_id, provider, slug, name, match, position, context_window, max_output, is_deprecated, source
) VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11)
ON CONFLICT ON CONSTRAINT models_slug_unique DO NOTHING

-- query: insert_price
INSERT INTO catalog.prices (
    id, organization_id, provider, model, endpoint, method, tier, region, currency, variant, position, daily_from, daily_to,
    validity, source, import_id
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13, tstzrange($14, $15), $16, $17)

-- query: insert_component
INSERT INTO catalog.price_components (price_id, organization_id, unit, context_above, amount, per)
VALUES ($1, $2, $3, $4, $5, $6)

-- query: lock_imports
-- role: nexus_system
SELECT pg_advisory_xact_lock(hashtextextended('catalog.imports', 0))

-- query: shared_providers
-- role: nexus_system
SELECT slug, match, fallback_providers FROM catalog.providers WHERE organization_id IS NULL

-- query: shared_models
-- role: nexus_system
SELECT provider, slug, source, name, match, position, context_window, max_output, is_deprecated
FROM catalog.models WHERE organization_id IS NULL

-- query: update_model_rules
-- role: nexus_system
UPDATE catalog.models
SET name = $3, match = $4::jsonb, position = $5, context_window = $6, max_output = $7, is_deprecated = $8, updated_at = now()
WHERE organization_id IS NULL AND provider = $1 AND slug = $2

-- query: shared_prices
-- role: nexus_system
SELECT p.id, p.provider, p.model, p.variant, p.position, p.daily_from, p.daily_to,
       lower(p.validity) AS valid_from, upper(p.validity) AS valid_to, p.source,
       (SELECT jsonb_agg(jsonb_build_object('unit', c.unit, 'above', c.context_above, 'amount', c.amount::text, 'per', c.per))
        FROM catalog.price_components AS c WHERE c.price_id = p.id) AS components
FROM catalog.prices AS p
WHERE p.organization_id IS NULL AND p.superseded_at IS NULL AND p.model IS NOT NULL
  AND p.tier = 'standard' AND p.region = '' AND p.currency = 'USD'
ORDER BY p.id

-- query: close_price
UPDATE catalog.prices SET validity = tstzrange(lower(validity), $2)
WHERE id = $1 AND superseded_at IS NULL AND (lower(validity) IS NULL OR lower(validity) < $2)
RETURNING id

-- query: supersede_price
UPDATE catalog.prices SET superseded_at = $2 WHERE id = $1 AND superseded_at IS NULL RETURNING id

-- query: insert_import
-- role: nexus_system
INSERT INTO catalog.imports (id, source, digest, imported_by, summary) VALUES ($1, $2, $3, $4, $5::jsonb)

-- query: record_import
-- role: nexus_system
SELECT platform.record_action_v1('price_list_import', $1::jsonb ->> 'source', $1::jsonb)

-- query: summarise_import
-- role: nexus_system
UPDATE catalog.imports SET summary = $2::jsonb WHERE id = $1

-- query: list_imports
SELECT id, source, digest, imported_at, imported_by, summary FROM catalog.imports
WHERE ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2

-- query: insert_conflict
-- role: nexus_system
INSERT INTO catalog.price_conflicts (id, price_id, source, import_id, proposed, proposed_hash)
VALUES ($1, $2, $3, $4, $5::jsonb, $6)
ON CONFLICT ON CONSTRAINT price_conflicts_once DO NOTHING

-- query: known_conflicts
-- role: nexus_system
SELECT price_id, source, proposed_hash FROM catalog.price_conflicts

-- query: list_conflicts
SELECT c.id, c.price_id, p.provider, p.model, p.source AS in_force_source, c.source,
       (SELECT jsonb_agg(jsonb_build_object('unit', i.unit, 'amount', trim_scale(i.amount)::text, 'per', i.per,
                                            'context_above', i.context_above) ORDER BY i.unit, i.context_above)
        FROM catalog.price_components AS i WHERE i.price_id = p.id) AS in_force,
       c.proposed, c.resolution, c.created_at
FROM catalog.price_conflicts AS c
JOIN catalog.prices AS p ON p.id = c.price_id
WHERE ($1::uuid IS NULL OR c.id > $1) AND ($2 OR c.resolution IS NULL) AND ($3::text IS NULL OR p.provider = $3)
  AND ($4::uuid IS NULL OR c.id = $4)
ORDER BY c.id
LIMIT $5

-- query: resolve_conflict
-- role: nexus_system
UPDATE catalog.price_conflicts SET resolution = $2, resolved_at = $3, resolved_by = $4
WHERE id = $1 AND resolution IS NULL
RETURNING id

-- query: price_subject
-- role: nexus_system
SELECT provider, model, variant, position, daily_from, daily_to, upper(validity) AS valid_to
FROM catalog.prices WHERE id = $1

-- query: count_shared_prices
-- role: nexus_system
SELECT count(*) FROM catalog.prices WHERE organization_id IS NULL

-- query: price_documents
-- role: nexus_system
SELECT document FROM catalog.snapshot_prices_v1()
