-- query: range_facts
-- What planning needs: what retention has taken, and where days begin around the range. The days of these rollups are
-- days of UTC; those of other zones are made from hours or quarters.
SELECT
    statement_timestamp() AS as_of,
    current_setting('transaction_isolation') AS isolation,
    -- Answers take milliseconds; to start parallel workers or a compiler for them takes longer.
    set_config('max_parallel_workers_per_gather', '0', true) AS parallel_workers,
    set_config('jit', 'off', true) AS jit,
    (SELECT jsonb_object_agg(h.level, h.whole_from) FROM storage.rollup_horizons AS h) AS whole_from,
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

-- query: lock_rollups
-- role: nexus_system
-- The lock of metering.fold_rollups_v1: no folding comes between.
SELECT pg_advisory_xact_lock(hashtextextended('nexus.storage.rollup_journal', 0))

-- query: drop_old_months
-- role: nexus_system
SELECT count(*) FROM platform.drop_partitions_v1($1, $2)

-- query: move_horizon
-- role: nexus_system
-- What began before the month that holds the instant is not whole any more.
INSERT INTO storage.rollup_horizons AS h (level, whole_from) VALUES ($1, date_trunc('month', $2::timestamptz, 'UTC'))
ON CONFLICT (level) DO UPDATE SET whole_from = greatest(h.whole_from, excluded.whole_from)
