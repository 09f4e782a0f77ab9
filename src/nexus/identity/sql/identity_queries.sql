-- query: user_by_login
-- role: nexus_system
SELECT u.*, p.password_hash, p.failed_count, p.locked_until
FROM identity.users AS u
LEFT JOIN identity.passwords AS p ON p.user_id = u.id
WHERE lower(u.email) = lower($1) OR lower(u.username) = lower($1)
LIMIT 1

-- query: lock_password
-- role: nexus_system
-- The row stays locked until the attempt is counted, so that attempts at once are counted one by one.
SELECT failed_count, locked_until, password_hash FROM identity.passwords WHERE user_id = $1 FOR UPDATE

-- query: count_failure
-- role: nexus_system
UPDATE identity.passwords
SET failed_count = CASE WHEN failed_count + 1 >= $2 THEN 0 ELSE failed_count + 1 END,
    locked_until = CASE WHEN failed_count + 1 >= $2 THEN $3::timestamptz ELSE locked_until END
WHERE user_id = $1
RETURNING locked_until

-- query: clear_failures
-- role: nexus_system
UPDATE identity.passwords SET failed_count = 0, locked_until = NULL
WHERE user_id = $1 AND (failed_count > 0 OR locked_until IS NOT NULL)

-- query: count_login
-- role: nexus_system
UPDATE identity.users SET last_login_at = $2, login_count = login_count + 1 WHERE id = $1

-- query: set_password
-- role: nexus_system
INSERT INTO identity.passwords AS p (user_id, password_hash) VALUES ($1, $2)
ON CONFLICT (user_id) DO UPDATE
SET password_hash = excluded.password_hash, failed_count = 0, locked_until = NULL, changed_at = now()

-- query: insert_user
-- role: nexus_system
INSERT INTO identity.users (id, email, username, name, timezone, locale)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING *

-- query: user_by_id
-- role: nexus_system
SELECT * FROM identity.users WHERE id = $1

-- query: list_users
-- role: nexus_system
SELECT * FROM identity.users WHERE ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2

-- query: update_user
-- role: nexus_system
UPDATE identity.users
SET name = coalesce($2, name), username = coalesce($3, username), timezone = coalesce($4, timezone),
    locale = coalesce($5, locale), image_url = coalesce($6, image_url),
    preferences = coalesce($7::jsonb, preferences), is_active = coalesce($8, is_active), updated_at = now()
WHERE id = $1
RETURNING *

-- query: insert_session
-- role: nexus_system
INSERT INTO identity.sessions (id, user_id, token_hash, created_at, last_accessed_at, expires_at, ip_address, user_agent)
VALUES ($1, $2, $3, $4, $4, $5, $6, $7)

-- query: session_by_token
-- role: nexus_system
SELECT s.id, s.user_id, s.expires_at, s.last_accessed_at, u.email
FROM identity.sessions AS s
JOIN identity.users AS u ON u.id = s.user_id AND u.is_active
WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND s.expires_at > $2

-- query: touch_session
-- role: nexus_system
UPDATE identity.sessions SET last_accessed_at = $2 WHERE id = $1 AND last_accessed_at < $2

-- query: list_sessions
-- role: nexus_system
SELECT id, created_at, expires_at, last_accessed_at, ip_address, user_agent, login_method, is_mfa_verified
FROM identity.sessions
WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
ORDER BY created_at DESC

-- query: revoke_session
-- role: nexus_system
UPDATE identity.sessions SET revoked_at = $3 WHERE user_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING id

-- query: revoke_sessions
-- role: nexus_system
UPDATE identity.sessions SET revoked_at = $3
WHERE user_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR id <> $2)
RETURNING id

-- query: delete_old_sessions
-- role: nexus_system
DELETE FROM identity.sessions WHERE expires_at < $1

-- query: delete_old_security_log
-- role: nexus_system
DELETE FROM identity.security_log WHERE occurred_at < $1

