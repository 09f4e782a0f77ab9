-- costs.budgets: a ceiling on spend for one scope and each period of a calendar.
-- requires: identity.organizations, platform.audit_row_v1, platform.bump_snapshot_v1
-- What was said last, by whom and why; the audit log holds what was said before. Nothing here says what was spent: that is the
-- ledger of calls' to tell (costs.spend_v1).
CREATE TABLE costs.budgets (
    organization_id  uuid            NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id               uuid            NOT NULL,
    name             text            NOT NULL CONSTRAINT budgets_name_form CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    description      text            NOT NULL DEFAULT '' CONSTRAINT budgets_description_length CHECK (length(description) <= 1000),
    scope            text            NOT NULL CONSTRAINT budgets_scope CHECK (scope IN (
                                         'organization', 'application', 'user', 'key', 'provider', 'model', 'tag')),
    -- Which application, user, key …, of tags name=value; NULL: each of them by itself, of tags name: each of its values.
    subject          text            CONSTRAINT budgets_subject_length CHECK (length(subject) BETWEEN 1 AND 500),
    amount           numeric(20,10)  NOT NULL CONSTRAINT budgets_amount_positive CHECK (amount > 0),
    currency         text            NOT NULL CONSTRAINT budgets_currency CHECK (currency ~ '^[A-Z]{3}$'),
    period           text            NOT NULL CONSTRAINT budgets_period CHECK (period IN ('day', 'week', 'month', 'quarter', 'year')),
    -- A day on which a period begins; NULL: periods begin as the calendar's do.
    begins_on        date,
    zone             text            NOT NULL,
    -- Fractions of the amount, rising.
    thresholds       numeric(6,4)[]  NOT NULL DEFAULT '{0.5,0.75,0.9,1}'
                                     CONSTRAINT budgets_thresholds CHECK (cardinality(thresholds) <= 20 AND 0 < ALL (thresholds) AND 10 >= ALL (thresholds)),
    -- Refuse calls that would pass the amount, before they are made.
    pauses           boolean         NOT NULL DEFAULT false,
    -- Of a pausing budget: what holds while the limiter's state is away.
    failure          text            NOT NULL DEFAULT 'closed' CONSTRAINT budgets_failure CHECK (failure IN ('closed', 'open', 'local')),
    is_active        boolean         NOT NULL DEFAULT true,
    version          integer         NOT NULL DEFAULT 1 CONSTRAINT budgets_version CHECK (version > 0),
    reason           text            NOT NULL CONSTRAINT budgets_reason_length CHECK (length(reason) BETWEEN 1 AND 1000),
    author           text            NOT NULL,
    created_at       timestamptz     NOT NULL DEFAULT now(),
    updated_at       timestamptz     NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT budgets_name_unique UNIQUE (organization_id, name),
    CONSTRAINT budgets_subject_sense CHECK ((scope <> 'organization' OR subject IS NULL) AND (scope <> 'tag' OR subject IS NOT NULL))
);
ALTER TABLE costs.budgets ENABLE ROW LEVEL SECURITY;
ALTER TABLE costs.budgets FORCE ROW LEVEL SECURITY;
CREATE POLICY budgets_tenant ON costs.budgets TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY budgets_system ON costs.budgets FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON costs.budgets TO nexus_service;
GRANT SELECT ON costs.budgets TO nexus_readonly, nexus_system;
CREATE TRIGGER budgets_audit AFTER INSERT OR UPDATE OR DELETE ON costs.budgets
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER budgets_limits AFTER INSERT OR UPDATE OR DELETE ON costs.budgets
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
