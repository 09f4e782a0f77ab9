-- identity.sessions: sign-in sessions. The cookie's token is kept as its SHA-256; a person's, so of no organization.
-- requires: identity.users
-- `authenticated_at` is when the person last proved who they are: sensitive changes ask that it is recent.
CREATE TABLE identity.sessions (
    id                uuid         PRIMARY KEY,
    user_id           uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    token_hash        bytea        NOT NULL CONSTRAINT sessions_token_unique UNIQUE
                                   CONSTRAINT sessions_token_length CHECK (length(token_hash) = 32),
    created_at        timestamptz  NOT NULL DEFAULT now(),
    expires_at        timestamptz  NOT NULL,
    last_accessed_at  timestamptz  NOT NULL DEFAULT now(),
    authenticated_at  timestamptz  NOT NULL DEFAULT now(),
    idle_seconds      integer      NOT NULL DEFAULT 43200 CONSTRAINT sessions_idle_positive CHECK (idle_seconds > 0),
    revoked_at        timestamptz,
    ip_address        text,
    user_agent        text,
    login_method      text         NOT NULL DEFAULT 'password'
                                   CONSTRAINT sessions_login_method CHECK (login_method IN ('password', 'single_sign_on')),
    is_mfa_verified   boolean      NOT NULL DEFAULT false,
    data              jsonb        NOT NULL DEFAULT '{}'
);
-- Answers the list of a person's sessions.
CREATE INDEX sessions_user_id_idx ON identity.sessions (user_id);
-- Answers the clean-up of expired ones.
CREATE INDEX sessions_expires_at_idx ON identity.sessions (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sessions TO nexus_system;
