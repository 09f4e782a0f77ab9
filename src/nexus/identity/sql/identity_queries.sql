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
    preferences = jsonb_strip_nulls(preferences || coalesce($7::jsonb, '{}')), is_active = coalesce($8, is_active), updated_at = now()
WHERE id = $1
RETURNING *

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
SELECT identity.permissions_of_v1($1, $2, $3)

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
SELECT m.user_id, u.email, u.name, m.role, m.extra_permissions, u.is_active, u.has_second_factor, u.last_login_at, m.created_at,
       coalesce((SELECT jsonb_agg(jsonb_build_object('role_id', r.id, 'name', r.name, 'expires_at', ur.expires_at) ORDER BY r.name)
                 FROM identity.user_roles AS ur JOIN identity.roles AS r ON r.id = ur.role_id
                 WHERE ur.organization_id = m.organization_id AND ur.user_id = m.user_id
                   AND (ur.expires_at IS NULL OR ur.expires_at > $2)), '[]') AS roles
FROM identity.memberships AS m
JOIN identity.users AS u ON u.id = m.user_id
WHERE m.organization_id = $1
ORDER BY m.created_at, m.user_id

-- query: member
SELECT m.user_id, u.email, u.name, m.role, m.extra_permissions, u.is_active, u.has_second_factor, u.last_login_at, m.created_at,
       coalesce((SELECT jsonb_agg(jsonb_build_object('role_id', r.id, 'name', r.name, 'expires_at', ur.expires_at) ORDER BY r.name)
                 FROM identity.user_roles AS ur JOIN identity.roles AS r ON r.id = ur.role_id
                 WHERE ur.organization_id = m.organization_id AND ur.user_id = m.user_id
                   AND (ur.expires_at IS NULL OR ur.expires_at > $3)), '[]') AS roles
FROM identity.memberships AS m
JOIN identity.users AS u ON u.id = m.user_id
WHERE m.organization_id = $1 AND m.user_id = $2

-- query: is_member_by_email
SELECT EXISTS (
    SELECT FROM identity.memberships AS m JOIN identity.users AS u ON u.id = m.user_id
    WHERE m.organization_id = $1 AND lower(u.email) = lower($2)
)

-- query: lock_owners
-- Two owners who leave at once must not both find the other still there. One who is shut out counts for nothing.
SELECT m.user_id
FROM identity.memberships AS m
JOIN identity.users AS u ON u.id = m.user_id
WHERE m.organization_id = $1 AND m.role = 'owner' AND u.is_active
ORDER BY m.user_id
FOR UPDATE OF m

-- query: change_member
UPDATE identity.memberships
SET role = coalesce($3, role), extra_permissions = coalesce($4::text[], extra_permissions)
WHERE organization_id = $1 AND user_id = $2

-- query: remove_member
DELETE FROM identity.memberships WHERE organization_id = $1 AND user_id = $2

-- query: remove_roles
-- Roles granted within an organization end with the membership.
DELETE FROM identity.user_roles WHERE organization_id = $1 AND user_id = $2

-- query: remove_invitations_by
-- What somebody offered does not outlive their being able to offer it.
DELETE FROM identity.invitations WHERE organization_id = $1 AND invited_by = $2 AND accepted_at IS NULL

-- query: end_expired_roles
-- role: nexus_system
DELETE FROM identity.user_roles WHERE expires_at <= $1

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
-- A person's key does what its scopes say and the person may still do, as in identity.snapshot_keys_v1.
SELECT k.id, k.organization_id, k.name, k.prefix, k.user_id, k.last_used_at,
       CASE WHEN k.user_id IS NULL THEN k.scopes
            ELSE identity.narrowed_scopes_v1(k.scopes, ARRAY(SELECT identity.permissions_of_v1(k.user_id, k.organization_id, $2)))
       END AS scopes
FROM identity.access_keys AS k
JOIN identity.organizations AS o ON o.id = k.organization_id AND o.is_active
LEFT JOIN identity.users AS u ON u.id = k.user_id
WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)
  AND (k.not_before IS NULL OR k.not_before <= $2) AND (k.user_id IS NULL OR u.is_active)

-- query: touch_key
-- role: nexus_system
UPDATE identity.access_keys SET last_used_at = $3 WHERE organization_id = $1 AND id = $2

-- query: insert_invitation
INSERT INTO identity.invitations (id, organization_id, email, role, token_hash, invited_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- query: replace_invitations
-- A new invitation takes the place of those that the address has not accepted.
DELETE FROM identity.invitations WHERE organization_id = $1 AND lower(email) = lower($2) AND accepted_at IS NULL

-- query: list_invitations
SELECT id, email, role, invited_by, expires_at, accepted_at, created_at
FROM identity.invitations WHERE organization_id = $1 ORDER BY created_at DESC, id DESC

-- query: delete_invitation
DELETE FROM identity.invitations WHERE organization_id = $1 AND id = $2 AND accepted_at IS NULL RETURNING id

-- query: look_at_invitation
-- role: nexus_system
SELECT i.email, i.role, i.expires_at, o.name AS organization,
       NOT EXISTS (SELECT FROM identity.users AS u WHERE lower(u.email) = lower(i.email)) AS needs_password
FROM identity.invitations AS i
JOIN identity.organizations AS o ON o.id = i.organization_id AND o.is_active
WHERE i.token_hash = $1 AND i.accepted_at IS NULL AND i.expires_at > $2

-- query: take_invitation
-- role: nexus_system
UPDATE identity.invitations SET accepted_at = $2
WHERE token_hash = $1 AND accepted_at IS NULL AND expires_at > $2
RETURNING id, organization_id, email, role, invited_by

-- query: delete_old_invitations
-- role: nexus_system
DELETE FROM identity.invitations WHERE expires_at < $1

-- query: permissions_beyond
-- role: nexus_system
-- Whether a person is more than a member of this one organization: of another one too, or holds a role everywhere.
SELECT EXISTS (SELECT FROM identity.memberships WHERE user_id = $1 AND organization_id <> $2)
    OR EXISTS (SELECT FROM identity.user_roles WHERE user_id = $1 AND organization_id IS DISTINCT FROM $2)

-- query: insert_password_link
-- role: nexus_system
INSERT INTO identity.password_links (id, token_hash, user_id, made_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)

-- query: use_password_link
-- role: nexus_system
UPDATE identity.password_links AS l SET used_at = $2
FROM identity.users AS u
WHERE l.token_hash = $1 AND l.used_at IS NULL AND l.expires_at > $2 AND u.id = l.user_id AND u.is_active
RETURNING l.user_id

-- query: delete_password_links
-- role: nexus_system
DELETE FROM identity.password_links WHERE user_id = $1 AND used_at IS NULL

-- query: delete_old_password_links
-- role: nexus_system
DELETE FROM identity.password_links WHERE expires_at < $1
