-- query: second_factor
-- role: nexus_system
SELECT f.confirmed_at, (SELECT count(*) FROM identity.recovery_codes AS c WHERE c.user_id = f.user_id AND c.used_at IS NULL) AS codes_left
FROM identity.second_factors AS f
WHERE f.user_id = $1

-- query: has_second_factor
-- role: nexus_system
SELECT EXISTS (SELECT FROM identity.second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL)

-- query: lock_second_factor
-- role: nexus_system
-- The row stays locked until the code is taken or refused: two requests cannot both be given the same one.
SELECT secret_sealed, confirmed_at, last_step FROM identity.second_factors WHERE user_id = $1 FOR UPDATE

-- query: start_second_factor
-- role: nexus_system
-- A confirmed one is not replaced: it has to be taken away first.
INSERT INTO identity.second_factors AS f (user_id, secret_sealed, created_at) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE SET secret_sealed = excluded.secret_sealed, created_at = excluded.created_at, last_step = 0
WHERE f.confirmed_at IS NULL

-- query: take_step
-- role: nexus_system
UPDATE identity.second_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2

-- query: confirm_second_factor
-- role: nexus_system
UPDATE identity.second_factors SET confirmed_at = $2 WHERE user_id = $1 AND confirmed_at IS NULL

-- query: mark_second_factor
-- role: nexus_system
UPDATE identity.users SET has_second_factor = $2, updated_at = now() WHERE id = $1

-- query: delete_second_factor
-- role: nexus_system
DELETE FROM identity.second_factors WHERE user_id = $1

-- query: delete_recovery_codes
-- role: nexus_system
DELETE FROM identity.recovery_codes WHERE user_id = $1

-- query: insert_recovery_codes
-- role: nexus_system
INSERT INTO identity.recovery_codes (user_id, code_hash, created_at) SELECT $1, unnest($2::bytea[]), $3

-- query: use_recovery_code
-- role: nexus_system
UPDATE identity.recovery_codes SET used_at = $3 WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL

-- query: mark_mfa_verified
-- role: nexus_system
UPDATE identity.sessions SET is_mfa_verified = true WHERE id = $1

-- query: insert_challenge
-- role: nexus_system
INSERT INTO identity.sign_in_challenges (token_hash, user_id, expires_at, method) VALUES ($1, $2, $3, $4)

-- query: challenge
-- role: nexus_system
SELECT c.user_id, c.method
FROM identity.sign_in_challenges AS c
JOIN identity.users AS u ON u.id = c.user_id AND u.is_active
WHERE c.token_hash = $1 AND c.expires_at > $2

-- query: delete_challenge
-- role: nexus_system
DELETE FROM identity.sign_in_challenges WHERE token_hash = $1

-- query: delete_challenges
-- role: nexus_system
DELETE FROM identity.sign_in_challenges WHERE user_id = $1

-- query: delete_old_challenges
-- role: nexus_system
DELETE FROM identity.sign_in_challenges WHERE expires_at < $1
