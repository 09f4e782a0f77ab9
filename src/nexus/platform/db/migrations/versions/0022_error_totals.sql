-- The trend of all errors is answered without their causes.
-- issues.totals: how many errors of all causes there were in each hour, by level, environment and category.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Of issues.hours without the causes, of which there may be many thousands: a fortnight's trend is a few thousand rows. The category is
-- the error's own, as it was told.
CREATE TABLE issues.totals (
    organization_id  uuid         NOT NULL,
    hour             timestamptz  NOT NULL,
    level            text         NOT NULL,
    environment      text         NOT NULL,
    category         text         NOT NULL,
    occurrences      bigint       NOT NULL,
    PRIMARY KEY (organization_id, hour, level, environment, category)
) PARTITION BY RANGE (hour);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('issues.totals', 'month', 2, 395, 'fillfactor = 80');

ALTER TABLE issues.totals ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues.totals FORCE ROW LEVEL SECURITY;
CREATE POLICY totals_tenant ON issues.totals FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY totals_system ON issues.totals TO nexus_system USING (true);
GRANT SELECT ON issues.totals TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON issues.totals TO nexus_system;
-- issues.fold_v1: moves up to so many rows of the journal into hours, totals, facets, causes and issues; tells how many it moved.
-- requires: issues.journal, issues.hours, issues.totals, issues.facets, issues.causes, issues.issues, issues.samples, issues.events, platform.ensure_partition_v1
-- -1 when another node is folding, or somebody is merging or splitting issues. Runs as nexus_system. All in one transaction, so
-- whoever reads what is folded and what waits in one snapshot sees each error once. A resolved issue that met an error later than
-- it was resolved regresses here and nowhere else: one folder at a time, so it does so once.
CREATE OR REPLACE FUNCTION issues.fold_v1(max_rows integer) RETURNS integer
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
        PERFORM platform.ensure_partition_v1('issues.totals', item);
    END LOOP;

    INSERT INTO issues.hours AS h (organization_id, fingerprint, hour, level, environment, occurrences)
    SELECT j.organization_id, j.fingerprint, j.hour, j.level, j.environment, sum(j.occurrences)
    FROM issues.journal AS j WHERE j.ctid = ANY (places)
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (organization_id, fingerprint, hour, level, environment) DO UPDATE SET occurrences = h.occurrences + excluded.occurrences;

    INSERT INTO issues.totals AS t (organization_id, hour, level, environment, category, occurrences)
    SELECT j.organization_id, j.hour, j.level, j.environment, j.category, sum(j.occurrences)
    FROM issues.journal AS j WHERE j.ctid = ANY (places)
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (organization_id, hour, level, environment, category) DO UPDATE SET occurrences = t.occurrences + excluded.occurrences;

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

-- What was folded before is summed up once; that it was told under the issue's category is as near as it is known.
SET ROLE nexus_system;
SELECT platform.ensure_partition_v1('issues.totals', m.month)
FROM (SELECT DISTINCT date_trunc('month', h.hour, 'UTC') AS month FROM issues.hours AS h) AS m;
INSERT INTO issues.totals (organization_id, hour, level, environment, category, occurrences)
SELECT h.organization_id, h.hour, h.level, h.environment, i.category, sum(h.occurrences)
FROM issues.hours AS h
JOIN issues.causes AS c ON c.organization_id = h.organization_id AND c.fingerprint = h.fingerprint
JOIN issues.issues AS i ON i.organization_id = c.organization_id AND i.id = c.issue_id
GROUP BY 1, 2, 3, 4, 5;
RESET ROLE;
