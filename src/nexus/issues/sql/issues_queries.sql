-- query: fold
-- role: nexus_system
SELECT issues.fold_v1($1)

-- query: drop_old_months
-- role: nexus_system
SELECT count(*) FROM platform.drop_partitions_v1($1, $2)

-- query: delete_old_samples
-- role: nexus_system
-- In batches, each its own transaction: no lock is held long, and what was deleted stays deleted.
WITH gone AS (
    DELETE FROM issues.samples
    WHERE ctid = ANY (ARRAY(SELECT s.ctid FROM issues.samples AS s WHERE s.occurred_at < $1 LIMIT $2))
    RETURNING 1
)
SELECT count(*) FROM gone

-- query: forget_old_people
-- role: nexus_system
-- Whom errors met is kept as long as what they said.
WITH gone AS (
    DELETE FROM issues.facets
    WHERE ctid = ANY (ARRAY(SELECT f.ctid FROM issues.facets AS f WHERE f.facet = 'met' AND f.last_seen < $1 LIMIT $2))
    RETURNING 1
)
SELECT count(*) FROM gone

-- query: with_words
-- Issues whose errors have some words, no more than $2.
SELECT f.issue_id FROM issues.find_v2($1, $2) AS f (issue_id)

-- query: seen_there
-- Issues that were seen in a place, no more than $4.
SELECT c.issue_id
FROM issues.facets AS f JOIN issues.causes AS c USING (organization_id, fingerprint)
WHERE f.organization_id = $1 AND f.facet = $2 AND f.value = ANY ($3::text[])
LIMIT $4

-- query: waiting
-- What the figures of some issues still lack: how many errors, and how much later than the issue the newest is.
SELECT c.issue_id, sum(j.occurrences)::bigint AS occurrences, min(j.first_seen) AS first_seen, max(j.last_seen) AS last_seen
FROM issues.journal AS j
JOIN issues.causes AS c USING (organization_id, fingerprint)
WHERE j.organization_id = $1 AND c.issue_id = ANY ($2::uuid[])
GROUP BY c.issue_id

-- query: trends
-- Errors by hour of some issues, hours without any left out; those that wait in the journal are counted in.
SELECT c.issue_id, n.hour, sum(n.occurrences)::bigint AS occurrences
FROM issues.causes AS c
CROSS JOIN LATERAL (
    SELECT h.hour, h.occurrences FROM issues.hours AS h
    WHERE h.organization_id = c.organization_id AND h.fingerprint = c.fingerprint AND h.hour >= $3 AND h.hour < $4
    UNION ALL
    SELECT j.hour, j.occurrences FROM issues.journal AS j
    WHERE j.organization_id = c.organization_id AND j.fingerprint = c.fingerprint AND j.hour >= $3 AND j.hour < $4
) AS n
WHERE c.organization_id = $1 AND c.issue_id = ANY ($2::uuid[])
GROUP BY c.issue_id, n.hour

-- query: series_of_issue
SELECT date_trunc($5, n.hour, 'UTC') AS at, n.level, n.environment, sum(n.occurrences)::bigint AS occurrences
FROM issues.causes AS c
CROSS JOIN LATERAL (
    SELECT h.hour, h.level, h.environment, h.occurrences FROM issues.hours AS h
    WHERE h.organization_id = c.organization_id AND h.fingerprint = c.fingerprint AND h.hour >= $3 AND h.hour < $4
    UNION ALL
    SELECT j.hour, j.level, j.environment, j.occurrences FROM issues.journal AS j
    WHERE j.organization_id = c.organization_id AND j.fingerprint = c.fingerprint AND j.hour >= $3 AND j.hour < $4
) AS n
WHERE c.organization_id = $1 AND c.issue_id = $2
GROUP BY 1, 2, 3

-- query: series_of_all
-- Summed up here by what is asked apart, level, environment, category or nothing: a fortnight's hours of all of them are thousands of rows.
SELECT date_trunc($4, n.hour, 'UTC') AS at,
       CASE $5::text WHEN 'level' THEN n.level WHEN 'environment' THEN n.environment WHEN 'category' THEN n.category ELSE '' END AS apart,
       sum(n.occurrences)::bigint AS occurrences
