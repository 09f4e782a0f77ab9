-- query: list_sign_in_providers
-- role: nexus_system
SELECT id, slug, name, issuer, client_id, client_secret_sealed IS NOT NULL AS has_client_secret, allowed_domains,
       default_organization, default_role, allows_private_addresses, is_active, created_at
FROM identity.sign_in_providers
ORDER BY name, id

-- query: open_sign_in_providers
-- role: nexus_system
SELECT slug, name FROM identity.sign_in_providers WHERE is_active ORDER BY name, id

-- query: sign_in_provider
-- role: nexus_system
SELECT id, slug, name, issuer, client_id, client_secret_sealed, allowed_domains, default_organization, default_role,
       allows_private_addresses, is_active
FROM identity.sign_in_providers
WHERE slug = $1 OR id::text = $1

-- query: insert_sign_in_provider
-- role: nexus_system
INSERT INTO identity.sign_in_providers (
    id, slug, name, issuer, client_id, client_secret_sealed, allowed_domains, default_organization, default_role,
    allows_private_addresses
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- query: update_sign_in_provider
-- role: nexus_system
UPDATE identity.sign_in_providers
SET name = coalesce($2, name), client_secret_sealed = coalesce($3, client_secret_sealed),
    allowed_domains = coalesce($4::text[], allowed_domains), is_active = coalesce($5, is_active)
WHERE id = $1

-- query: delete_sign_in_provider
-- role: nexus_system
DELETE FROM identity.sign_in_providers WHERE id = $1

-- query: insert_flow
-- role: nexus_system
INSERT INTO identity.sign_in_flows (
    state_hash, browser_hash, provider_id, nonce, verifier_sealed, next_path, link_user_id, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- query: take_flow
-- role: nexus_system
-- Gone once it is looked at, whatever comes of it.
DELETE FROM identity.sign_in_flows WHERE state_hash = $1
RETURNING browser_hash, provider_id, nonce, verifier_sealed, next_path, link_user_id, expires_at

-- query: delete_old_flows
-- role: nexus_system
DELETE FROM identity.sign_in_flows WHERE expires_at < $1

-- query: linked_user
-- role: nexus_system
SELECT l.user_id, u.is_active
FROM identity.linked_identities AS l
JOIN identity.users AS u ON u.id = l.user_id
WHERE l.provider_id = $1 AND l.subject = $2

-- query: touch_linked_identity
-- role: nexus_system
UPDATE identity.linked_identities SET last_used_at = $3, email = $4 WHERE provider_id = $1 AND subject = $2

-- query: insert_linked_identity
-- role: nexus_system
INSERT INTO identity.linked_identities (provider_id, subject, user_id, email, created_at) VALUES ($1, $2, $3, $4, $5)

-- query: list_linked_identities
-- role: nexus_system
SELECT p.slug, p.name, l.email, l.created_at, l.last_used_at
FROM identity.linked_identities AS l
JOIN identity.sign_in_providers AS p ON p.id = l.provider_id
WHERE l.user_id = $1
ORDER BY p.name, p.id

-- query: delete_linked_identity
-- role: nexus_system
DELETE FROM identity.linked_identities AS l USING identity.sign_in_providers AS p
WHERE l.user_id = $1 AND p.id = l.provider_id AND p.slug = $2

-- query: verify_email
-- role: nexus_system
UPDATE identity.users SET is_email_verified = true WHERE id = $1
