-- query: begin_folding
-- role: nexus_system
-- One folder at a time; false when another node folds.
SELECT pg_try_advisory_xact_lock(hashtextextended('nexus.metrics.journal', 0))

-- query: take_waiting
-- role: nexus_system
-- Whole series: what is counted of a series and what waits are then never mixed. Whoever takes holds the lock.
DELETE FROM metrics.journal AS j
USING (SELECT DISTINCT n.organization_id, n.series_id FROM (SELECT organization_id, series_id FROM metrics.journal LIMIT $1) AS n) AS s
WHERE j.organization_id = s.organization_id AND j.series_id = s.series_id
RETURNING j.organization_id, j.series_id, j.at

-- query: waiting_of_series
SELECT j.organization_id, j.series_id, j.at FROM metrics.journal AS j
WHERE j.organization_id = $1 AND j.series_id = ANY ($2::uuid[]) LIMIT $3

-- query: points_around
-- Points, and of each cumulative one the cumulative points before and after it.
WITH wanted AS (
    SELECT s.kind, p.*
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS w (organization_id, series_id, at)
    JOIN metrics.points AS p ON p.organization_id = w.organization_id AND p.series_id = w.series_id AND p.key_at = w.at
    JOIN metrics.series AS s ON s.organization_id = w.organization_id AND s.id = w.series_id
)
SELECT w.kind, w.organization_id, w.series_id, w.key_at, w.is_cumulative, w.start_at, w.layout, w.value, w.count, w.min, w.max, w.bins, true AS is_new
FROM wanted AS w
UNION ALL
SELECT w.kind, n.organization_id, n.series_id, n.key_at, n.is_cumulative, n.start_at, n.layout, n.value, n.count, n.min, n.max, n.bins, false
FROM wanted AS w
CROSS JOIN LATERAL (
    (SELECT p.* FROM metrics.points AS p
     WHERE p.organization_id = w.organization_id AND p.series_id = w.series_id AND p.key_at < w.key_at AND p.is_cumulative
     ORDER BY p.key_at DESC LIMIT 1)
    UNION ALL
    (SELECT p.* FROM metrics.points AS p
     WHERE p.organization_id = w.organization_id AND p.series_id = w.series_id AND p.key_at > w.key_at AND p.is_cumulative
     ORDER BY p.key_at LIMIT 1)
) AS n
WHERE w.is_cumulative

-- query: ensure_partition
-- role: nexus_system
SELECT platform.ensure_partition_v1($1, $2)

-- query: drop_old_months
-- role: nexus_system
SELECT count(*) FROM platform.drop_partitions_v1($1, $2)

-- query: kinds_of
-- Of which kinds and units a metric of a name is.
SELECT s.kind, s.unit FROM metrics.series AS s
WHERE s.organization_id = $1 AND s.name = $2 AND ($3::text IS NULL OR s.kind = $3) AND ($4::text IS NULL OR s.unit = $4)
GROUP BY s.kind, s.unit ORDER BY s.kind, s.unit

-- query: layouts
SELECT l.id, l.bounds FROM metrics.layouts AS l WHERE l.organization_id = $1 AND l.id = ANY ($2::uuid[])

-- query: label_values
-- Labels of some series with their values, the most frequent first, no more than $3 of each.
SELECT v.label, v.value, v.place, v.count
FROM (
    SELECT e.label, e.value, row_number() OVER (PARTITION BY e.label ORDER BY count(*) DESC, e.value) AS place,
           count(*) OVER (PARTITION BY e.label) AS count
    FROM metrics.series AS s
    CROSS JOIN LATERAL (
        SELECT 'label.' || l.key AS label, l.value FROM jsonb_each_text(s.labels) AS l
        UNION ALL
        SELECT o.label, o.value
        FROM (VALUES ('service', s.service), ('environment', s.environment), ('application', s.application), ('instance', s.instance)) AS o (label, value)
        WHERE o.value <> ''
    ) AS e
    WHERE s.organization_id = $1 AND s.id = ANY ($2::uuid[])
    GROUP BY e.label, e.value
) AS v
WHERE v.place <= $3
ORDER BY v.label, v.place

-- query: exposed_series
-- Series whose newest point is not older than an instant, of metrics of some names or, where none are named, of all.
SELECT s.id, s.name, s.kind, s.unit, s.application, s.service, s.environment, s.instance, s.labels, s.description
FROM metrics.series AS s
WHERE s.organization_id = $1 AND (cardinality($2::text[]) = 0 OR s.name = ANY ($2))
  AND (
      EXISTS (SELECT FROM metrics.totals AS t WHERE t.organization_id = s.organization_id AND t.series_id = s.id AND t.last_at >= $3)
      OR EXISTS (SELECT FROM metrics.journal AS j WHERE j.organization_id = s.organization_id AND j.series_id = s.id AND j.at >= $3)
  )
ORDER BY s.name, s.kind, s.unit, s.id
LIMIT $4

-- query: series_usage
SELECT u.active, u.refused_points, u.last_refused_at, u.last_refused_metric
FROM metrics.series_usage AS u WHERE u.organization_id = $1

-- query: organizations_with_series
-- role: nexus_system
SELECT u.organization_id FROM metrics.series_usage AS u WHERE u.active > 0 ORDER BY u.organization_id

-- query: lock_usage
-- role: nexus_system
-- Nobody begins a series of this organization until the transaction ends.
SELECT u.active FROM metrics.series_usage AS u WHERE u.organization_id = $1 FOR UPDATE

-- query: retire_series
-- role: nexus_system
-- Series without a point since an instant count no more, until one comes; their figures stay.
WITH idle AS (
    UPDATE metrics.series AS s SET is_active = false
    WHERE s.organization_id = $1 AND s.is_active
      AND NOT EXISTS (SELECT FROM metrics.totals AS t WHERE t.organization_id = s.organization_id AND t.series_id = s.id AND t.last_at >= $2)
      AND NOT EXISTS (SELECT FROM metrics.journal AS j WHERE j.organization_id = s.organization_id AND j.series_id = s.id)
    RETURNING 1
), counted AS (
    UPDATE metrics.series_usage AS u SET active = u.active - (SELECT count(*) FROM idle) WHERE u.organization_id = $1
)
SELECT count(*) FROM idle
