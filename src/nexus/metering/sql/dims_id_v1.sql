-- metering.dims_id_v1: a short key for a combination of dimensions, given as the text of a row, which quotes what it must.
CREATE FUNCTION metering.dims_id_v1(dims text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT encode(substr(sha256(convert_to(dims, 'UTF8')), 1, 16), 'hex')::uuid $$;
REVOKE ALL ON FUNCTION metering.dims_id_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.dims_id_v1(text) TO nexus_system;