FROM (
    SELECT t.hour, t.level, t.environment, t.category, t.occurrences FROM issues.totals AS t
    WHERE t.organization_id = $1 AND t.hour >= $2 AND t.hour < $3
    UNION ALL
    SELECT j.hour, j.level, j.environment, j.category, j.occurrences FROM issues.journal AS j
    WHERE j.organization_id = $1 AND j.hour >= $2 AND j.hour < $3
) AS n
GROUP BY 1, 2

-- query: causes
-- Those with most errors first, with what waits in the journal.
SELECT c.fingerprint, c.rule, c.normalised, c.title, c.error_type, c.culprit,
       (c.occurrences + coalesce(w.occurrences, 0))::bigint AS occurrences,
       least(c.first_seen, w.first_seen) AS first_seen, greatest(c.last_seen, w.last_seen) AS last_seen
FROM issues.causes AS c
LEFT JOIN LATERAL (
    SELECT sum(j.occurrences) AS occurrences, min(j.first_seen) AS first_seen, max(j.last_seen) AS last_seen
    FROM issues.journal AS j WHERE j.organization_id = c.organization_id AND j.fingerprint = c.fingerprint
) AS w ON true
WHERE c.organization_id = $1 AND c.issue_id = $2
ORDER BY 7 DESC, c.fingerprint
LIMIT $3

-- query: facets
-- The most frequent values of each facet of an issue; folded errors only, which are seconds behind.
SELECT f.facet, f.value, f.occurrences, f.first_seen, f.last_seen
FROM (
    SELECT t.facet, t.value, sum(t.occurrences)::bigint AS occurrences, min(t.first_seen) AS first_seen, max(t.last_seen) AS last_seen,
           row_number() OVER (PARTITION BY t.facet ORDER BY sum(t.occurrences) DESC, t.value) AS place
    FROM issues.causes AS c JOIN issues.facets AS t USING (organization_id, fingerprint)
    -- The places, and not the people, of whom there may be many thousands.
    WHERE c.organization_id = $1 AND c.issue_id = $2 AND t.facet = ANY ($4::text[])
    GROUP BY t.facet, t.value
) AS f
WHERE f.place <= $3
ORDER BY f.facet, f.place

-- query: count_met
-- How many different people an issue met, counted up to $3; of no more rows than that is twice: whoever met many causes has several.
SELECT least(count(DISTINCT m.value), $3)::integer AS met, count(DISTINCT m.value) > $3 OR count(*) > 2 * $3 AS has_more
FROM (
    SELECT t.value FROM issues.causes AS c JOIN issues.facets AS t USING (organization_id, fingerprint)
    WHERE c.organization_id = $1 AND c.issue_id = $2 AND t.facet = 'met'
    LIMIT 2 * $3 + 1
) AS m

-- query: facet_values
-- Each value once, found by stepping through the index: there are few values and many rows.
WITH RECURSIVE step AS (
    SELECT 1 AS number, (SELECT min(f.value) FROM issues.facets AS f WHERE f.organization_id = $1 AND f.facet = $2) AS value
    UNION ALL
    SELECT s.number + 1, (SELECT min(f.value) FROM issues.facets AS f WHERE f.organization_id = $1 AND f.facet = $2 AND f.value > s.value)
    FROM step AS s WHERE s.value IS NOT NULL AND s.number < $3
)
SELECT s.value FROM step AS s WHERE s.value IS NOT NULL

-- query: categories
-- As facet_values.
WITH RECURSIVE step AS (
    SELECT 1 AS number, (SELECT min(i.category) FROM issues.issues AS i WHERE i.organization_id = $1 AND i.category > '') AS value
    UNION ALL
    SELECT s.number + 1, (SELECT min(i.category) FROM issues.issues AS i WHERE i.organization_id = $1 AND i.category > s.value)
    FROM step AS s WHERE s.value IS NOT NULL AND s.number < $2
)
SELECT s.value FROM step AS s WHERE s.value IS NOT NULL

-- query: events
SELECT e.id, e.at, e.kind, e.actor, e.detail
FROM issues.events AS e
WHERE e.organization_id = $1 AND e.issue_id = $2
ORDER BY e.at DESC, e.id DESC
LIMIT $3

-- query: lock_issues
-- In the order in which folding locks them, so that nobody waits for somebody who waits.
SELECT i.id, i.status, i.assignee_id, i.merged_into
FROM issues.issues AS i
WHERE i.organization_id = $1 AND i.id = ANY ($2::uuid[])
ORDER BY i.organization_id, i.id
FOR NO KEY UPDATE

