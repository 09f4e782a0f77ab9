-- issues.events: what happened to an issue, by people and by itself, and what people noted; the newest is last.
-- requires: issues.issues, platform.current_organization_id
CREATE TABLE issues.events (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    issue_id         uuid         NOT NULL,
    at               timestamptz  NOT NULL,
    kind             text         NOT NULL CONSTRAINT events_kind
                                  CHECK (kind IN ('resolved', 'ignored', 'reopened', 'regressed', 'assigned', 'merged', 'split', 'note')),
    actor            text         NOT NULL,
    detail           jsonb        NOT NULL DEFAULT '{}',
    PRIMARY KEY (organization_id, id),
    CONSTRAINT events_issue FOREIGN KEY (organization_id, issue_id) REFERENCES issues.issues (organization_id, id)
);
-- Answers: what happened to one issue, newest first.
CREATE INDEX events_issue_id_idx ON issues.events (organization_id, issue_id, at, id);

ALTER TABLE issues.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.events FORCE ROW LEVEL SECURITY;
CREATE POLICY events_tenant ON issues.events TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY events_system ON issues.events TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE (issue_id) ON issues.events TO nexus_service;
GRANT SELECT ON issues.events TO nexus_readonly;
GRANT SELECT, INSERT ON issues.events TO nexus_system;
