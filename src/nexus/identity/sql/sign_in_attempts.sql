-- identity.sign_in_attempts: failed attempts to prove who one is, counted per account and source; the state of lockout.
-- `subject` is the SHA-256 of the account's id, or of what was typed where there is no such account, so that unknown
-- accounts lock just as known ones do. `source` is an address, a known device, a session, or '*' for all unknown sources.
CREATE TABLE identity.sign_in_attempts (
    subject         bytea        NOT NULL CONSTRAINT sign_in_attempts_subject_length CHECK (length(subject) = 32),
    source          text         NOT NULL,
    failed_count    integer      NOT NULL,
    locked_until    timestamptz,
    last_failed_at  timestamptz  NOT NULL,
    PRIMARY KEY (subject, source)
);
-- Answers the clean-up.
CREATE INDEX sign_in_attempts_last_failed_at_idx ON identity.sign_in_attempts (last_failed_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sign_in_attempts TO nexus_system;
