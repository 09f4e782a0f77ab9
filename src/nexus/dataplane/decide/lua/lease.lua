-- Decides one call, and grants leases on its limits; or, where nothing is charged and nothing wanted, ends leases.
--
-- KEYS[1] trail   KEYS[2] epoch   KEYS[3] the list of buckets   KEYS[4] buckets with leases, by the instant the last one ends
-- KEYS[5], KEYS[6] ...  for each limit: its bucket, its leases
-- ARGV[1] name of the process   ARGV[2] number of this call: each has a greater one   ARGV[3] what bucket keys begin with
-- ARGV[4] life of a lease   ARGV[5] the time that `wanted` is for, both in microseconds
-- ARGV[6], ARGV[7] ...  for each limit: the packed limit; packed doubles: the charge, how much is wanted, the number of the
--   lease that the process has (0: none), what is left of that one (negative: overspent by settlements), what calls hold that
--   the process has under way (windows, calls in flight)
--
-- Returns {status, now, limit, microseconds, then for each limit: left, granted at once, accruing, microseconds to accrue in (of
-- windows: until the window ends), where the window begins (0 for no window)}.
-- status  1 admitted   0 refused by `limit` (microseconds: when to try again): no limit is charged   -1 refused for ever
--         3 this call or a later one was there before: nothing is written
--         4 a limit is of a kind that is not leased, or none of its windows holds now   -3 the cell is not known
--         5 not now: `limit` has not enough left, and would if all leases came back
--
-- What is left comes back only to the lease that is named, so it comes back once. A lease that the process has and does not
-- name is one whose answer it never got: it ends with all that is out. The charge of a window, and that of calls in flight, is
-- part of the lease that is made: whatever becomes of the answer, it is known whose it is.
local node, sequence, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local life, horizon = tonumber(ARGV[4]), tonumber(ARGV[5])
local count = (#KEYS - 4) / 2
local since = redis.call('GET', KEYS[2])
if not since then return { -3, now, 0, 0 } end
local buckets, leases, charges, wanteds, named, rests, kepts, lefts = {}, {}, {}, {}, {}, {}, {}, {}
for i = 1, count do
    -- Read without ending any yet: a call that is late must find and leave everything as it is.
    local own = redis.call('HGET', KEYS[4 + 2 * i], node)
    if own and unpack_('<d', own) >= sequence then return { 3, now, 0, 0 } end
end
local status, which, longest, scarce = 1, 0, -1, 0
for i = 1, count do
    local limit = ARGV[4 + 2 * i]
    charges[i], wanteds[i], named[i], rests[i], kepts[i] = unpack_('<ddddd', ARGV[5 + 2 * i])
    local b = current(redis.call('GET', KEYS[3 + 2 * i]), limit, tonumber(since))
    if not b or b.method == LEAKY then return { 4, now, i, 0 } end
    buckets[i] = b
    if charges[i] > b.capacity - b.reserve then return { -1, now, i, 0 } end
end
for i = 1, count do
    local b = buckets[i]
    leases[i] = leases_of(KEYS[4 + 2 * i])
    end_leases(KEYS[4 + 2 * i], b, leases[i])
    local own, kept = leases[i][node], 0
    if own then
        leases[i][node] = nil
        kept = take_back(b, own, own.sequence == named[i], rests[i], kepts[i])
    end
    if b.method == CONCURRENCY then
        -- Calls are under way whatever became of leases, and whatever the limit is by now.
        kept = kepts[i]
        charge(b, kept)
    end
    kepts[i] = kept
    lefts[i] = available(b) + (b.method == TOKEN and ahead_of(leases[i]) or 0) - b.reserve
    local need = charges[i] - lefts[i]
    if need > 0 and wanteds[i] > 0 then
        local retry = 1000000
        if b.method == TOKEN then retry = time_to(b, need) elseif b.method == WINDOW then retry = max(0, b.ends - now) end
        if b.method == WINDOW and need <= b.leased then
            scarce = i
        elseif retry > longest then
            status, which, longest = 0, i, retry
        end
    end
end
if status == 1 and scarce > 0 then status, which = 5, scarce end
local names, writes = {}, {}
local answer = { status, now, which, status == 0 and longest or 0 }
for i = 1, count do
    local b = buckets[i]
    names[i] = string.sub(KEYS[3 + 2 * i], #prefix + 1)
    local out = kepts[i]
    if status == 1 then
        charge(b, charges[i])
        lefts[i] = lefts[i] - charges[i]
        if b.method ~= TOKEN then out = out + charges[i] end
    end
    local at_once, accruing, duration, at, latest = 0, 0, 0, now, now + life
    if b.method == TOKEN then
        if wanteds[i] > 0 then at_once, accruing, duration = grant(b, lefts[i], leases[i], wanteds[i], horizon) end
        out = at_once + accruing
        b.level, b.changed = b.level - out, b.changed - out
    else
        if b.method == WINDOW then
            if wanteds[i] > 0 then at_once = grant_window(lefts[i], leases[i], wanteds[i], charges[i]) end
            at, duration = b.at, max(0, b.ends - now)
        elseif wanteds[i] > 0 then
            at_once = grant_slots(lefts[i], leases[i], wanteds[i])
        end
        out = out + at_once
        charge(b, at_once)
        if b.method == CONCURRENCY or wanteds[i] == 0 then latest = now + SLOT_LIVES * life end
    end
    b.leased = b.leased + out
    if b.method == TOKEN then b.ends = b.leased > 0 and latest or 0 end
    redis.call('HSET', KEYS[4 + 2 * i], node, pack(LEASE, sequence, out, accruing, wanteds[i], at, duration, latest, b.method))
    redis.call('ZADD', KEYS[4], 'GT', int(latest), names[i])
    writes[2 * i - 1], writes[2 * i] = KEYS[3 + 2 * i], packed(b)
    if b.fresh then list(KEYS[3], names[i], b) end
    local window = b.method == WINDOW and b.at or 0
    for _, value in ipairs({ lefts[i] + b.reserve - at_once, at_once, accruing, duration, window }) do
        answer[#answer + 1] = value
    end
end
redis.call('MSET', unpack(writes))
record(KEYS[1], wanteds[1] > 0 and 'lease' or 'return', node .. ':' .. ARGV[2], names, buckets)
return answer
