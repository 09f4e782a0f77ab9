-- Errors: issues' schema, and the permissions. Frozen: later changes come as later revisions.
CREATE SCHEMA issues;
GRANT USAGE ON SCHEMA issues TO nexus_service;
GRANT USAGE ON SCHEMA issues TO nexus_writer;
GRANT USAGE ON SCHEMA issues TO nexus_system;
GRANT USAGE ON SCHEMA issues TO nexus_readonly;
GRANT USAGE ON SCHEMA issues TO nexus_backup;
GRANT CREATE ON SCHEMA issues TO nexus_system;

-- issues.stage_errors_v1: makes the transaction's temporary table staged_errors, into which the writer copies records.
-- Columns are nexus.contracts.error_records.ERROR_COLUMN_TYPES, in order; a test compares.
CREATE FUNCTION issues.stage_errors_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_errors (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        fingerprint uuid NOT NULL,
        rule text NOT NULL,
        normalised text NOT NULL,
        culprit text NOT NULL,
        level text NOT NULL,
        error_type text NOT NULL,
        error_code text NOT NULL,
        message text NOT NULL,
        category text NOT NULL,
        severity smallint NOT NULL,
        impact_level text NOT NULL,
        service text NOT NULL,
        environment text NOT NULL,
        service_version text NOT NULL,
        application text NOT NULL,
        user_ref text NOT NULL,
        key_id uuid,
        stack_trace text,
        context jsonb,
        tool_context jsonb,
        deployment_id text,
        handled boolean,
        end_user text,
        session_id text,
        request_id text,
        execution_id text,
        trace_id text,
        span_id text,
        url text,
        user_agent text,
        ip_address inet,
        tags jsonb,
        metadata jsonb
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION issues.stage_errors_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.stage_errors_v1() TO nexus_writer;

-- issues.facets: in which environments, services, versions and applications a cause was seen, whom it met, and how often.
-- requires: platform.current_organization_id
CREATE TABLE issues.facets (
    organization_id  uuid         NOT NULL,
    fingerprint      uuid         NOT NULL,
    facet            text         NOT NULL
                                  CONSTRAINT facets_facet CHECK (facet IN ('environment', 'service', 'service_version', 'application', 'met')),
    value            text         NOT NULL,
    occurrences      bigint       NOT NULL,
    first_seen       timestamptz  NOT NULL,
    last_seen        timestamptz  NOT NULL,
    PRIMARY KEY (organization_id, fingerprint, facet, value)
) WITH (fillfactor = 80);
-- Answers: which causes were seen there, and which values there are.
CREATE INDEX facets_value_idx ON issues.facets (organization_id, facet, value, fingerprint);
-- Answers: whom nobody met for longer than is kept.
CREATE INDEX facets_met_idx ON issues.facets (last_seen) WHERE facet = 'met';

ALTER TABLE issues.facets ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.facets FORCE ROW LEVEL SECURITY;
CREATE POLICY facets_tenant ON issues.facets FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY facets_system ON issues.facets TO nexus_system USING (true);
GRANT SELECT ON issues.facets TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON issues.facets TO nexus_system;

-- issues.journal: sums of what each batch stored, written in the batch's own transaction, not yet folded.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- As metering.rollup_journal: what is folded and what waits here are exact together at any moment.
CREATE TABLE issues.journal (
    organization_id  uuid         NOT NULL,
    fingerprint      uuid         NOT NULL,
    hour             timestamptz  NOT NULL,
    level            text         NOT NULL,
    category         text         NOT NULL,
    severity         smallint     NOT NULL,
    impact_level     text         NOT NULL,
    service          text         NOT NULL,
    environment      text         NOT NULL,
    service_version  text         NOT NULL,
    application      text         NOT NULL,
    -- Whom it met: the application's user where one is named, else the user.
    met              text         NOT NULL,
    occurrences      bigint       NOT NULL,
    first_seen       timestamptz  NOT NULL,
    last_seen        timestamptz  NOT NULL
) WITH (
    -- Every row lives for seconds: vacuum by count, not by share, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);
-- Answers: what the counts of one organization's causes still lack.
CREATE INDEX journal_organization_id_fingerprint_idx ON issues.journal (organization_id, fingerprint);

ALTER TABLE issues.journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.journal FORCE ROW LEVEL SECURITY;
CREATE POLICY journal_tenant ON issues.journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY journal_writer ON issues.journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY journal_system ON issues.journal TO nexus_system USING (true);
GRANT SELECT ON issues.journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON issues.journal TO nexus_writer;
GRANT SELECT, DELETE ON issues.journal TO nexus_system;

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

-- issues.hours: how many errors of each cause there were in each hour, by level and environment.
-- requires: platform.partitioned_tables, platform.current_organization_id
CREATE TABLE issues.hours (
    organization_id  uuid         NOT NULL,
    fingerprint      uuid         NOT NULL,
    hour             timestamptz  NOT NULL,
    level            text         NOT NULL,
    environment      text         NOT NULL,
    occurrences      bigint       NOT NULL,
    PRIMARY KEY (organization_id, fingerprint, hour, level, environment)
) PARTITION BY RANGE (hour);
-- Answers: all errors of an organization by time.
CREATE INDEX hours_organization_id_hour_idx ON issues.hours (organization_id, hour);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('issues.hours', 'month', 2, 395, 'fillfactor = 80');

ALTER TABLE issues.hours ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.hours FORCE ROW LEVEL SECURITY;
CREATE POLICY hours_tenant ON issues.hours FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY hours_system ON issues.hours TO nexus_system USING (true);
GRANT SELECT ON issues.hours TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON issues.hours TO nexus_system;

-- issues.occurrences: one narrow row per error, immutable; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- It makes an error one error (identity and key_at as in metering.calls) and lets every figure be counted again. What an error
-- said is kept of a few only, in issues.samples.
CREATE TABLE issues.occurrences (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    key_at           timestamptz  NOT NULL,
    occurred_at      timestamptz  NOT NULL,
    received_at      timestamptz  NOT NULL,
    fingerprint      uuid         NOT NULL,
    level            text         NOT NULL,
    service          text         NOT NULL,
    environment      text         NOT NULL,
    service_version  text         NOT NULL,
    PRIMARY KEY (organization_id, key_at, id),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT occurrences_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('issues.occurrences', 'month', 3, 90);

ALTER TABLE issues.occurrences ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.occurrences FORCE ROW LEVEL SECURITY;
CREATE POLICY occurrences_tenant ON issues.occurrences FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY occurrences_writer ON issues.occurrences TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY occurrences_system ON issues.occurrences TO nexus_system USING (true);
GRANT SELECT ON issues.occurrences TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON issues.occurrences TO nexus_writer;
GRANT SELECT ON issues.occurrences TO nexus_system;

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
-- Answers: which causes have these words, through issues.find_v1.
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

-- issues.find_v1: issues whose errors have these words, in the form of a web search.
-- requires: issues.causes, platform.current_organization_id
-- Runs as its owner: under row-level security PostgreSQL does not use the index of the words, as `@@` might leak what it looks
-- at. The organization is the transaction's own and nothing else; without one nothing is found.
CREATE FUNCTION issues.find_v1(words text) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT DISTINCT c.issue_id
    FROM issues.causes AS c
    WHERE c.organization_id = (SELECT platform.current_organization_id())
      AND c.search @@ websearch_to_tsquery('simple', words)
$$;
ALTER FUNCTION issues.find_v1(text) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION issues.find_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.find_v1(text) TO nexus_service;
RESET ROLE;

-- issues.store_errors_v1: stores the staged errors once each, samples of them, and journals their sums, in the caller's transaction.
-- requires: issues.occurrences, issues.issues, issues.causes, issues.samples, issues.journal, metering.keep_new_records_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
-- The first error of a cause makes the cause and its issue here, so that a list shows them at once; counts come from the journal.
CREATE FUNCTION issues.store_errors_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    duplicates  integer[] := metering.keep_new_records_v1('error', 'staged_errors', 'issues.occurrences');
BEGIN
    -- What is left in the staging table is what was stored. Sorted by key: whoever waits, waits in one order.
    WITH newest AS (
        SELECT DISTINCT ON (s.organization_id, s.fingerprint) s.*,
               min(s.occurred_at) OVER (PARTITION BY s.organization_id, s.fingerprint) AS first_seen
        FROM pg_temp.staged_errors AS s
        WHERE NOT EXISTS (SELECT FROM issues.causes AS c WHERE c.organization_id = s.organization_id AND c.fingerprint = s.fingerprint)
        ORDER BY s.organization_id, s.fingerprint, s.occurred_at DESC, s.id DESC
    ), made AS (
        INSERT INTO issues.causes (organization_id, fingerprint, issue_id, rule, normalised, title, error_type, culprit, first_seen, last_seen)
        SELECT n.organization_id, n.fingerprint, gen_random_uuid(), n.rule, n.normalised, n.message, n.error_type, n.culprit, n.first_seen, n.occurred_at
        FROM newest AS n
        ORDER BY n.organization_id, n.fingerprint
        ON CONFLICT DO NOTHING
        RETURNING organization_id, fingerprint, issue_id
    )
    INSERT INTO issues.issues (organization_id, id, title, error_type, culprit, level, category, severity, impact_level,
                               service, environment, service_version, first_seen, last_seen)
    SELECT m.organization_id, m.issue_id, n.message, n.error_type, n.culprit, n.level, n.category, n.severity, n.impact_level,
           n.service, n.environment, n.service_version, n.first_seen, n.occurred_at
    FROM made AS m JOIN newest AS n USING (organization_id, fingerprint);

    INSERT INTO issues.samples (
        organization_id, id, occurred_at, received_at, fingerprint, culprit, level, error_type, error_code, message, category, severity, impact_level, service, environment, service_version, application, user_ref, key_id, stack_trace, context, tool_context, deployment_id, handled, end_user, session_id, request_id, execution_id, trace_id, span_id, url, user_agent, ip_address, tags, metadata
    )
    SELECT
        organization_id, id, occurred_at, received_at, fingerprint, culprit, level, error_type, error_code, message, category, severity, impact_level, service, environment, service_version, application, user_ref, key_id, stack_trace, context, tool_context, deployment_id, handled, end_user, session_id, request_id, execution_id, trace_id, span_id, url, user_agent, ip_address, tags, metadata
    FROM (
        SELECT s.*, row_number() OVER (PARTITION BY s.organization_id, s.fingerprint ORDER BY s.occurred_at, s.id) AS from_first,
               row_number() OVER (PARTITION BY s.organization_id, s.fingerprint ORDER BY s.occurred_at DESC, s.id DESC) AS from_newest
        FROM pg_temp.staged_errors AS s
    ) AS t
    -- As issues.fold_v1 keeps them: the first 5 and the newest 25 of all are among those of each batch.
    WHERE t.from_first <= 5 OR t.from_newest <= 25
    ORDER BY t.organization_id, t.fingerprint, t.occurred_at, t.id
    ON CONFLICT DO NOTHING;

    INSERT INTO issues.journal (
        organization_id, fingerprint, hour, level, category, severity, impact_level, service, environment, service_version, application, met,
        occurrences, first_seen, last_seen
    )
    SELECT s.organization_id, s.fingerprint, date_bin('1 hour', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'), s.level, s.category,
           s.severity, s.impact_level, s.service, s.environment, s.service_version, s.application, coalesce(nullif(s.end_user, ''), s.user_ref),
           count(*), min(s.occurred_at), max(s.occurred_at)
    FROM pg_temp.staged_errors AS s
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION issues.store_errors_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.store_errors_v1() TO nexus_writer;

-- issues.fold_v1: moves up to so many rows of the journal into hours, facets, causes and issues; tells how many it moved.
-- requires: issues.journal, issues.hours, issues.facets, issues.causes, issues.issues, issues.samples, issues.events, platform.ensure_partition_v1
-- -1 when another node is folding, or somebody is merging or splitting issues. Runs as nexus_system. All in one transaction, so
-- whoever reads what is folded and what waits in one snapshot sees each error once. A resolved issue that met an error later than
-- it was resolved regresses here and nowhere else: one folder at a time, so it does so once.
CREATE FUNCTION issues.fold_v1(max_rows integer) RETURNS integer
    LANGUAGE plpgsql SECURITY INVOKER
    SET work_mem = '64MB' SET jit = off
    AS $$
DECLARE
    places  tid[];
    months  timestamptz[];
    item    timestamptz;
    moved   integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('nexus.issues.journal', 0)) THEN
        RETURN -1;
    END IF;
    -- Rows of the journal are never changed, and only who holds the lock takes some out: their places stay theirs.
    SELECT array_agg(j.place), array_agg(DISTINCT date_trunc('month', j.hour, 'UTC'))
    INTO places, months
    FROM (SELECT ctid AS place, hour FROM issues.journal LIMIT max_rows) AS j;
    IF places IS NULL THEN
        RETURN 0;
    END IF;
    FOREACH item IN ARRAY months LOOP
        PERFORM platform.ensure_partition_v1('issues.hours', item);
    END LOOP;

    INSERT INTO issues.hours AS h (organization_id, fingerprint, hour, level, environment, occurrences)
    SELECT j.organization_id, j.fingerprint, j.hour, j.level, j.environment, sum(j.occurrences)
    FROM issues.journal AS j WHERE j.ctid = ANY (places)
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (organization_id, fingerprint, hour, level, environment) DO UPDATE SET occurrences = h.occurrences + excluded.occurrences;

    INSERT INTO issues.facets AS f (organization_id, fingerprint, facet, value, occurrences, first_seen, last_seen)
    SELECT j.organization_id, j.fingerprint, v.facet, v.value, sum(j.occurrences), min(j.first_seen), max(j.last_seen)
    FROM issues.journal AS j
    CROSS JOIN LATERAL (VALUES ('environment', j.environment), ('service', j.service), ('service_version', j.service_version),
                               ('application', j.application), ('met', j.met)) AS v (facet, value)
    WHERE j.ctid = ANY (places) AND v.value <> ''
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (organization_id, fingerprint, facet, value) DO UPDATE
    SET occurrences = f.occurrences + excluded.occurrences, first_seen = least(f.first_seen, excluded.first_seen),
        last_seen = greatest(f.last_seen, excluded.last_seen);

    -- People who change several issues at once lock them in the same order.
    PERFORM FROM issues.issues AS i
    WHERE (i.organization_id, i.id) IN (
        SELECT c.organization_id, c.issue_id FROM issues.causes AS c
        WHERE (c.organization_id, c.fingerprint) IN (SELECT j.organization_id, j.fingerprint FROM issues.journal AS j WHERE j.ctid = ANY (places))
    )
    ORDER BY i.organization_id, i.id
    FOR NO KEY UPDATE;

    UPDATE issues.causes AS c
    SET occurrences = c.occurrences + n.occurrences, first_seen = least(c.first_seen, n.first_seen), last_seen = greatest(c.last_seen, n.last_seen)
    FROM (
        SELECT j.organization_id, j.fingerprint, sum(j.occurrences) AS occurrences, min(j.first_seen) AS first_seen, max(j.last_seen) AS last_seen
        FROM issues.journal AS j WHERE j.ctid = ANY (places)
        GROUP BY 1, 2
    ) AS n
    WHERE c.organization_id = n.organization_id AND c.fingerprint = n.fingerprint;

    WITH told AS (
        SELECT c.issue_id, j.*
        FROM issues.journal AS j JOIN issues.causes AS c USING (organization_id, fingerprint)
        WHERE j.ctid = ANY (places)
    ), newest AS (
        SELECT DISTINCT ON (t.organization_id, t.issue_id) t.*
        FROM told AS t
        ORDER BY t.organization_id, t.issue_id, t.last_seen DESC, t.severity DESC, t.level, t.category, t.impact_level, t.service, t.environment, t.service_version
    ), summed AS (
        SELECT t.organization_id, t.issue_id, sum(t.occurrences) AS occurrences, min(t.first_seen) AS first_seen
        FROM told AS t GROUP BY 1, 2
    ), changed AS (
        UPDATE issues.issues AS i
        SET occurrences = i.occurrences + s.occurrences,
            first_seen = least(i.first_seen, s.first_seen),
            last_seen = greatest(i.last_seen, n.last_seen),
            level = CASE WHEN n.last_seen >= i.last_seen THEN n.level ELSE i.level END,
            category = CASE WHEN n.last_seen >= i.last_seen THEN n.category ELSE i.category END,
            severity = CASE WHEN n.last_seen >= i.last_seen THEN n.severity ELSE i.severity END,
            impact_level = CASE WHEN n.last_seen >= i.last_seen THEN n.impact_level ELSE i.impact_level END,
            service = CASE WHEN n.last_seen >= i.last_seen THEN n.service ELSE i.service END,
            environment = CASE WHEN n.last_seen >= i.last_seen THEN n.environment ELSE i.environment END,
            service_version = CASE WHEN n.last_seen >= i.last_seen THEN n.service_version ELSE i.service_version END,
            status = CASE WHEN n.last_seen > i.resolved_at THEN 'regressed' ELSE i.status END,
            status_changed_at = CASE WHEN n.last_seen > i.resolved_at THEN now() ELSE i.status_changed_at END,
            regressions = i.regressions + (n.last_seen > i.resolved_at IS TRUE)::integer,
            resolved_at = CASE WHEN n.last_seen > i.resolved_at THEN NULL ELSE i.resolved_at END
        FROM summed AS s JOIN newest AS n USING (organization_id, issue_id)
        WHERE i.organization_id = s.organization_id AND i.id = s.issue_id
        RETURNING i.organization_id, i.id, i.status, i.status_changed_at, n.last_seen, n.service_version
    )
    INSERT INTO issues.events (organization_id, id, issue_id, at, kind, actor, detail)
    -- The update has just set the time of this very transaction, and nothing else here makes an issue regressed.
    SELECT c.organization_id, gen_random_uuid(), c.id, now(), 'regressed', 'Nexus',
           jsonb_build_object('happened_at', c.last_seen, 'service_version', c.service_version)
    FROM changed AS c
    WHERE c.status = 'regressed' AND c.status_changed_at = now();

    DELETE FROM issues.samples AS s
    USING (
        SELECT o.organization_id, o.fingerprint, o.occurred_at, o.id,
               row_number() OVER (PARTITION BY o.organization_id, o.fingerprint ORDER BY o.occurred_at, o.id) AS from_first,
               row_number() OVER (PARTITION BY o.organization_id, o.fingerprint ORDER BY o.occurred_at DESC, o.id DESC) AS from_newest
        FROM issues.samples AS o
        WHERE (o.organization_id, o.fingerprint) IN (SELECT j.organization_id, j.fingerprint FROM issues.journal AS j WHERE j.ctid = ANY (places))
    ) AS t
    WHERE s.organization_id = t.organization_id AND s.fingerprint = t.fingerprint AND s.occurred_at = t.occurred_at AND s.id = t.id
      AND t.from_first > 5 AND t.from_newest > 25;

    DELETE FROM issues.journal AS j WHERE j.ctid = ANY (places);
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$;
REVOKE ALL ON FUNCTION issues.fold_v1(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.fold_v1(integer) TO nexus_system;

REVOKE CREATE ON SCHEMA issues FROM nexus_system;

INSERT INTO identity.permissions (name, description) VALUES
    ('error:read', 'see errors and their samples'),
    ('error:manage', 'resolve, assign, merge and note issues of errors');
INSERT INTO identity.role_permissions (role_id, permission)
SELECT r.id, p.permission
FROM identity.roles AS r
JOIN (
    VALUES
        ('organization_owner', ARRAY['error:read', 'error:manage']),
        ('organization_admin', ARRAY['error:read', 'error:manage']),
        ('organization_member', ARRAY['error:read', 'error:manage']),
        ('organization_viewer', ARRAY['error:read']),
        ('application_admin', ARRAY['error:read', 'error:manage']),
        ('application_viewer', ARRAY['error:read']),
        ('auditor', ARRAY['error:read'])
) AS grants (role, permissions) ON grants.role = r.name
CROSS JOIN LATERAL unnest(grants.permissions) AS p (permission)
WHERE r.organization_id IS NULL;
