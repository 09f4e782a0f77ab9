-- metering.snapshot_body_settings_v1: what organizations that turned it on want kept of bodies, for the gateway's snapshot.
-- requires: metering.body_settings
CREATE FUNCTION metering.snapshot_body_settings_v1()
    RETURNS TABLE (organization_id uuid, share double precision, max_body_bytes integer, only_failed boolean, providers text[],
                   masks text[], fields text[], words text[])
    LANGUAGE sql STABLE
    AS $$
    SELECT s.organization_id, s.share, s.max_body_bytes, s.only_failed, s.providers, s.masks, s.fields, s.words
    FROM metering.body_settings AS s
    JOIN identity.organizations AS o ON o.id = s.organization_id AND o.is_active
    WHERE s.is_on
$$;
REVOKE ALL ON FUNCTION metering.snapshot_body_settings_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.snapshot_body_settings_v1() TO nexus_system;
