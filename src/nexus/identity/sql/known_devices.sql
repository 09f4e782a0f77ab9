-- identity.known_devices: browsers from which a person has signed in; somebody else's failures do not lock these out.
-- requires: identity.users
-- The cookie's token is kept as its SHA-256; several people may share a browser, hence the pair.
CREATE TABLE identity.known_devices (
    id            uuid         NOT NULL CONSTRAINT known_devices_id_unique UNIQUE,
    token_hash    bytea        NOT NULL CONSTRAINT known_devices_token_length CHECK (length(token_hash) = 32),
    user_id       uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    created_at    timestamptz  NOT NULL DEFAULT now(),
    last_used_at  timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (token_hash, user_id)
);
-- Answers "forget all devices of a person".
CREATE INDEX known_devices_user_id_idx ON identity.known_devices (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.known_devices TO nexus_system;