-- query: organizations_of_user
-- role: nexus_system
SELECT o.id, o.name, o.slug, m.role, o.currency, o.reporting_zone
FROM identity.memberships AS m
JOIN identity.organizations AS o ON o.id = m.organization_id AND o.is_active
WHERE m.user_id = $1
ORDER BY m.created_at, o.id

-- query: all_organizations
-- role: nexus_system
SELECT id, name, slug, 'owner' AS role, currency, reporting_zone FROM identity.organizations WHERE is_active ORDER BY created_at, id

-- query: permissions_of
-- role: nexus_system
-- What a person may do in an organization ($2 may be NULL): by membership, by granted roles, by grants that hold everywhere.
SELECT DISTINCT rp.permission
FROM identity.roles AS r
JOIN identity.role_permissions AS rp ON rp.role_id = r.id AND rp.organization_id IS NOT DISTINCT FROM r.organization_id
WHERE (
        r.organization_id IS NULL
        AND r.name = (SELECT 'organization_' || m.role FROM identity.memberships AS m WHERE m.user_id = $1 AND m.organization_id = $2)
    )
    OR EXISTS (
        SELECT FROM identity.user_roles AS ur
        WHERE ur.user_id = $1 AND ur.role_id = r.id
          AND (ur.organization_id IS NULL OR ur.organization_id = $2)
          AND (r.organization_id IS NULL OR r.organization_id = ur.organization_id)
          AND (ur.expires_at IS NULL OR ur.expires_at > $3)
    )
UNION
SELECT unnest(m.extra_permissions) FROM identity.memberships AS m WHERE m.user_id = $1 AND m.organization_id = $2

-- query: insert_organization
-- role: nexus_system
INSERT INTO identity.organizations (id, name, slug, plan, tier, currency, reporting_zone, billing_email)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING *

-- query: organization_by_id
SELECT * FROM identity.organizations WHERE id = $1

-- query: organization_by_slug
-- role: nexus_system
SELECT * FROM identity.organizations WHERE slug = $1 OR id::text = $1

-- query: update_organization
UPDATE identity.organizations
SET name = coalesce($2, name), billing_email = coalesce($3, billing_email), reporting_zone = coalesce($4, reporting_zone),
    settings = coalesce($5::jsonb, settings), updated_at = now()
WHERE id = $1
RETURNING *

-- query: count_organizations
-- role: nexus_system
SELECT count(*) FROM identity.organizations

-- query: add_member
-- role: nexus_system
INSERT INTO identity.memberships (organization_id, user_id, role, extra_permissions, invited_by) VALUES ($1, $2, $3, $4, $5)

-- query: list_members
SELECT m.user_id, u.email, u.name, m.role, m.extra_permissions, u.is_active, m.created_at
FROM identity.memberships AS m
JOIN identity.users AS u ON u.id = m.user_id
WHERE m.organization_id = $1
ORDER BY m.created_at, m.user_id

-- query: member
SELECT m.user_id, u.email, u.name, m.role, m.extra_permissions, u.is_active, m.created_at
FROM identity.memberships AS m
JOIN identity.users AS u ON u.id = m.user_id
WHERE m.organization_id = $1 AND m.user_id = $2

-- query: lock_owners
-- Two owners who leave at once must not both find the other still there.
SELECT user_id FROM identity.memberships WHERE organization_id = $1 AND role = 'owner' ORDER BY user_id FOR UPDATE

-- query: change_member
UPDATE identity.memberships
SET role = coalesce($3, role), extra_permissions = coalesce($4::text[], extra_permissions)
WHERE organization_id = $1 AND user_id = $2

-- query: remove_member
DELETE FROM identity.memberships WHERE organization_id = $1 AND user_id = $2

