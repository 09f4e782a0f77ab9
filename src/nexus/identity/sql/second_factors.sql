-- identity.second_factors: a person's TOTP secret, sealed; it counts once it is confirmed by a first code.
-- requires: identity.users, platform.audit_row_v1
-- `last_step` is the 30-second step of the last code that was taken: no code is taken twice, nor one before it.
CREATE TABLE identity.second_factors (
    user_id        uuid         PRIMARY KEY REFERENCES identity.users (id) ON DELETE CASCADE,
    secret_sealed  bytea        NOT NULL,
    created_at     timestamptz  NOT NULL DEFAULT now(),
    confirmed_at   timestamptz,
    last_step      bigint       NOT NULL DEFAULT 0
);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.second_factors TO nexus_system;
CREATE TRIGGER second_factors_audit AFTER INSERT OR UPDATE OF secret_sealed, confirmed_at OR DELETE ON identity.second_factors
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('secret_sealed');
