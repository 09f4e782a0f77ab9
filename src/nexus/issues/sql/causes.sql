-- issues.causes: one row per fingerprint: what made it, to which issue it belongs, and its exact count.
-- requires: issues.issues, platform.current_organization_id, platform.writer_organization_ids
-- An issue has one cause until others are merged into it. Text and search are written once, when the first error comes.
CREATE TABLE issues.causes (
    organization_id  uuid         NOT NULL,
    fingerprint      uuid         NOT NULL,
    issue_id         uuid         NOT NULL,
    rule             text         NOT NULL CONSTRAINT causes_rule CHECK (rule IN ('explicit', 'stack', 'message')),
    -- What was hashed, a line for each part.
    normalised       text         NOT NULL,
    title            text         NOT NULL,
    error_type       text         NOT NULL,
    culprit          text         NOT NULL,
    occurrences      bigint       NOT NULL DEFAULT 0,
    first_seen       timestamptz  NOT NULL,
    last_seen        timestamptz  NOT NULL,
    -- Words as they are, and parted where cases and signs change: ConnectionRefusedError is found by "refused" too.
    search           tsvector     NOT NULL GENERATED ALWAYS AS (
        to_tsvector('simple', left(error_type || ' ' || title || ' ' || culprit, 10000))
        || to_tsvector('simple', regexp_replace(regexp_replace(left(error_type || ' ' || title || ' ' || culprit, 10000),
                                                               '([[:lower:][:digit:]])([[:upper:]])', '\1 \2', 'g'), '[^[:alnum:]]+', ' ', 'g'))
    ) STORED,
    PRIMARY KEY (organization_id, fingerprint),
    CONSTRAINT causes_issue FOREIGN KEY (organization_id, issue_id) REFERENCES issues.issues (organization_id, id)
) WITH (fillfactor = 80);
-- Answers: the causes of an issue.
CREATE INDEX causes_issue_id_idx ON issues.causes (organization_id, issue_id);
-- Answers: which causes have these words, through issues.find_v2.
CREATE INDEX causes_search_idx ON issues.causes USING gin (search);

ALTER TABLE issues.causes ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.causes FORCE ROW LEVEL SECURITY;
CREATE POLICY causes_tenant ON issues.causes TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY causes_writer ON issues.causes TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY causes_system ON issues.causes TO nexus_system USING (true);
GRANT SELECT, UPDATE (issue_id) ON issues.causes TO nexus_service;
GRANT SELECT ON issues.causes TO nexus_readonly;
GRANT SELECT, INSERT ON issues.causes TO nexus_writer;
GRANT SELECT, UPDATE ON issues.causes TO nexus_system;
