-- identity.users: people. A user belongs to organizations through memberships; passwords are in a table of their own.
-- requires: platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE identity.users (
    id                 uuid         PRIMARY KEY,
    email              text         NOT NULL CONSTRAINT users_email_form CHECK (email ~ '^[^@\s]+@[^@\s]+$' AND length(email) <= 320),
    username           text         CONSTRAINT users_username_form CHECK (username ~ '^[A-Za-z0-9._-]{2,64}$'),
    name               text         NOT NULL DEFAULT '',
    is_email_verified  boolean      NOT NULL DEFAULT false,
    image_url          text,
    timezone           text         NOT NULL DEFAULT 'UTC',
    locale             text         NOT NULL DEFAULT 'en',
    preferences        jsonb        NOT NULL DEFAULT '{}',
    has_second_factor  boolean      NOT NULL DEFAULT false,
    is_active          boolean      NOT NULL DEFAULT true,
    last_login_at      timestamptz,
    login_count        bigint       NOT NULL DEFAULT 0,
    created_at         timestamptz  NOT NULL DEFAULT now(),
    updated_at         timestamptz  NOT NULL DEFAULT now()
);
-- Sign-in finds a user by address or name in any case, and no two may differ by case only.
CREATE UNIQUE INDEX users_email_idx ON identity.users (lower(email));
CREATE UNIQUE INDEX users_username_idx ON identity.users (lower(username)) WHERE username IS NOT NULL;
ALTER TABLE identity.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.users FORCE ROW LEVEL SECURITY;
CREATE POLICY users_system ON identity.users TO nexus_system USING (true);
GRANT SELECT ON identity.users TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.users TO nexus_system;
CREATE TRIGGER users_audit AFTER INSERT OR UPDATE OF email, username, name, is_email_verified, timezone, locale, preferences, is_active OR DELETE
    ON identity.users FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER users_version AFTER INSERT OR UPDATE OF email, is_active OR DELETE ON identity.users
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('keys');
