-- identity.sign_in_challenges: sign-ins whose password was right and whose second factor is due; kept for minutes.
-- requires: identity.users
CREATE TABLE identity.sign_in_challenges (
    token_hash  bytea        PRIMARY KEY CONSTRAINT sign_in_challenges_token_length CHECK (length(token_hash) = 32),
    user_id     uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    expires_at  timestamptz  NOT NULL,
    method      text         NOT NULL DEFAULT 'password'
                             CONSTRAINT sign_in_challenges_method CHECK (method IN ('password', 'single_sign_on'))
);
-- Answers the clean-up, and "none is left once the password changes".
CREATE INDEX sign_in_challenges_expires_at_idx ON identity.sign_in_challenges (expires_at);
CREATE INDEX sign_in_challenges_user_id_idx ON identity.sign_in_challenges (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sign_in_challenges TO nexus_system;
