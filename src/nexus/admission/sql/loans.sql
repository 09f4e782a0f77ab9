-- admission.loans: loans between buckets, as Redis last told of them; what is open is put back from here when Redis lost it.
-- requires: identity.organizations, platform.current_organization_id
-- Not audited row by row, for repayments change it each second: what people do to loans, and that one defaults, is recorded as
-- actions, and every unit that moves stands in the token transactions.
CREATE TABLE admission.loans (
    organization_id  uuid          NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id               uuid          NOT NULL,
    rule_id          uuid,
    borrower         text          NOT NULL CONSTRAINT loans_borrower_length CHECK (length(borrower) BETWEEN 1 AND 600),
    -- NULL: the borrower's own future.
    lender           text          CONSTRAINT loans_lender_length CHECK (length(lender) BETWEEN 1 AND 600),
    state            text          NOT NULL CONSTRAINT loans_state
                                   CHECK (state IN ('active', 'defaulted', 'repaid', 'cancelled', 'written_off')),
    principal        bigint        NOT NULL CONSTRAINT loans_principal CHECK (principal > 0),
    -- Units to pay on top, in all.
    interest         bigint        NOT NULL CONSTRAINT loans_interest CHECK (interest >= 0),
    repaid           bigint        NOT NULL DEFAULT 0 CONSTRAINT loans_repaid CHECK (repaid BETWEEN 0 AND principal),
    interest_paid    bigint        NOT NULL DEFAULT 0 CONSTRAINT loans_interest_paid CHECK (interest_paid BETWEEN 0 AND interest),
    -- Thousandths of what the borrower refills, and thousandths of a unit that made no whole one yet.
    share            integer       NOT NULL CONSTRAINT loans_share CHECK (share BETWEEN 1 AND 1000),
    rest             integer       NOT NULL DEFAULT 0,
    -- The borrower's level when it was granted.
    had              bigint        NOT NULL,
    -- Number of the last request that did something to it.
    sequence         integer       NOT NULL DEFAULT 0,
    reason           text          NOT NULL DEFAULT '' CONSTRAINT loans_reason_length CHECK (length(reason) <= 1000),
    requested_by     text          NOT NULL,
    granted_at       timestamptz   NOT NULL,
    due_at           timestamptz   NOT NULL,
    defaulted_at     timestamptz,
    ended_at         timestamptz,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT loans_due_later CHECK (due_at > granted_at),
    CONSTRAINT loans_end CHECK ((state IN ('active', 'defaulted')) = (ended_at IS NULL))
);
-- What is open, for the worker each second and for rebuilding Redis.
CREATE INDEX loans_open_idx ON admission.loans (organization_id, borrower) WHERE ended_at IS NULL;
-- What is past its retention.
CREATE INDEX loans_ended_at_idx ON admission.loans (ended_at) WHERE ended_at IS NOT NULL;
ALTER TABLE admission.loans ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.loans FORCE ROW LEVEL SECURITY;
CREATE POLICY loans_tenant ON admission.loans TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY loans_system ON admission.loans TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON admission.loans TO nexus_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON admission.loans TO nexus_system;
GRANT SELECT ON admission.loans TO nexus_readonly;
