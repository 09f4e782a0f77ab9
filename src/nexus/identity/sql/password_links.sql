-- identity.password_links: one-time links by which a person sets a new password; the token is kept as its SHA-256.
-- requires: identity.users, platform.audit_row_v1
CREATE TABLE identity.password_links (
    id          uuid         PRIMARY KEY,
    token_hash  bytea        NOT NULL CONSTRAINT password_links_token_unique UNIQUE
                             CONSTRAINT password_links_token_length CHECK (length(token_hash) = 32),
    user_id     uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    made_by     uuid,
    created_at  timestamptz  NOT NULL DEFAULT now(),
    expires_at  timestamptz  NOT NULL,
    used_at     timestamptz
);
-- Answers "none is left once one is used", and the clean-up.
CREATE INDEX password_links_user_id_idx ON identity.password_links (user_id);
CREATE INDEX password_links_expires_at_idx ON identity.password_links (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.password_links TO nexus_system;
CREATE TRIGGER password_links_audit AFTER INSERT OR UPDATE OR DELETE ON identity.password_links
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('token_hash');
