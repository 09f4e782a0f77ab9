-- Puts in force what a cell is granted of a capacity that organizations share. Nothing else changes the rate of such a bucket:
-- decisions bring version 0, and open none that is not there (see current).
--
-- KEYS[1] bucket   KEYS[2] the list of buckets (sorted set)   KEYS[3] trail   KEYS[4] what was asked for (hash)
-- ARGV[1] what bucket keys begin with   ARGV[2] packed doubles: number of the grant: each has a greater one; capacity, 0 to take the
--   bucket away; the rate as whole, part and d; the instant after which this comes too late
-- Returns {status, now, the number in force, units asked for since somebody began to count}.
-- status  1 in force from now on   2 in force before   3 in force in a bucket that was not there: it begins empty, a lease's life
--   from now, for leases of before may be spent yet   0 too late: nothing is written   -1 a greater number is in force
--
-- The level stays, and is cut to the capacity: what is granted more is had by refilling alone. Were the fill fraction kept, each
-- move to and fro would make units that no rate gave.
local KEPT, LEASE_US = LARGEST, 1000000
local number, capacity, whole, part, d, deadline = unpack_('<dddddd', ARGV[2])
local name = string.sub(KEYS[1], #ARGV[1] + 1)
local asked = tonumber(redis.call('HGET', KEYS[4], name) or 0)
if now > deadline then return { 0, now, 0, asked } end
local b = load(redis.call('GET', KEYS[1]))
if b and b.version >= number then return { b.version > number and -1 or 2, now, b.version, asked } end
if capacity == 0 then
    if not b then return { 2, now, number, asked } end
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], name)
    redis.call('HDEL', KEYS[4], name)
    return { 1, now, number, asked }
end
local status = b and 1 or 3
if b then
    refill(b)
else
    b = { level = 0, fraction = 0, at = now + LEASE_US, held = 0, leased = 0, ends = 0, shadowed = 0, refilled = 0, adjusted = 0,
          changed = 0, opened = 1 }
end
local before = b.level
b.level = min(b.level, max(0, capacity - b.leased))
b.adjusted, b.fraction = b.adjusted + (b.level - before), 0
b.version, b.method, b.capacity, b.whole, b.part, b.d, b.reserve = number, TOKEN, capacity, whole, part, d, 0
redis.call('SET', KEYS[1], packed(b))
-- Never forgotten while it is granted, full or not.
redis.call('ZADD', KEYS[2], int(KEPT), name)
record(KEYS[3], 'adjust', 'grant:' .. int(number), { name }, { b })
return { status, now, number, asked }
