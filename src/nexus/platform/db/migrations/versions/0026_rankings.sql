-- What a ranking over days reads is in an index: by the slowest call, and by who calls.
DROP INDEX mcp.rollups_day_rank_idx;
CREATE INDEX rollups_day_rank_idx ON mcp.rollups_day (organization_id, dimension_set, bucket)
    INCLUDE (subject, server, name, outcome, principal, calls, duration_count, duration_sum_us, duration_max_us, response_bytes);
CREATE INDEX rollups_day_callers_idx ON mcp.rollups_day (organization_id, bucket)
    INCLUDE (subject, principal, client_name, client_version, calls) WHERE dimension_set = 4;
