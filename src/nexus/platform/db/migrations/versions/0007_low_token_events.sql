-- Low-token events. Frozen: later changes come as later revisions.
-- admission.low_token_events: times in which a bucket was low for longer than a moment; each is written once, and closed when it is over.
-- requires: identity.organizations, platform.current_organization_id
CREATE TABLE admission.low_token_events (
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id               uuid         NOT NULL,
    bucket           text         NOT NULL,
    severity         text         NOT NULL CONSTRAINT low_token_events_severity CHECK (severity IN ('warning', 'critical')),
    -- What of the capacity was left when it was noted.
    fill             numeric(5,4) NOT NULL CONSTRAINT low_token_events_fill CHECK (fill BETWEEN 0 AND 1),
    began_at         timestamptz  NOT NULL,
    noted_at         timestamptz  NOT NULL,
    ended_at         timestamptz,
    PRIMARY KEY (organization_id, id)
);
-- Whoever notes it, and however many do: of one bucket and severity one event is open.
CREATE UNIQUE INDEX low_token_events_open_idx ON admission.low_token_events (organization_id, bucket, severity)
    WHERE ended_at IS NULL;
ALTER TABLE admission.low_token_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.low_token_events FORCE ROW LEVEL SECURITY;
CREATE POLICY low_token_events_tenant ON admission.low_token_events FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY low_token_events_system ON admission.low_token_events TO nexus_system USING (true);
GRANT SELECT ON admission.low_token_events TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE (ended_at), DELETE ON admission.low_token_events TO nexus_system;
