-- query: user_by_login
-- role: nexus_system
SELECT u.*, p.password_hash
FROM identity.users AS u
LEFT JOIN identity.passwords AS p ON p.user_id = u.id
WHERE lower(u.email) = lower($1) OR lower(u.username) = lower($1)
LIMIT 1

-- query: may_enter
-- role: nexus_system
-- The password must still be the one that was checked, and the account active, at the moment the session opens.
SELECT true
FROM identity.passwords AS p
JOIN identity.users AS u ON u.id = p.user_id AND u.is_active
WHERE p.user_id = $1 AND p.password_hash = $2
FOR UPDATE OF p

-- query: password_hash
-- role: nexus_system
SELECT password_hash FROM identity.passwords WHERE user_id = $1

-- query: set_password
-- role: nexus_system
INSERT INTO identity.passwords AS p (user_id, password_hash) VALUES ($1, $2)
ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash, changed_at = now()

-- query: rehash_password
-- role: nexus_system
-- The same password under today's parameters: not a change of it.
UPDATE identity.passwords SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2

-- query: count_attempt
-- role: nexus_system
-- Counts an attempt as failed; returns until when the lane is closed, NULL while it is open. A closed lane does not
-- count on, and one that was quiet for as long as a lane stays closed begins anew. $4 is how many attempts may fail.
INSERT INTO identity.sign_in_attempts AS a (subject, source, failed_count, last_failed_at)
VALUES ($1, $2, 1, $3)
ON CONFLICT (subject, source) DO UPDATE
SET failed_count = CASE WHEN a.locked_until > $3 THEN a.failed_count
                        WHEN a.locked_until IS NOT NULL OR a.last_failed_at <= $3 - $5::interval THEN 1
                        ELSE a.failed_count + 1 END,
    locked_until = CASE WHEN a.locked_until > $3 THEN a.locked_until
                        WHEN a.locked_until IS NOT NULL OR a.last_failed_at <= $3 - $5::interval THEN NULL
                        WHEN a.failed_count + 1 > $4 THEN $3 + $5::interval END,
    last_failed_at = CASE WHEN a.locked_until > $3 THEN a.last_failed_at ELSE $3 END
RETURNING locked_until

-- query: close_lane
-- role: nexus_system
-- After a failure: closes the lane if that was the last it may make; returns until when.
UPDATE identity.sign_in_attempts SET locked_until = coalesce(CASE WHEN locked_until > $4 THEN locked_until END, $5)
WHERE subject = $1 AND source = $2 AND failed_count >= $3
RETURNING locked_until

-- query: clear_lane
-- role: nexus_system
DELETE FROM identity.sign_in_attempts WHERE subject = $1 AND source = $2

-- query: clear_lanes
-- role: nexus_system
DELETE FROM identity.sign_in_attempts WHERE subject = $1

-- query: withdraw_attempt
-- role: nexus_system
UPDATE identity.sign_in_attempts SET failed_count = greatest(failed_count - 1, 0) WHERE subject = $1 AND source = $2

-- query: delete_old_attempts
-- role: nexus_system
DELETE FROM identity.sign_in_attempts WHERE last_failed_at < $1 AND (locked_until IS NULL OR locked_until < $1)

-- query: known_device
-- role: nexus_system
SELECT id FROM identity.known_devices WHERE token_hash = $1 AND user_id = $2

-- query: know_device
-- role: nexus_system
INSERT INTO identity.known_devices AS d (id, token_hash, user_id, created_at, last_used_at) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (token_hash, user_id) DO UPDATE SET last_used_at = excluded.last_used_at

-- query: forget_devices
-- role: nexus_system
-- All of a person's but the one ($2, may be NULL) they are at.
DELETE FROM identity.known_devices WHERE user_id = $1 AND ($2::bytea IS NULL OR token_hash <> $2)

-- query: delete_old_devices
-- role: nexus_system
DELETE FROM identity.known_devices WHERE last_used_at < $1

-- query: count_login
-- role: nexus_system
UPDATE identity.users SET last_login_at = $2, login_count = login_count + 1 WHERE id = $1

-- query: insert_session
-- role: nexus_system
INSERT INTO identity.sessions (
    id, user_id, token_hash, created_at, last_accessed_at, authenticated_at, expires_at, idle_seconds, ip_address, user_agent,
    login_method, is_mfa_verified
) VALUES ($1, $2, $3, $4, $4, $4, $5, $6, $7, $8, $9, $10)

-- query: session_by_token
-- role: nexus_system
SELECT s.id, s.user_id, s.expires_at, s.last_accessed_at, u.email, u.preferences ->> 'default_organization' AS default_organization
FROM identity.sessions AS s
JOIN identity.users AS u ON u.id = s.user_id AND u.is_active
WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND s.expires_at > $2
  AND s.last_accessed_at > $2 - make_interval(secs => s.idle_seconds)

-- query: sessions_that_may
-- role: nexus_system
-- Of many sessions those that live and whose people, members of one organization, hold a permission there. A person with
-- many sessions is asked about once.
WITH alive AS (
    SELECT s.token_hash, s.user_id
    FROM identity.sessions AS s
    JOIN identity.users AS u ON u.id = s.user_id AND u.is_active
    JOIN identity.memberships AS m ON m.user_id = s.user_id AND m.organization_id = $2
    JOIN identity.organizations AS o ON o.id = m.organization_id AND o.is_active
    WHERE s.token_hash = ANY ($1::bytea[]) AND s.revoked_at IS NULL AND s.expires_at > $3
      AND s.last_accessed_at > $3 - make_interval(secs => s.idle_seconds)
)
SELECT token_hash
FROM alive
WHERE user_id IN (
    SELECT person.user_id
    FROM (SELECT DISTINCT user_id FROM alive) AS person
    WHERE EXISTS (SELECT FROM identity.permissions_of_v1(person.user_id, $2, $3) AS held WHERE held IN ($4, '*'))
)

-- query: session_authenticated_at
-- role: nexus_system
SELECT authenticated_at FROM identity.sessions WHERE id = $1 AND revoked_at IS NULL

-- query: confirm_session
-- role: nexus_system
UPDATE identity.sessions SET authenticated_at = $3, last_accessed_at = $3, token_hash = $2
WHERE id = $1 AND revoked_at IS NULL AND expires_at > $3
RETURNING expires_at

-- query: touch_session
-- role: nexus_system
UPDATE identity.sessions SET last_accessed_at = $2 WHERE id = $1 AND last_accessed_at < $2

-- query: list_sessions
-- role: nexus_system
SELECT id, created_at, expires_at, last_accessed_at, authenticated_at, ip_address, user_agent, login_method, is_mfa_verified,
       id IS NOT DISTINCT FROM $3::uuid AS is_current
FROM identity.sessions
WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND last_accessed_at > $2 - make_interval(secs => idle_seconds)
ORDER BY created_at DESC, id DESC

-- query: revoke_session
-- role: nexus_system
UPDATE identity.sessions SET revoked_at = $3 WHERE user_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING id

-- query: revoke_session_by_token
-- role: nexus_system
UPDATE identity.sessions SET revoked_at = $2 WHERE token_hash = $1 AND revoked_at IS NULL

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

-- query: log_security
-- role: nexus_system
INSERT INTO identity.security_log (id, organization_id, event_type, severity, user_id, ip_address, user_agent, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb)
