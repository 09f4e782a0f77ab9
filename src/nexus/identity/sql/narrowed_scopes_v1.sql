-- identity.narrowed_scopes_v1: what is left of a key's scopes when its owner may do no more than `held`; '*' is all.
CREATE FUNCTION identity.narrowed_scopes_v1(scopes text[], held text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE
        WHEN '*' = ANY (held) THEN scopes
        WHEN '*' = ANY (scopes) THEN held
        ELSE ARRAY(SELECT s FROM unnest(scopes) AS s WHERE s = ANY (held))
    END
$$;
REVOKE ALL ON FUNCTION identity.narrowed_scopes_v1(text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.narrowed_scopes_v1(text[], text[]) TO nexus_system;
