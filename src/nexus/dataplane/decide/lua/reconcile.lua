-- Gives back what leases of a window that ended with their processes had and, as a ledger shows, was not spent.
--
-- KEYS[1] trail   KEYS[2] epoch   KEYS[3] bucket   KEYS[4] the list of buckets (sorted set)
-- ARGV[1] name of the reconciliation   ARGV[2] what bucket keys begin with   ARGV[3] the packed limit
-- ARGV[4] where the window begins   ARGV[5] units that such leases had   ARGV[6] units that were known to be spent, both as the
--   bucket stood before the ledger was read   ARGV[7] units spent in the window, as the ledger has them
-- Returns {status, units given back}: 1 done, 2 the window is over, -2 other windows, -3 the cell is not known.
--
-- What is spent beyond what was known to be before is at most what the lost leases spent and what others spent since: what
-- the lost had beyond that, nobody spent. What others spent since keeps some of it charged until the next time, never the reverse.
local since = redis.call('GET', KEYS[2])
if not since then return { -3, 0 } end
local b = current(redis.call('GET', KEYS[3]), ARGV[3], tonumber(since))
if not b then return { -2, 0 } end
if b.method ~= WINDOW or b.at ~= tonumber(ARGV[4]) then return { 2, 0 } end
local lost, known, used = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local back = min(b.fraction, lost - max(0, used - known))
if back <= 0 then return { 1, 0 } end
charge(b, -back)
b.fraction = b.fraction - back
local name = string.sub(KEYS[3], #ARGV[2] + 1)
save(ARGV[2], name, b, KEYS[4])
record(KEYS[1], 'adjust', ARGV[1], { name }, { b })
return { 1, back }
