-- Decides one call of token buckets, and grants leases on them; or, where nothing is charged and nothing wanted, ends leases.
--
-- KEYS[1] trail   KEYS[2] epoch   KEYS[3] the list of buckets   KEYS[4] buckets with leases, by the instant the last one ends
-- KEYS[5], KEYS[6] ...  for each limit: its bucket, its leases
-- ARGV[1] name of the process   ARGV[2] number of this call: each has a greater one   ARGV[3] what bucket keys begin with
-- ARGV[4] life of a lease   ARGV[5] the time that `wanted` is for, both in microseconds
-- ARGV[6], ARGV[7] ...  for each limit: the packed limit; packed doubles: the charge, how much is wanted, the number of the
--   lease that the process has (0: none), what is left of that one (negative: overspent by settlements)
--
-- Returns {status, now, limit, microseconds, then for each limit: left, granted at once, accruing, microseconds to accrue in}.
-- status  1 admitted   0 refused by `limit` (microseconds: when to try again): no limit is charged   -1 refused for ever
--         3 this call or a later one was there before: nothing is written
--         4 a limit is no token bucket   -3 the cell is not known
--
-- What is left comes back only to the lease that is named, so it comes back once. A lease that the process has and does not
-- name is one whose answer it never got: it ends with all that is out.
local node, sequence, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local life, horizon = tonumber(ARGV[4]), tonumber(ARGV[5])
local count = (#KEYS - 4) / 2
local since = redis.call('GET', KEYS[2])
if not since then return { -3, now, 0, 0 } end
local buckets, leases, charges, wanteds, named, rests, lefts = {}, {}, {}, {}, {}, {}, {}
for i = 1, count do
    -- Read without ending any yet: a call that is late must find and leave everything as it is.
    local own = redis.call('HGET', KEYS[4 + 2 * i], node)
    if own and unpack_('<d', own) >= sequence then return { 3, now, 0, 0 } end
end
local status, which, longest = 1, 0, -1
for i = 1, count do
    local limit = ARGV[4 + 2 * i]
    charges[i], wanteds[i], named[i], rests[i] = unpack_('<dddd', ARGV[5 + 2 * i])
    local b = current(redis.call('GET', KEYS[3 + 2 * i]), limit, tonumber(since))
    if not b or b.method ~= TOKEN then return { 4, now, i, 0 } end
    buckets[i] = b
    if charges[i] > b.capacity - b.reserve then return { -1, now, i, 0 } end
end
for i = 1, count do
    local b = buckets[i]
    leases[i] = leases_of(KEYS[4 + 2 * i])
    end_leases(KEYS[4 + 2 * i], b, leases[i])
    local own = leases[i][node]
    if own then
        leases[i][node] = nil
        b.leased = max(0, b.leased - own.amount)
        if own.sequence == named[i] then charge(b, -min(rests[i], own.amount)) end
    end
    lefts[i] = b.level + ahead_of(leases[i]) - b.reserve
    local need = charges[i] - lefts[i]
    if need > 0 and wanteds[i] > 0 then
        local retry = time_to(b, need)
        if retry > longest then status, which, longest = 0, i, retry end
    end
end
local names, writes, latest = {}, {}, now + life
local answer = { status, now, which, status == 0 and longest or 0 }
for i = 1, count do
    local b = buckets[i]
    names[i] = string.sub(KEYS[3 + 2 * i], #prefix + 1)
    if status == 1 then
        charge(b, charges[i])
        lefts[i] = lefts[i] - charges[i]
    end
    local at_once, accruing, duration = 0, 0, 0
    if wanteds[i] > 0 then at_once, accruing, duration = grant(b, lefts[i], leases[i], wanteds[i], horizon) end
    local amount = at_once + accruing
    b.level, b.changed, b.leased = b.level - amount, b.changed - amount, b.leased + amount
    b.ends = b.leased > 0 and latest or 0
    redis.call('HSET', KEYS[4 + 2 * i], node, pack(LEASE, sequence, amount, accruing, wanteds[i], now, duration, latest))
    redis.call('ZADD', KEYS[4], 'GT', int(latest), names[i])
    writes[2 * i - 1], writes[2 * i] = KEYS[3 + 2 * i], packed(b)
    if b.fresh then list(KEYS[3], names[i], b) end
    for _, value in ipairs({ lefts[i] + b.reserve - at_once, at_once, accruing, duration }) do answer[#answer + 1] = value end
end
redis.call('MSET', unpack(writes))
record(KEYS[1], wanteds[1] > 0 and 'lease' or 'return', node .. ':' .. ARGV[2], names, buckets)
return answer
