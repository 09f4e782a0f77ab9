-- metering.repricings: orders to compute the cost of stored calls again from the price book in force now.
-- requires: platform.current_organization_id, platform.audit_row_v1
--
--   waiting --> running --> done
--                  \-----> failed          (a dry run goes the same way and changes no call)
--
-- The worker goes through the calls in the order of (occurred_at, id). Each chunk's calls, journal and the place reached
-- are written in one transaction, so a worker that dies is continued where it was, and nothing is counted twice.
CREATE TABLE metering.repricings (
    organization_id   uuid         NOT NULL,
    id                uuid         NOT NULL,
    state             text         NOT NULL DEFAULT 'waiting'
                                   CONSTRAINT repricings_state CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    cause             text         NOT NULL DEFAULT 'asked'
                                   CONSTRAINT repricings_cause CHECK (cause IN ('asked', 'prices_changed')),
    starts_at         timestamptz  NOT NULL,
    ends_at           timestamptz  NOT NULL,
    provider          text,
    model             text,
    is_dry            boolean      NOT NULL DEFAULT false,
    only_unpriced     boolean      NOT NULL DEFAULT false,
    include_given     boolean      NOT NULL DEFAULT false,
    requested_by      text         NOT NULL DEFAULT '',
    created_at        timestamptz  NOT NULL DEFAULT now(),
    started_at        timestamptz,
    finished_at       timestamptz,
    reached_at        timestamptz,
    reached_id        uuid,
    examined          bigint       NOT NULL DEFAULT 0,
    changed           bigint       NOT NULL DEFAULT 0,
    totals            jsonb        NOT NULL DEFAULT '[]',
    error             text,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT repricings_range CHECK (starts_at < ends_at)
);
-- Answers: which repricing is next.
CREATE INDEX repricings_open_idx ON metering.repricings (created_at, id) WHERE state IN ('waiting', 'running');

ALTER TABLE metering.repricings ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.repricings FORCE ROW LEVEL SECURITY;
CREATE POLICY repricings_tenant ON metering.repricings TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY repricings_system ON metering.repricings TO nexus_system USING (true);
GRANT SELECT, INSERT ON metering.repricings TO nexus_service;
GRANT SELECT ON metering.repricings TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metering.repricings TO nexus_system;
-- Orders and their ends are audited; the steps between would only repeat each other.
CREATE TRIGGER repricings_audit AFTER INSERT ON metering.repricings
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER repricings_end_audit AFTER UPDATE ON metering.repricings
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION platform.audit_row_v1();
