-- identity.passwords: password hashes (argon2id); no login but nexus_system reads them.
-- requires: identity.users, platform.audit_row_v1
CREATE TABLE identity.passwords (
    user_id         uuid         PRIMARY KEY REFERENCES identity.users (id) ON DELETE CASCADE,
    password_hash   text         NOT NULL,
    changed_at      timestamptz  NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.passwords TO nexus_system;
CREATE TRIGGER passwords_audit AFTER INSERT OR UPDATE OF password_hash OR DELETE ON identity.passwords
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('password_hash');
