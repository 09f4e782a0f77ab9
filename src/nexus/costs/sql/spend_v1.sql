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
