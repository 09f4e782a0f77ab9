-- issues.samples: what errors said, of a few of each cause: the first ones and the newest ones.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- The writer adds those of its batch, folding takes out what is beyond the rule, so there are never many. All texts are masked
-- before they come here.
CREATE TABLE issues.samples (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    occurred_at      timestamptz  NOT NULL,
    received_at      timestamptz  NOT NULL,
    fingerprint      uuid         NOT NULL,
    culprit          text         NOT NULL,
    level            text         NOT NULL,
    error_type       text         NOT NULL,
    error_code       text         NOT NULL,
    message          text         NOT NULL,
    category         text         NOT NULL,
    severity         smallint     NOT NULL,
    impact_level     text         NOT NULL,
    service          text         NOT NULL,
    environment      text         NOT NULL,
    service_version  text         NOT NULL,
    application      text         NOT NULL,
    user_ref         text         NOT NULL,
    key_id           uuid,
    stack_trace      text,
    context          jsonb,
    tool_context     jsonb,
    deployment_id    text,
    handled          boolean,
    end_user         text,
    session_id       text,
    request_id       text,
    execution_id     text,
    trace_id         text,
    span_id          text,
    url              text,
    user_agent       text,
    ip_address       inet,
    tags             jsonb,
    metadata         jsonb,
    PRIMARY KEY (organization_id, fingerprint, occurred_at, id)
);
-- Answers: what is past its retention.
CREATE INDEX samples_occurred_at_idx ON issues.samples (occurred_at);
-- Answers: which errors a trace met.
CREATE INDEX samples_trace_id_idx ON issues.samples (organization_id, trace_id) WHERE trace_id IS NOT NULL;

ALTER TABLE issues.samples ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.samples FORCE ROW LEVEL SECURITY;
CREATE POLICY samples_tenant ON issues.samples FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY samples_writer ON issues.samples TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY samples_system ON issues.samples TO nexus_system USING (true);
GRANT SELECT ON issues.samples TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON issues.samples TO nexus_writer;
GRANT SELECT, DELETE ON issues.samples TO nexus_system;
