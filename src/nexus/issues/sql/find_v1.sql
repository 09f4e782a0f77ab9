-- issues.find_v1: issues whose errors have these words, in the form of a web search.
-- requires: issues.causes, platform.current_organization_id
-- Runs as its owner: under row-level security PostgreSQL does not use the index of the words, as `@@` might leak what it looks
-- at. The organization is the transaction's own and nothing else; without one nothing is found.
CREATE FUNCTION issues.find_v1(words text) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT DISTINCT c.issue_id
    FROM issues.causes AS c
    WHERE c.organization_id = (SELECT platform.current_organization_id())
      AND c.search @@ websearch_to_tsquery('simple', words)
$$;
ALTER FUNCTION issues.find_v1(text) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION issues.find_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.find_v1(text) TO nexus_service;
RESET ROLE;
