-- issues.find_v2: issues whose errors have these words, in the form of a web search: no more than so many, some of them twice.
-- requires: issues.causes, platform.current_organization_id
-- Runs as its owner: under row-level security PostgreSQL does not use the index of the words, as `@@` might leak what it looks
-- at. The organization is the transaction's own and nothing else; without one nothing is found. Who gets as many as were asked
-- for goes through the list in its order instead, and looks at the words of each: what is in everything is soon found there.
CREATE FUNCTION issues.find_v2(words text, at_most integer) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT c.issue_id
    FROM issues.causes AS c
    WHERE c.organization_id = (SELECT platform.current_organization_id())
      AND c.search @@ websearch_to_tsquery('simple', words)
    LIMIT at_most
$$;
ALTER FUNCTION issues.find_v2(text, integer) OWNER TO nexus_system;
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION issues.find_v2(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issues.find_v2(text, integer) TO nexus_service;
RESET ROLE;
