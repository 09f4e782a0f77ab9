-- Adjusts one bucket by hand: a person gives or takes units, and says why elsewhere.
--
-- KEYS[1] trail   KEYS[2] epoch   KEYS[3] bucket   KEYS[4] the list of buckets (sorted set)
-- ARGV[1] name of the adjustment   ARGV[2] what bucket keys begin with   ARGV[3] the packed limit
-- ARGV[4] units to take, negative to give   ARGV[5] where the window begins that is meant, 0 for whichever is now
-- ARGV[6], ARGV[7], ARGV[8] level, held units and units on lease that the bucket has to have; or else none of them
-- Returns {status, left}: 1 done, 2 that window is over, -2 other windows, -3 the cell is not known, -4 a budget that is not opened, or a share not granted,
-- -5 the bucket has changed.
local since = redis.call('GET', KEYS[2])
if not since then return { -3, 0 } end
local b, why = current(redis.call('GET', KEYS[3]), ARGV[3], tonumber(since))
if not b then return { why or -2, 0 } end
local window = tonumber(ARGV[5])
if window > 0 and (b.method ~= WINDOW or b.at ~= window) then return { 2, available(b) } end
if ARGV[6] and (b.level ~= tonumber(ARGV[6]) or b.held ~= tonumber(ARGV[7]) or b.leased ~= tonumber(ARGV[8])) then return { -5, 0 } end
charge(b, tonumber(ARGV[4]))
local name = string.sub(KEYS[3], #ARGV[2] + 1)
save(ARGV[2], name, b, KEYS[4])
record(KEYS[1], 'adjust', ARGV[1], { name }, { b })
return { 1, available(b) }
