-- Budgets: costs' schema, the permissions, tags as a scope of quotas. Frozen: later changes come as later revisions.
CREATE SCHEMA costs;
GRANT USAGE ON SCHEMA costs TO nexus_service;
GRANT USAGE ON SCHEMA costs TO nexus_writer;
GRANT USAGE ON SCHEMA costs TO nexus_system;
GRANT USAGE ON SCHEMA costs TO nexus_readonly;
GRANT USAGE ON SCHEMA costs TO nexus_backup;

-- costs.exchange_rates: what one unit of a currency is in another, by day, as somebody published it. None is invented.
-- requires: platform.current_organization_id, platform.bump_snapshot_v1
-- Rows without an organization are shared by all; an organization's own stand before them. Thousands come in one import, which the
-- audit log holds as one line.
CREATE TABLE costs.exchange_rates (
    organization_id  uuid,
    base             text            NOT NULL CONSTRAINT exchange_rates_base CHECK (base ~ '^[A-Z]{3}$'),
    quote            text            NOT NULL CONSTRAINT exchange_rates_quote CHECK (quote ~ '^[A-Z]{3}$'),
    rated_on         date            NOT NULL,
    -- Units of quote for one of base.
    rate             numeric(24,12)  NOT NULL CONSTRAINT exchange_rates_rate_positive CHECK (rate > 0),
    source           text            NOT NULL CONSTRAINT exchange_rates_source_length CHECK (length(source) BETWEEN 1 AND 200),
    imported_at      timestamptz     NOT NULL DEFAULT now(),
    imported_by      text            NOT NULL,
    CONSTRAINT exchange_rates_one UNIQUE NULLS NOT DISTINCT (organization_id, base, quote, rated_on),
    CONSTRAINT exchange_rates_different CHECK (base <> quote)
);
ALTER TABLE costs.exchange_rates ENABLE ROW LEVEL SECURITY;
ALTER TABLE costs.exchange_rates FORCE ROW LEVEL SECURITY;
CREATE POLICY exchange_rates_shared ON costs.exchange_rates FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY exchange_rates_tenant ON costs.exchange_rates TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY exchange_rates_system ON costs.exchange_rates TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON costs.exchange_rates TO nexus_service, nexus_system;
GRANT SELECT ON costs.exchange_rates TO nexus_readonly;
CREATE TRIGGER exchange_rates_limits AFTER INSERT OR UPDATE OR DELETE ON costs.exchange_rates
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');

-- costs.exchange_v1: what one unit of a currency was in another on a day, by the rates an organization sees; NULL where none tells.
-- requires: costs.exchange_rates
-- The newest published on the day or in the ten days before it, as nobody publishes on holidays. As it was published, else turned
-- around, else through a currency that both were published against on one day. An organization's own stand before shared ones.
CREATE FUNCTION costs.exchange_v1(organization uuid, given text, wanted text, day date) RETURNS numeric
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE WHEN given = wanted THEN 1 ELSE (
        SELECT found.rate
        FROM (
            SELECT r.rated_on, r.organization_id, 1 AS way, r.rate
            FROM costs.exchange_rates AS r
            WHERE r.base = given AND r.quote = wanted AND r.rated_on BETWEEN day - 10 AND day
            UNION ALL
            SELECT r.rated_on, r.organization_id, 2, 1 / r.rate
            FROM costs.exchange_rates AS r
            WHERE r.base = wanted AND r.quote = given AND r.rated_on BETWEEN day - 10 AND day
            UNION ALL
            SELECT a.rated_on, a.organization_id, 3, b.rate / a.rate
            FROM costs.exchange_rates AS a
            JOIN costs.exchange_rates AS b
                ON b.base = a.base AND b.rated_on = a.rated_on AND b.organization_id IS NOT DISTINCT FROM a.organization_id
            WHERE a.quote = given AND b.quote = wanted AND a.rated_on BETWEEN day - 10 AND day
        ) AS found
        WHERE found.organization_id IS NULL OR found.organization_id = organization
        ORDER BY found.rated_on DESC, found.organization_id IS NULL, found.way
        LIMIT 1
    ) END
