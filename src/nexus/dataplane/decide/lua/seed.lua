-- Opens the bucket of a budget in the window that holds now: at what the ledger says was spent in it, and what processes report.
--
-- KEYS[1] trail   KEYS[2] epoch   KEYS[3] bucket   KEYS[4] the list of buckets (sorted set)
-- KEYS[5] opened buckets: by name, the start of the window they were opened in (hash)
-- KEYS[6] what processes say that the ledger may lack, after the cell lost its state: "process bucket", units (hash)
-- ARGV[1] what bucket keys begin with   ARGV[2] the packed limit   ARGV[3] units spent by the ledger; '' to ask whether it is opened
-- ARGV[4] microseconds that processes have to report in after a loss
-- Returns {status, now, units}: 1 opened, now or before (units: used)   2 the ledger is to be asked   0 processes still report (units:
-- microseconds to wait)   -2 other windows   -3 the cell is not known
local since = redis.call('GET', KEYS[2])
if not since then return { -3, now, 0 } end
since = tonumber(since)
local name = string.sub(KEYS[3], #ARGV[1] + 1)
local state = redis.call('GET', KEYS[3])
local b = current(state, ARGV[2], since, true)
if not b then return { -2, now, 0 } end
if state and redis.call('HGET', KEYS[5], name) == int(b.at) then return { 1, now, b.level } end
local patience = tonumber(ARGV[4])
if since > 0 and now - since < patience then return { 0, now, patience - (now - since) } end
if ARGV[3] == '' then return { 2, now, 0 } end
local used = tonumber(ARGV[3])
local told = redis.call('HGETALL', KEYS[6])
for i = 1, #told, 2 do
    if string.sub(told[i], -#name - 1) == ' ' .. name then used = used + tonumber(told[i + 1]) end
end
-- What was counted here in this window stays: the ledger may not have it yet.
used = min(max(b.level, used), LARGEST)
b.level, b.adjusted = used, b.adjusted + (used - b.level)
save(ARGV[1], name, b, KEYS[4])
redis.call('HSET', KEYS[5], name, int(b.at))
record(KEYS[1], 'adjust', 'opened', { name }, { b })
return { 1, now, used }
