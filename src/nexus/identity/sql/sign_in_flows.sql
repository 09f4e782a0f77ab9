-- identity.sign_in_flows: sign-ins that are at a provider just now; each comes back once, to the browser it left from.
-- requires: identity.sign_in_providers, identity.users
CREATE TABLE identity.sign_in_flows (
    state_hash       bytea        PRIMARY KEY CONSTRAINT sign_in_flows_state_length CHECK (length(state_hash) = 32),
    browser_hash     bytea        NOT NULL CONSTRAINT sign_in_flows_browser_length CHECK (length(browser_hash) = 32),
    provider_id      uuid         NOT NULL REFERENCES identity.sign_in_providers (id) ON DELETE CASCADE,
    nonce            text         NOT NULL,
    verifier_sealed  bytea        NOT NULL,
    next_path        text         NOT NULL,
    link_user_id     uuid         REFERENCES identity.users (id) ON DELETE CASCADE,
    expires_at       timestamptz  NOT NULL
);
-- Answers the clean-up.
CREATE INDEX sign_in_flows_expires_at_idx ON identity.sign_in_flows (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sign_in_flows TO nexus_system;
