-- identity.linked_identities: whom a provider's subject is here. The subject decides, never the address it comes with.
-- requires: identity.sign_in_providers, identity.users
CREATE TABLE identity.linked_identities (
    provider_id   uuid         NOT NULL REFERENCES identity.sign_in_providers (id) ON DELETE CASCADE,
    subject       text         NOT NULL CONSTRAINT linked_identities_subject_length CHECK (length(subject) BETWEEN 1 AND 255),
    user_id       uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    email         text,
    created_at    timestamptz  NOT NULL DEFAULT now(),
    last_used_at  timestamptz,
    PRIMARY KEY (provider_id, subject),
    CONSTRAINT linked_identities_once UNIQUE (provider_id, user_id)
);
-- Answers the list of a person's linked identities.
CREATE INDEX linked_identities_user_id_idx ON identity.linked_identities (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.linked_identities TO nexus_system;
CREATE TRIGGER linked_identities_audit AFTER INSERT OR DELETE ON identity.linked_identities
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
