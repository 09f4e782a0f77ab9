-- Makes a cell known, once, with what is known of windows from before a loss.
--
-- KEYS[1] the cell's epoch   KEYS[2] the list of buckets (sorted set)   KEYS[3...] buckets to put back
-- ARGV[1] 0: a new cell, whose buckets begin full; 1: one that lost its state, whose buckets begin empty, and to refill only when
--   the leases that were granted before the loss, and may be spent yet, are over
-- ARGV[2] what bucket keys begin with   ARGV[3...] packed states, in the order of the keys; kept only where there is none
-- Returns 1 when it was made known now, 0 when it was known.
local LEASE_US = 1000000
local since = ARGV[1] == '1' and string.format('%.0f', now + LEASE_US) or '0'
if not redis.call('SET', KEYS[1], since, 'NX') then return 0 end
for i = 3, #KEYS do
    redis.call('SET', KEYS[i], ARGV[i], 'NX')
    redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', now), string.sub(KEYS[i], #ARGV[2] + 1))
end
return 1
