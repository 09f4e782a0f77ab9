-- metering.first_instant_v1: the instant at which a date begins in a zone.
-- PostgreSQL reads a local time that comes twice as the second; the first is an hour (in Lord Howe half of one) before.
CREATE FUNCTION metering.first_instant_v1(day date, zone text) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN (i.at - interval '1 hour') AT TIME ZONE zone = day::timestamp THEN i.at - interval '1 hour'
        WHEN (i.at - interval '30 minutes') AT TIME ZONE zone = day::timestamp THEN i.at - interval '30 minutes'
        ELSE i.at
    END
    FROM (SELECT day::timestamp AT TIME ZONE zone AS at) AS i
$$;
REVOKE ALL ON FUNCTION metering.first_instant_v1(date, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.first_instant_v1(date, text) TO nexus_service, nexus_system, nexus_readonly;
