-- query: range_facts
-- What planning needs: what retention has taken, and where days begin around the range. The days of these rollups are
-- days of UTC; those of other zones are made from hours or quarters.
SELECT
    statement_timestamp() AS as_of,
    current_setting('transaction_isolation') AS isolation,
    -- Answers take milliseconds; to start parallel workers or a compiler for them takes longer.
    set_config('max_parallel_workers_per_gather', '0', true) AS parallel_workers,
    set_config('jit', 'off', true) AS jit,
    (SELECT jsonb_object_agg(h.level, h.whole_from) FROM mcp.rollup_horizons AS h) AS whole_from,
    date_trunc('day', $1::timestamptz + interval '1 day' - interval '1 microsecond', 'UTC') AS first_day,
    date_trunc('day', $2::timestamptz, 'UTC') AS last_day,
    CASE WHEN $4::text IS NOT NULL THEN (
        SELECT array_agg(metering.first_instant_v1(day::date, $3::text) ORDER BY day)
        FROM generate_series(
            date_trunc($4, ($1 AT TIME ZONE $3) - interval '1 day'),
            ($2 AT TIME ZONE $3) + interval '1 day',
            ('1 ' || $4)::interval
        ) AS day
    ) END AS calendar

-- query: fold
-- role: nexus_system
SELECT metering.fold_rollups_v1($1, $2)

-- query: activity_window
-- A window of activity: calls of one principal by one client with no more than half an hour between them, within a day of
-- the call. It stands for a session where the protocol has none. No more than $5 calls to either side are looked at.
WITH before AS (
    SELECT c.occurred_at FROM mcp.tool_calls AS c
    WHERE c.organization_id = $1 AND c.principal = $2 AND c.client_name = $3
      AND c.occurred_at >= $4::timestamptz - interval '1 day' AND c.occurred_at <= $4
    ORDER BY c.occurred_at DESC LIMIT $5
), after AS (
    SELECT c.occurred_at FROM mcp.tool_calls AS c
    WHERE c.organization_id = $1 AND c.principal = $2 AND c.client_name = $3
      AND c.occurred_at > $4 AND c.occurred_at < $4::timestamptz + interval '1 day'
    ORDER BY c.occurred_at LIMIT $5
), near AS (
    SELECT c.occurred_at, c.occurred_at - lag(c.occurred_at) OVER (ORDER BY c.occurred_at) > interval '30 minutes' AS is_first
    FROM (SELECT b.occurred_at FROM before AS b UNION ALL SELECT a.occurred_at FROM after AS a) AS c
), numbered AS (
    SELECT n.occurred_at, count(*) FILTER (WHERE n.is_first) OVER (ORDER BY n.occurred_at) AS number FROM near AS n
)
SELECT min(w.occurred_at) AS began_at, max(w.occurred_at) AS ended_at, count(*) AS calls,
       -- It reaches to the last one looked at, and there may be others behind it.
       (SELECT count(*) = $5 AND min(b.occurred_at) = min(w.occurred_at) FROM before AS b)
       OR (SELECT count(*) = $5 AND max(a.occurred_at) = max(w.occurred_at) FROM after AS a) AS has_more
FROM numbered AS w
WHERE w.number = (SELECT max(o.number) FROM numbered AS o WHERE o.occurred_at <= $4)

-- query: uncalled_tools
-- Tools that the newest lists of a range name and that nobody called in it. A list that was recorded without its tools tells nothing.
WITH lists AS (
    SELECT r.server, r.response_body, r.occurred_at
    FROM mcp.requests AS r
    WHERE r.organization_id = $1 AND r.method = 'tools/list' AND r.response_body IS NOT NULL
      AND r.occurred_at >= $2 AND r.occurred_at < $3 AND ($4::text IS NULL OR r.server = $4)
    ORDER BY r.occurred_at DESC
    LIMIT $6
), different AS (
    -- A server sends the same list again and again: each is taken apart once.
    SELECT l.server, l.response_body, max(l.occurred_at) AS occurred_at FROM lists AS l GROUP BY l.server, l.response_body
), advertised AS (
    SELECT l.server, t.tool ->> 'name' AS tool, max(l.occurred_at) AS listed_at
    FROM different AS l
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE jsonb_typeof(l.response_body -> 'tools') WHEN 'array' THEN l.response_body -> 'tools' END
    ) AS t (tool)
    WHERE jsonb_typeof(t.tool -> 'name') = 'string'
    GROUP BY l.server, t.tool ->> 'name'
)
SELECT a.server, a.tool, a.listed_at
FROM advertised AS a
WHERE NOT EXISTS (
    SELECT FROM mcp.tool_calls AS c
    WHERE c.organization_id = $1 AND c.tool = a.tool AND c.server = a.server AND c.occurred_at >= $2 AND c.occurred_at < $3
)
ORDER BY a.server, a.tool
LIMIT $5

-- query: lock_rollups
-- role: nexus_system
-- The lock of metering.fold_rollups_v1: no folding comes between.
SELECT pg_advisory_xact_lock(hashtextextended('nexus.mcp.rollup_journal', 0))

-- query: drop_old_months
-- role: nexus_system
SELECT count(*) FROM platform.drop_partitions_v1($1, $2)

-- query: move_horizon
-- role: nexus_system
-- What began before the month that holds the instant is not whole any more.
INSERT INTO mcp.rollup_horizons AS h (level, whole_from) VALUES ($1, date_trunc('month', $2::timestamptz, 'UTC'))
ON CONFLICT (level) DO UPDATE SET whole_from = greatest(h.whole_from, excluded.whole_from)
