-- metering.merge_bins_v1: joins the entries of a latency sketch that name the same bin; the order is that of the bins.
-- An entry is a 2-byte bin and an 8-byte count, as kit.latency writes it. Counts below zero (from corrections) add up too.
CREATE FUNCTION metering.merge_bins_v1(bins bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(string_agg(int2send(e.bin::smallint) || int8send(e.total::bigint), ''::bytea ORDER BY e.bin), '')
    FROM (
        SELECT get_byte(bins, at) * 256 + get_byte(bins, at + 1) AS bin,
               sum(
                   (get_byte(bins, at + 2)::bigint << 56) | (get_byte(bins, at + 3)::bigint << 48)
                   | (get_byte(bins, at + 4)::bigint << 40) | (get_byte(bins, at + 5)::bigint << 32)
                   | (get_byte(bins, at + 6)::bigint << 24) | (get_byte(bins, at + 7) << 16)
                   | (get_byte(bins, at + 8) << 8) | get_byte(bins, at + 9)
               ) AS total
        FROM generate_series(0, length(bins) - 10, 10) AS at
        GROUP BY 1
    ) AS e
    WHERE e.total <> 0
$$;
REVOKE ALL ON FUNCTION metering.merge_bins_v1(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.merge_bins_v1(bytea) TO nexus_system;
