-- identity.security_log: sign-ins, lockouts and the like, with how grave they are; append-only.
-- requires: platform.current_organization_id
CREATE TABLE identity.security_log (
    id               uuid         PRIMARY KEY,
    occurred_at      timestamptz  NOT NULL DEFAULT clock_timestamp(),
    organization_id  uuid,
    event_type       text         NOT NULL,
    severity         text         NOT NULL CONSTRAINT security_log_severity CHECK (severity IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    user_id          uuid,
    ip_address       text,
    user_agent       text,
    detail           jsonb        NOT NULL DEFAULT '{}'
);
-- Answers the search by time, and the clean-up.
CREATE INDEX security_log_occurred_at_idx ON identity.security_log (occurred_at);
ALTER TABLE identity.security_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.security_log FORCE ROW LEVEL SECURITY;
CREATE POLICY security_log_tenant ON identity.security_log FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY security_log_system ON identity.security_log TO nexus_system USING (true);
GRANT SELECT ON identity.security_log TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, DELETE ON identity.security_log TO nexus_system;
