-- metering.day_start_v1: the instant at which the day that holds an instant begins in a zone.
-- requires: metering.first_instant_v1
-- Days are contiguous: each lasts to the first midnight of the next date, also where clocks are turned at midnight. A date
-- whose midnight comes twice begins at the first; one whose midnight is skipped begins where the clocks jump.
CREATE FUNCTION metering.day_start_v1(at timestamptz, zone text) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN at >= m.tomorrow THEN m.tomorrow ELSE m.today END
    FROM (
        SELECT metering.first_instant_v1((at AT TIME ZONE zone)::date, zone) AS today,
               metering.first_instant_v1((at AT TIME ZONE zone)::date + 1, zone) AS tomorrow
    ) AS m
$$;
REVOKE ALL ON FUNCTION metering.day_start_v1(timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.day_start_v1(timestamptz, text) TO nexus_service, nexus_system, nexus_readonly;