$$;
REVOKE ALL ON FUNCTION costs.exchange_v1(uuid, text, text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION costs.exchange_v1(uuid, text, text, date) TO nexus_service, nexus_system, nexus_readonly;

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

-- costs.spend_v1: what was spent in a range, by subject of a scope, local day or hour of a zone, and currency; exact at this moment.
-- requires: costs.exchange_v1, metering.rollups_day, metering.rollups_quarter_hour, metering.rollup_journal, metering.day_zones, metering.day_start_v1, metering.known_zone_v1, identity.organizations
-- Sums of the rollups and of the journal they still lack: what dashboards and exports show, to the nano. Whole days of the zone that
-- days are kept in are read as days, the rest by quarters of an hour: the range begins and ends on one, as every period of a
-- calendar does. `wanted` is one subject, of tags name=value; NULL all of them, of tags name. Calls that have no such subject are nobody's.
-- `spent` is the cost in `target`, of another currency by the day's rate, rounded to the nano; NULL where there is no rate.
-- Runs as its caller.
CREATE FUNCTION costs.spend_v1(
    organization uuid, scope text, wanted text, target text, starts timestamptz, ends timestamptz, zone text, step text
)
    RETURNS TABLE (subject text, at timestamp, currency text, cost numeric, spent numeric, requests bigint, unpriced bigint)
    LANGUAGE sql STABLE
    SET jit = off SET max_parallel_workers_per_gather = 0
    AS $$
    WITH facts AS MATERIALIZED (
        SELECT
            CASE scope WHEN 'organization' THEN 0 WHEN 'application' THEN 3 WHEN 'key' THEN 3 WHEN 'user' THEN 6
                       WHEN 'tag' THEN 5 ELSE 1 END::smallint AS dimension_set,
            CASE WHEN scope = 'tag' THEN split_part(wanted, '=', 1) END AS tag,
            CASE WHEN scope = 'organization' THEN ''
                 WHEN scope <> 'tag' THEN wanted
                 WHEN strpos(wanted, '=') > 0 THEN substr(wanted, strpos(wanted, '=') + 1) END AS one,
            CASE WHEN step = 'day' AND d.zone = spend_v1.zone AND d.first < d.last THEN d.first ELSE ends END AS first,
            CASE WHEN step = 'day' AND d.zone = spend_v1.zone AND d.first < d.last THEN d.last ELSE ends END AS last
        FROM (
            SELECT z.zone, metering.day_start_v1(ends, z.zone) AS last,
                   CASE WHEN metering.day_start_v1(starts, z.zone) = starts THEN starts
                        ELSE metering.day_start_v1(metering.day_start_v1(starts, z.zone) + interval '26 hours', z.zone) END AS first
            FROM (
                SELECT coalesce(
                    (SELECT k.zone FROM metering.day_zones AS k WHERE k.organization_id = organization),
                    (SELECT metering.known_zone_v1(o.reporting_zone) FROM identity.organizations AS o WHERE o.id = organization),
                    'UTC') AS zone
            ) AS z
        ) AS d
    ),
    found AS (
        SELECT r.bucket, r.provider, r.model, r.key_id, r.application, r.user_ref, r.tag_value, r.currency, r.cost, r.requests, r.unpriced
        FROM facts AS f JOIN metering.rollups_day AS r
            ON r.organization_id = organization AND r.dimension_set = f.dimension_set AND r.bucket >= f.first AND r.bucket < f.last
        WHERE f.tag IS NULL OR r.tag_name = f.tag
        UNION ALL
        SELECT r.bucket, r.provider, r.model, r.key_id, r.application, r.user_ref, r.tag_value, r.currency, r.cost, r.requests, r.unpriced
        FROM facts AS f JOIN metering.rollups_quarter_hour AS r
            ON r.organization_id = organization AND r.dimension_set = f.dimension_set AND r.bucket >= starts AND r.bucket < f.first
        WHERE f.tag IS NULL OR r.tag_name = f.tag
        UNION ALL
        SELECT r.bucket, r.provider, r.model, r.key_id, r.application, r.user_ref, r.tag_value, r.currency, r.cost, r.requests, r.unpriced
        FROM facts AS f JOIN metering.rollups_quarter_hour AS r
            ON r.organization_id = organization AND r.dimension_set = f.dimension_set AND r.bucket >= f.last AND r.bucket < ends
        WHERE f.tag IS NULL OR r.tag_name = f.tag
        UNION ALL
        SELECT r.minute, r.provider, r.model, r.key_id, r.application, r.user_ref, r.tags ->> f.tag, r.currency, r.cost, r.requests, r.unpriced
        FROM facts AS f JOIN metering.rollup_journal AS r
            ON r.organization_id = organization AND r.minute >= starts AND r.minute < ends
        WHERE f.tag IS NULL OR r.tags ? f.tag
    ),
    summed AS (
        SELECT i.subject, date_trunc(step, i.bucket AT TIME ZONE zone) AS at, i.currency,
               sum(i.cost) AS cost, sum(i.requests)::bigint AS requests, sum(i.unpriced)::bigint AS unpriced
        FROM (
            SELECT CASE scope WHEN 'organization' THEN '' WHEN 'application' THEN r.application WHEN 'key' THEN r.key_id::text
                              WHEN 'user' THEN r.user_ref WHEN 'provider' THEN r.provider WHEN 'model' THEN r.model
                              ELSE r.tag_value END AS subject, r.*
            FROM found AS r
        ) AS i CROSS JOIN facts AS f
        WHERE CASE WHEN f.one IS NULL THEN i.subject IS NOT NULL AND (i.subject <> '' OR scope = 'tag') ELSE i.subject = f.one END
        GROUP BY 1, 2, 3
    )
    SELECT s.subject, s.at, s.currency, s.cost,
           CASE WHEN s.currency = target THEN s.cost ELSE round(s.cost * costs.exchange_v1(organization, s.currency, target, s.at::date), 9) END,
           s.requests, s.unpriced
    FROM summed AS s
    WHERE s.requests <> 0 OR s.cost <> 0
$$;
REVOKE ALL ON FUNCTION costs.spend_v1(uuid, text, text, text, timestamptz, timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION costs.spend_v1(uuid, text, text, text, timestamptz, timestamptz, text, text) TO nexus_service, nexus_system, nexus_readonly;

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

-- costs.snapshot_budgets_v1: budgets that pause calls, and today's exchange rates into their currencies, for the data plane's limits.
-- requires: costs.budgets, costs.exchange_v1
-- Runs as its caller: nexus_system sees all through its policies. Documents as admission.snapshot_limits_v1 gives them.
CREATE FUNCTION costs.snapshot_budgets_v1() RETURNS TABLE (kind text, document jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT 'budget', jsonb_build_object(
        'organization_id', b.organization_id, 'budget_id', b.id, 'name', b.name, 'scope', b.scope, 'subject', b.subject,
        'amount', b.amount::text, 'currency', b.currency, 'period', b.period, 'begins_on', b.begins_on, 'zone', b.zone,
        'failure', b.failure, 'version', b.version)
    FROM costs.budgets AS b
    WHERE b.is_active AND b.pauses
    UNION ALL
    SELECT 'exchange', jsonb_build_object(
        'organization_id', p.organization_id, 'source', p.source, 'target', p.target, 'rate', p.rate::text)
    FROM (
        SELECT b.organization_id, k.currency AS source, b.currency AS target,
               costs.exchange_v1(b.organization_id, k.currency, b.currency, (now() AT TIME ZONE 'UTC')::date) AS rate
        FROM (SELECT DISTINCT organization_id, currency FROM costs.budgets WHERE is_active AND pauses) AS b
        CROSS JOIN (
            SELECT base AS currency FROM costs.exchange_rates WHERE rated_on >= (now() AT TIME ZONE 'UTC')::date - 10
            UNION
            SELECT quote FROM costs.exchange_rates WHERE rated_on >= (now() AT TIME ZONE 'UTC')::date - 10
        ) AS k
        WHERE k.currency <> b.currency
    ) AS p
    WHERE p.rate IS NOT NULL
$$;
REVOKE ALL ON FUNCTION costs.snapshot_budgets_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION costs.snapshot_budgets_v1() TO nexus_system;

ALTER TABLE admission.quotas DROP CONSTRAINT quotas_scope, DROP CONSTRAINT quotas_subject_sense;
ALTER TABLE admission.quotas
    ADD CONSTRAINT quotas_scope CHECK (scope IN (
        'cluster', 'organization', 'application', 'user', 'key', 'provider', 'model', 'endpoint', 'tag')),
    ADD CONSTRAINT quotas_subject_sense CHECK ((scope <> 'organization' OR subject IS NULL) AND (scope <> 'tag' OR subject IS NOT NULL));

INSERT INTO identity.permissions (name, description) VALUES
    ('budget:read', 'see budgets and exchange rates'),
    ('budget:write', 'make and change budgets, take in exchange rates');
INSERT INTO identity.role_permissions (role_id, permission)
SELECT r.id, p.permission
FROM identity.roles AS r
JOIN (
    VALUES
        ('organization_owner', ARRAY['budget:read', 'budget:write']),
        ('organization_admin', ARRAY['budget:read', 'budget:write']),
        ('organization_member', ARRAY['budget:read']),
        ('organization_viewer', ARRAY['budget:read']),
        ('application_admin', ARRAY['budget:read']),
        ('application_viewer', ARRAY['budget:read']),
        ('auditor', ARRAY['budget:read'])
) AS grants (role, permissions) ON grants.role = r.name
CROSS JOIN LATERAL unnest(grants.permissions) AS p (permission)
WHERE r.organization_id IS NULL;
