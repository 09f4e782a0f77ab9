-- metering.known_zone_v1: the zone itself if PostgreSQL knows it, else UTC; a zone that is gone must not stop the folding.
CREATE FUNCTION metering.known_zone_v1(zone text) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    PERFORM timestamptz '2000-01-01 00:00:00+00' AT TIME ZONE zone;
    RETURN coalesce(zone, 'UTC');
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN 'UTC';
END
$$;
REVOKE ALL ON FUNCTION metering.known_zone_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.known_zone_v1(text) TO nexus_service, nexus_system, nexus_readonly;
