-- query: insert_provider_credential
INSERT INTO identity.provider_credentials (
    id, organization_id, provider, name, description, prefix, secret_hash, sealed, auth_form, base_url, weight, expires_at,
    created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- query: provider_credential_by_id
SELECT id, provider, name, description, prefix, secret_hash, auth_form, base_url, weight, is_active, expires_at, created_at
FROM identity.provider_credentials
WHERE organization_id = $1 AND id = $2

-- query: list_provider_credentials
SELECT id, provider, name, description, prefix, secret_hash, auth_form, base_url, weight, is_active, expires_at, created_at
FROM identity.provider_credentials
WHERE organization_id = $1 AND ($2::uuid IS NULL OR id > $2) AND ($3::text IS NULL OR provider = $3)
ORDER BY id
LIMIT $4

-- query: update_provider_credential
UPDATE identity.provider_credentials
SET name = coalesce($3, name), description = coalesce($4, description), auth_form = coalesce($5, auth_form),
    base_url = CASE WHEN $6::boolean THEN $7::text ELSE base_url END, weight = coalesce($8, weight),
    is_active = coalesce($9, is_active), expires_at = CASE WHEN $10::boolean THEN $11::timestamptz ELSE expires_at END
WHERE organization_id = $1 AND id = $2

-- query: replace_provider_secret
UPDATE identity.provider_credentials SET prefix = $3, secret_hash = $4, sealed = $5 WHERE organization_id = $1 AND id = $2

-- query: delete_provider_credential
DELETE FROM identity.provider_credentials WHERE organization_id = $1 AND id = $2

-- query: sealed_provider_credentials
-- role: nexus_system
-- Rows stay locked until they are sealed again, so that a change at the same time is not undone.
SELECT organization_id, id, sealed FROM identity.provider_credentials ORDER BY organization_id, id FOR UPDATE

-- query: reseal_provider_credential
-- role: nexus_system
UPDATE identity.provider_credentials SET sealed = $3 WHERE organization_id = $1 AND id = $2

-- query: key_reach
SELECT r.providers, r.models, r.endpoints, r.mcp_servers, r.mcp_tools
FROM identity.access_keys AS k
LEFT JOIN identity.key_reaches AS r ON r.organization_id = k.organization_id AND r.key_id = k.id
WHERE k.organization_id = $1 AND k.id = $2

-- query: set_key_reach
INSERT INTO identity.key_reaches AS r (organization_id, key_id, providers, models, endpoints, mcp_servers, mcp_tools)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (organization_id, key_id) DO UPDATE
SET providers = excluded.providers, models = excluded.models, endpoints = excluded.endpoints,
    mcp_servers = excluded.mcp_servers, mcp_tools = excluded.mcp_tools, updated_at = now()