-- query: lock_causes
-- Folding waits, and everybody else who merges or splits: to which issue a cause belongs stays as it is read.
SELECT pg_advisory_xact_lock(hashtextextended('nexus.issues.journal', 0))

-- query: set_status
UPDATE issues.issues AS i
SET status = $3, status_changed_at = $4,
    resolved_at = CASE WHEN $3 = 'resolved' THEN $4::timestamptz END,
    resolved_by = CASE WHEN $3 = 'resolved' THEN $5 ELSE i.resolved_by END,
    resolution_notes = CASE WHEN $3 = 'resolved' THEN $6 ELSE i.resolution_notes END
WHERE i.organization_id = $1 AND i.id = ANY ($2::uuid[])

-- query: assign
UPDATE issues.issues AS i SET assignee_id = $3 WHERE i.organization_id = $1 AND i.id = ANY ($2::uuid[])

-- query: find_person
SELECT u.id, u.name, u.email
FROM identity.memberships AS m JOIN identity.users AS u ON u.id = m.user_id
WHERE m.organization_id = $1 AND m.user_id = $2

-- query: add_event
INSERT INTO issues.events (organization_id, id, issue_id, at, kind, actor, detail)
SELECT $1, t.id, t.issue_id, $4, $5, $6, $7
FROM unnest($2::uuid[], $3::uuid[]) AS t (id, issue_id)

-- query: move_causes
UPDATE issues.causes AS c SET issue_id = $3
WHERE c.organization_id = $1 AND c.issue_id = ANY ($2::uuid[])

-- query: move_some_causes
UPDATE issues.causes AS c SET issue_id = $4
WHERE c.organization_id = $1 AND c.issue_id = $2 AND c.fingerprint = ANY ($3::uuid[])

-- query: move_events
UPDATE issues.events AS e SET issue_id = $3
WHERE e.organization_id = $1 AND e.issue_id = ANY ($2::uuid[])

-- query: mark_merged
UPDATE issues.issues AS i
SET merged_into = $3, occurrences = CASE WHEN i.id = ANY ($2::uuid[]) THEN 0 ELSE i.occurrences END
WHERE i.organization_id = $1 AND (i.id = ANY ($2::uuid[]) OR i.merged_into = ANY ($2::uuid[]))

-- query: count_again
-- An issue's count and times are those of its causes.
UPDATE issues.issues AS i
SET occurrences = c.occurrences, first_seen = c.first_seen, last_seen = c.last_seen
FROM (
    SELECT sum(o.occurrences) AS occurrences, min(o.first_seen) AS first_seen, max(o.last_seen) AS last_seen
    FROM issues.causes AS o
    WHERE o.organization_id = $1 AND o.issue_id = $2
) AS c
WHERE i.organization_id = $1 AND i.id = $2 AND c.first_seen IS NOT NULL

-- query: insert_split
-- A new issue for some causes: as the old one, but for what these causes say themselves.
INSERT INTO issues.issues (organization_id, id, title, error_type, culprit, level, category, severity, impact_level, service, environment,
                           service_version, first_seen, last_seen)
SELECT i.organization_id, $4, c.title, c.error_type, c.culprit, coalesce(s.level, i.level), coalesce(s.category, i.category),
       coalesce(s.severity, i.severity), coalesce(s.impact_level, i.impact_level), coalesce(s.service, i.service),
       coalesce(s.environment, i.environment), coalesce(s.service_version, i.service_version), c.first_seen, c.last_seen
FROM issues.issues AS i
CROSS JOIN LATERAL (
    SELECT o.title, o.error_type, o.culprit, o.first_seen, o.last_seen FROM issues.causes AS o
    WHERE o.organization_id = i.organization_id AND o.issue_id = i.id AND o.fingerprint = ANY ($3::uuid[])
    ORDER BY o.occurrences DESC, o.fingerprint LIMIT 1
) AS c
LEFT JOIN LATERAL (
    SELECT p.* FROM issues.samples AS p
    WHERE p.organization_id = i.organization_id AND p.fingerprint = ANY ($3::uuid[])
    ORDER BY p.occurred_at DESC, p.id DESC LIMIT 1
) AS s ON true
WHERE i.organization_id = $1 AND i.id = $2

-- query: record_issue_action
SELECT platform.record_action_v1($1, $2, $3::jsonb)
