-- The kinds of transactions of loans, and the accounts they are posted to.
ALTER TABLE admission.token_transactions DROP CONSTRAINT token_transactions_kind;
ALTER TABLE admission.token_transactions ADD CONSTRAINT token_transactions_kind
    CHECK (kind IN ('charge', 'settle', 'release', 'reap', 'adjust', 'lease', 'return', 'borrow', 'repay', 'interest',
                    'default', 'cancel', 'write_off', 'restore'));
ALTER TABLE admission.token_transactions ADD COLUMN account text NOT NULL DEFAULT 'liquid'
    CONSTRAINT token_transactions_account CHECK (account IN ('liquid', 'debt', 'receivable', 'interest'));

-- admission.borrowing_rules: which buckets may borrow, from whom, and on what terms.
-- requires: admission.applications, platform.audit_row_v1
CREATE TABLE admission.borrowing_rules (
    organization_id        uuid          NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id                     uuid          NOT NULL,
    name                   text          NOT NULL CONSTRAINT borrowing_rules_name_form CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    -- Whose buckets may borrow; NULL: every bucket of the organization.
    application_id         uuid,
    lends_from             text          NOT NULL CONSTRAINT borrowing_rules_lends_from
                                         CHECK (lends_from IN ('own_future', 'application', 'any')),
    lender_application_id  uuid,
    -- Only where it is stricter than the system's configuration does it count.
    max_ratio              numeric(6,3)  NOT NULL CONSTRAINT borrowing_rules_ratio CHECK (max_ratio > 1 AND max_ratio <= 100),
    interest_rate          numeric(6,4)  NOT NULL CONSTRAINT borrowing_rules_interest CHECK (interest_rate BETWEEN 0 AND 10),
    max_seconds            integer       NOT NULL CONSTRAINT borrowing_rules_time CHECK (max_seconds BETWEEN 1 AND 86400),
    -- Of what the borrower refills, until the loan is repaid.
    repay_share            numeric(4,3)  NOT NULL CONSTRAINT borrowing_rules_share CHECK (repay_share BETWEEN 0.001 AND 1),
    -- Open at once, of one bucket.
    most_loans             integer       NOT NULL CONSTRAINT borrowing_rules_most CHECK (most_loans BETWEEN 1 AND 100),
    is_active              boolean       NOT NULL DEFAULT true,
    created_at             timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT borrowing_rules_name_unique UNIQUE (organization_id, name),
    CONSTRAINT borrowing_rules_lender CHECK ((lends_from = 'application') = (lender_application_id IS NOT NULL)),
    CONSTRAINT borrowing_rules_application_fkey FOREIGN KEY (organization_id, application_id)
        REFERENCES admission.applications (organization_id, id),
    CONSTRAINT borrowing_rules_lender_application_fkey FOREIGN KEY (organization_id, lender_application_id)
        REFERENCES admission.applications (organization_id, id)
);
ALTER TABLE admission.borrowing_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.borrowing_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY borrowing_rules_tenant ON admission.borrowing_rules TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
GRANT SELECT, INSERT, UPDATE ON admission.borrowing_rules TO nexus_service;
GRANT SELECT ON admission.borrowing_rules TO nexus_readonly;
CREATE TRIGGER borrowing_rules_audit AFTER INSERT OR UPDATE OR DELETE ON admission.borrowing_rules
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();

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
