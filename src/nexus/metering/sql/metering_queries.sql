-- query: range_facts
-- What planning needs: the organization's currency, the zone its days are kept in, what retention has taken, and where
-- days begin around the range. All instants come from PostgreSQL's own time zones, as those of the rollups do.
SELECT
    coalesce(o.currency, 'USD') AS currency,
    f.zone AS day_zone,
    statement_timestamp() AS as_of,
    current_setting('transaction_isolation') AS isolation,
    -- Answers take milliseconds; to start parallel workers or a compiler for them takes longer.
    set_config('max_parallel_workers_per_gather', '0', true) AS parallel_workers,
    set_config('jit', 'off', true) AS jit,
    (SELECT jsonb_object_agg(h.level, h.whole_from) FROM metering.rollup_horizons AS h) AS whole_from,
    CASE
        WHEN metering.day_start_v1($2::timestamptz, f.zone) = $2 THEN $2
        ELSE metering.day_start_v1(metering.day_start_v1($2, f.zone) + interval '26 hours', f.zone)
    END AS first_day,
    metering.day_start_v1($3::timestamptz, f.zone) AS last_day,
    CASE WHEN $5::text IS NOT NULL THEN (
        SELECT array_agg(metering.first_instant_v1(day::date, $4::text) ORDER BY day)
        FROM generate_series(
            date_trunc($5, ($2 AT TIME ZONE $4) - interval '1 day'),
            ($3 AT TIME ZONE $4) + interval '1 day',
            ('1 ' || $5)::interval
        ) AS day
    ) END AS calendar
FROM (
    SELECT coalesce(
        (SELECT z.zone FROM metering.day_zones AS z WHERE z.organization_id = $1::uuid),
        (SELECT metering.known_zone_v1(i.reporting_zone) FROM identity.organizations AS i WHERE i.id = $1),
        'UTC'
    ) AS zone
) AS f
LEFT JOIN identity.organizations AS o ON o.id = $1

-- query: fold
-- role: nexus_system
SELECT metering.fold_journal_v1($1)

-- query: journal_size
-- role: nexus_system
-- Counts no further than asked: a long journal is not read just to learn that it is long.
SELECT count(*) FROM (SELECT FROM metering.rollup_journal LIMIT $1) AS j

-- query: organization_by_slug
-- role: nexus_system
SELECT o.id FROM identity.organizations AS o WHERE o.slug = $1

-- query: limit_sets
-- A set is the same in each month that calls name it in.
SELECT DISTINCT ON (s.id) s.id, s.limits
FROM metering.limit_sets AS s
WHERE s.organization_id = $1 AND s.id = ANY ($2::uuid[])
ORDER BY s.id
