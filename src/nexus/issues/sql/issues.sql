-- issues.issues: what went wrong, one row per cause as people see it, with what was decided about it.
-- requires: identity.organizations, identity.memberships, platform.current_organization_id, platform.writer_organization_ids
-- Counts and times are those of its causes that are folded; what still waits stands in issues.journal. What describes it is
-- of the newest error. People's changes are recorded as actions and as issues.events: the counts change every second, so
-- rows are not audited one by one. An issue that was merged stays, empty, and says into which.
CREATE TABLE issues.issues (
    organization_id    uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id                 uuid         NOT NULL,
    title              text         NOT NULL,
    error_type         text         NOT NULL,
    culprit            text         NOT NULL,
    status             text         NOT NULL DEFAULT 'open'
                                    CONSTRAINT issues_status CHECK (status IN ('open', 'regressed', 'resolved', 'ignored')),
    level              text         NOT NULL
                                    CONSTRAINT issues_level CHECK (level IN ('debug', 'info', 'warn', 'error', 'fatal')),
    category           text         NOT NULL,
    severity           smallint     NOT NULL CONSTRAINT issues_severity CHECK (severity BETWEEN 1 AND 5),
    impact_level       text         NOT NULL
                                    CONSTRAINT issues_impact_level CHECK (impact_level IN ('', 'low', 'medium', 'high', 'critical')),
    service            text         NOT NULL,
    environment        text         NOT NULL,
    service_version    text         NOT NULL,
    occurrences        bigint       NOT NULL DEFAULT 0 CONSTRAINT issues_occurrences CHECK (occurrences >= 0),
    first_seen         timestamptz  NOT NULL,
    last_seen          timestamptz  NOT NULL,
    assignee_id        uuid,
    status_changed_at  timestamptz,
    -- An error that happened later than this makes it regress.
    resolved_at        timestamptz,
    resolved_by        text         NOT NULL DEFAULT '',
    resolution_notes   text         NOT NULL DEFAULT '' CONSTRAINT issues_resolution_notes CHECK (length(resolution_notes) <= 4000),
    regressions        integer      NOT NULL DEFAULT 0,
    merged_into        uuid,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT issues_resolved CHECK ((status = 'resolved') = (resolved_at IS NOT NULL)),
    CONSTRAINT issues_assignee FOREIGN KEY (organization_id, assignee_id)
        REFERENCES identity.memberships (organization_id, user_id) ON DELETE SET NULL (assignee_id),
    CONSTRAINT issues_merged_into FOREIGN KEY (organization_id, merged_into) REFERENCES issues.issues (organization_id, id)
) WITH (fillfactor = 80);
-- Answer: the list in each of its orders.
CREATE INDEX issues_last_seen_idx ON issues.issues (organization_id, last_seen, id) WHERE merged_into IS NULL;
CREATE INDEX issues_first_seen_idx ON issues.issues (organization_id, first_seen, id) WHERE merged_into IS NULL;
CREATE INDEX issues_occurrences_idx ON issues.issues (organization_id, occurrences, id) WHERE merged_into IS NULL;
-- Answers: what is somebody's, and what a person who leaves had.
CREATE INDEX issues_assignee_idx ON issues.issues (organization_id, assignee_id) WHERE assignee_id IS NOT NULL;
-- Answers: which categories there are.
CREATE INDEX issues_category_idx ON issues.issues (organization_id, category);

ALTER TABLE issues.issues ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.issues FORCE ROW LEVEL SECURITY;
CREATE POLICY issues_tenant ON issues.issues TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY issues_writer ON issues.issues TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY issues_system ON issues.issues TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON issues.issues TO nexus_service;
GRANT SELECT ON issues.issues TO nexus_readonly;
GRANT SELECT, INSERT ON issues.issues TO nexus_writer;
GRANT SELECT, INSERT, UPDATE ON issues.issues TO nexus_system;