-- query: grant_role
INSERT INTO identity.user_roles (id, organization_id, user_id, role_id, granted_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT ON CONSTRAINT user_roles_once DO UPDATE SET expires_at = excluded.expires_at, granted_by = excluded.granted_by

-- query: grant_role_everywhere
-- role: nexus_system
INSERT INTO identity.user_roles (id, organization_id, user_id, role_id, granted_by)
SELECT $1, NULL, $2, r.id, NULL FROM identity.roles AS r WHERE r.name = $3 AND r.organization_id IS NULL
ON CONFLICT ON CONSTRAINT user_roles_once DO NOTHING

-- query: revoke_role
DELETE FROM identity.user_roles WHERE organization_id = $1 AND user_id = $2 AND role_id = $3 RETURNING id

-- query: list_roles
SELECT r.id, r.name, r.description, r.organization_id IS NULL AS is_builtin,
       coalesce((SELECT array_agg(rp.permission ORDER BY rp.permission) FROM identity.role_permissions AS rp
                 WHERE rp.role_id = r.id AND rp.organization_id IS NOT DISTINCT FROM r.organization_id), '{}') AS permissions
FROM identity.roles AS r
ORDER BY r.organization_id IS NOT NULL, r.name

-- query: insert_role
INSERT INTO identity.roles (id, organization_id, name, description) VALUES ($1, $2, $3, $4)

-- query: insert_role_permissions
INSERT INTO identity.role_permissions (role_id, organization_id, permission) SELECT $1, $2, unnest($3::text[])

-- query: delete_role
DELETE FROM identity.roles WHERE id = $1 AND organization_id = $2 RETURNING id

-- query: list_permissions
SELECT name, description FROM identity.permissions ORDER BY name

-- query: insert_key
INSERT INTO identity.access_keys (
    id, organization_id, name, prefix, key_hash, scopes, application, user_id, rate_limit_per_minute, expires_at, rotated_from, created_by
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- query: list_keys
SELECT id, name, prefix, scopes, application, user_id, rate_limit_per_minute, expires_at, revoked_at, last_used_at,
       rotated_from, created_by, created_at
FROM identity.access_keys
WHERE organization_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($3 OR revoked_at IS NULL)
ORDER BY id DESC
LIMIT $4

-- query: key_by_id
SELECT id, name, prefix, scopes, application, user_id, rate_limit_per_minute, expires_at, revoked_at, last_used_at,
       rotated_from, created_by, created_at
FROM identity.access_keys
WHERE organization_id = $1 AND id = $2

-- query: revoke_key
UPDATE identity.access_keys SET revoked_at = $3 WHERE organization_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING id

-- query: expire_key
UPDATE identity.access_keys SET expires_at = least(expires_at, $3) WHERE organization_id = $1 AND id = $2

-- query: key_by_hash
-- role: nexus_system
SELECT k.id, k.organization_id, k.scopes, k.name, k.prefix, k.user_id, k.last_used_at
FROM identity.access_keys AS k
JOIN identity.organizations AS o ON o.id = k.organization_id AND o.is_active
LEFT JOIN identity.users AS u ON u.id = k.user_id
WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)
  AND (k.not_before IS NULL OR k.not_before <= $2) AND (k.user_id IS NULL OR u.is_active)

-- query: touch_key
-- role: nexus_system
UPDATE identity.access_keys SET last_used_at = $3 WHERE organization_id = $1 AND id = $2

-- query: log_security
-- role: nexus_system
INSERT INTO identity.security_log (id, organization_id, event_type, severity, user_id, ip_address, user_agent, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb)

-- query: insert_invitation
INSERT INTO identity.invitations (id, organization_id, email, role, token_hash, invited_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- query: list_invitations
SELECT id, email, role, invited_by, expires_at, accepted_at, created_at
FROM identity.invitations WHERE organization_id = $1 ORDER BY created_at DESC

-- query: delete_invitation
DELETE FROM identity.invitations WHERE organization_id = $1 AND id = $2 AND accepted_at IS NULL RETURNING id

-- query: take_invitation
-- role: nexus_system
UPDATE identity.invitations SET accepted_at = $2
WHERE token_hash = $1 AND accepted_at IS NULL AND expires_at > $2
RETURNING id, organization_id, email, role, invited_by
