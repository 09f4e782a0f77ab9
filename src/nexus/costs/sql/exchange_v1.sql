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
