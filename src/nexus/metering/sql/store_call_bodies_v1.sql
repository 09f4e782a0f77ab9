-- metering.store_call_bodies_v1: stores bodies of calls, given as columns; those that are there already stay as they are.
-- requires: metering.call_bodies
-- A day without a partition gets one first: see platform.ensure_partition_v1.
CREATE FUNCTION metering.store_call_bodies_v1(
    organization_ids uuid[], key_ats timestamptz[], call_ids uuid[], sides text[], states text[], media_types text[],
    sizes bigint[], cuts boolean[], masks jsonb[], sealed_texts bytea[]
) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO metering.call_bodies (
        organization_id, key_at, call_id, side, state, media_type, size_bytes, is_cut, masked, sealed
    )
    SELECT *
    FROM unnest(organization_ids, key_ats, call_ids, sides, states, media_types, sizes, cuts, masks, sealed_texts)
        AS b (organization_id, key_at, call_id, side, state, media_type, size_bytes, is_cut, masked, sealed)
    ORDER BY b.organization_id, b.key_at, b.call_id, b.side
    ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION metering.store_call_bodies_v1(
    uuid[], timestamptz[], uuid[], text[], text[], text[], bigint[], boolean[], jsonb[], bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.store_call_bodies_v1(
    uuid[], timestamptz[], uuid[], text[], text[], text[], bigint[], boolean[], jsonb[], bytea[]) TO nexus_writer;
