-- metering.sum_bigint_v1: adds whole numbers up in 8 bytes, several times as fast as sum(bigint), which computes in numeric.
-- For what cannot overflow in one folding: counts and model tokens. A call has at most 10^9 tokens of a class, so 9 * 10^9
-- calls fit; a folding takes 100,000 journal rows. Bytes, durations and money are summed as numeric.
CREATE AGGREGATE metering.sum_bigint_v1(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, PARALLEL = SAFE);
REVOKE ALL ON FUNCTION metering.sum_bigint_v1(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.sum_bigint_v1(bigint) TO nexus_system;
