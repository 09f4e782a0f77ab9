-- mcp.store_tool_calls_v1: stores the staged tool calls once each, in the caller's transaction.
-- requires: mcp.tool_calls, metering.keep_new_records_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch. Runs as nexus_writer.
CREATE FUNCTION mcp.store_tool_calls_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    RETURN metering.keep_new_records_v1('tool_call', 'staged_tool_calls', 'mcp.tool_calls');
END
$$;
REVOKE ALL ON FUNCTION mcp.store_tool_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mcp.store_tool_calls_v1() TO nexus_writer;
