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
