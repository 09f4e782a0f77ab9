-- costs.budget_events: a threshold was crossed, or calls were paused: once for each budget, subject and period.
-- requires: costs.budgets
-- Written by background work on any number of nodes; the key decides which of them was first.
CREATE TABLE costs.budget_events (
    organization_id    uuid            NOT NULL,
    id                 uuid            NOT NULL,
    budget_id          uuid            NOT NULL,
    -- Whose spend it was, of a budget for each of a scope; '' of any other.
    subject            text            NOT NULL DEFAULT '',
    period_starts_at   timestamptz     NOT NULL,
    period_ends_at     timestamptz     NOT NULL,
    kind               text            NOT NULL CONSTRAINT budget_events_kind CHECK (kind IN ('threshold', 'paused')),
    -- Fraction of the amount; 0 where calls were paused.
    threshold          numeric(6,4)    NOT NULL DEFAULT 0,
    spent              numeric(30,10)  NOT NULL,
    amount             numeric(20,10)  NOT NULL,
    currency           text            NOT NULL,
    occurred_at        timestamptz     NOT NULL,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT budget_events_once UNIQUE (organization_id, budget_id, subject, period_starts_at, kind, threshold),
    CONSTRAINT budget_events_budget_fkey FOREIGN KEY (organization_id, budget_id)
        REFERENCES costs.budgets (organization_id, id) ON DELETE CASCADE
);
ALTER TABLE costs.budget_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE costs.budget_events FORCE ROW LEVEL SECURITY;
CREATE POLICY budget_events_tenant ON costs.budget_events FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY budget_events_system ON costs.budget_events TO nexus_system USING (true);
GRANT SELECT ON costs.budget_events TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON costs.budget_events TO nexus_system;
