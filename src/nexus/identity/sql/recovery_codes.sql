-- identity.recovery_codes: codes that each stand in for the second factor once; 120 random bits, kept as their SHA-256.
-- requires: identity.second_factors
CREATE TABLE identity.recovery_codes (
    user_id     uuid         NOT NULL REFERENCES identity.second_factors (user_id) ON DELETE CASCADE,
    code_hash   bytea        NOT NULL CONSTRAINT recovery_codes_hash_length CHECK (length(code_hash) = 32),
    created_at  timestamptz  NOT NULL DEFAULT now(),
    used_at     timestamptz,
    PRIMARY KEY (user_id, code_hash)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.recovery_codes TO nexus_system;
