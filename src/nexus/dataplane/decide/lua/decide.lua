-- Decides one call by all limits it meets: all are charged, or none.
--
-- KEYS[1] trail   KEYS[2] open holds (sorted set)   KEYS[3] the list of buckets (sorted set)   KEYS[4] the cell's epoch
-- KEYS[5] hold   KEYS[6...] buckets, one a limit
-- ARGV[1] name of the hold, '' for none   ARGV[2] its life in microseconds, 0 for none
-- ARGV[3] 1: may use reserves   ARGV[4] 1: write the trail   ARGV[5] what bucket keys begin with
-- ARGV[6], ARGV[7] ...  for each limit: the packed limit (see LIMIT), the charge in its units
--
-- Returns {status, now, limit, microseconds, then for each limit: left, microseconds until it is full or its window ends,
-- 1 where a shadow limit would have refused}, all integers.
-- status  1 admitted (microseconds: how long to wait before the call, 0 but for leaky buckets)
--         0 refused by `limit` (microseconds: when to try again), nothing written   -1 refused for ever: larger than the limit
--         2 admitted before under this hold   3 this hold has ended, or is another call's
--        -2 no window of `limit` holds now: ask again with others   -3 the cell is not known
--        -4 `limit` is a budget whose bucket is not opened yet: see seed; or a share that is not granted: see grant
--         5 not now: `limit` has not enough left, and would if all leases came back
local id, life = ARGV[1], tonumber(ARGV[2])
local privileged, trailed = ARGV[3] == '1', ARGV[4] == '1'
local count = #KEYS - 5
local values = redis.call('MGET', unpack(KEYS, 4))
if not values[1] then return { -3, now, 0, 0 } end
if id ~= '' and values[2] then
    local hold = cmsgpack.unpack(values[2])
    if hold.ended then return { 3, now, 0, 0 } end
    -- The same call again asks for the same: a name is no ticket for another call.
    for _, leg in ipairs(hold.legs) do
        for i = 1, count do
            if KEYS[5 + i] == ARGV[5] .. leg[1] and leg[3] ~= tonumber(ARGV[5 + 2 * i]) then return { 3, now, i, 0 } end
        end
    end
    return { 2, now, 0, 0 }
end

local since, first = tonumber(values[1]), #ARGV[5] + 1
-- Leases stand beside their buckets: nx:{cell}:l: beside nx:{cell}:b:.
local leases_prefix = string.sub(ARGV[5], 1, -3) .. 'l:'
local buckets, charges, answer = {}, {}, { 1, now, 0, 0 }
local status, which, longest, wait, scarce = 1, 0, -1, 0, 0
for i = 1, count do
    local limit, units = ARGV[4 + 2 * i], tonumber(ARGV[5 + 2 * i])
    local b, shadow = current(values[2 + i], limit, since)
    if not b then return { shadow or -2, now, i, 0 } end
    buckets[i], charges[i] = b, units
    local keep = privileged and 0 or b.reserve
    local left, until_ = available(b), 0
    if b.method == TOKEN and b.leased > 0 and left - keep < units then
        left = left + ahead_of(leases_of(leases_prefix .. string.sub(KEYS[5 + i], first)))
    end
    if b.method == WINDOW then
        until_ = max(0, b.ends - now)
    elseif b.method <= LEAKY and left < b.capacity then
        until_ = time_to(b, b.capacity - left)
    end
    local refuses = left - keep < units
    if refuses and shadow == 1 then
        b.shadowed, b.shadow = b.shadowed + 1, true
    elseif refuses then
        local retry = 1000000
        if b.method == WINDOW then
            retry = until_
        elseif b.method <= LEAKY then
            retry = time_to(b, max(1, units + keep - left))
            if units + keep > room(b) then retry = max(retry, b.ends - now + 1) end
        end
        if units > b.capacity - keep then
            if status ~= -1 then status, which, longest = -1, i, 2 * LARGEST end
        elseif b.method == WINDOW and units + keep <= left + b.leased then
            scarce = i
        elseif retry > longest then
            status, which, longest = math.min(status, 0), i, retry
        end
    elseif b.method == LEAKY and until_ > wait then
        wait = until_
    end
    answer[#answer + 1] = left
    answer[#answer + 1] = until_
    answer[#answer + 1] = b.shadow and 1 or 0
end

if status == 1 and scarce > 0 then status, which = 5, scarce end
if status ~= 1 then
    answer[1], answer[3], answer[4] = status, which, status == 0 and longest or 0
    return answer
end

-- Only now anything is written.
local names, legs, writes = {}, {}, {}
for i = 1, count do
    local b = buckets[i]
    names[i] = string.sub(KEYS[5 + i], first)
    if not b.shadow then
        charge(b, charges[i])
        answer[2 + 3 * i] = available(b)
        if life > 0 then
            if b.method ~= CONCURRENCY then b.held = b.held + charges[i] end
            legs[#legs + 1] = { names[i], ARGV[4 + 2 * i], charges[i], b.at }
        end
    end
    writes[2 * i - 1], writes[2 * i] = KEYS[5 + i], packed(b)
    if b.fresh then list(KEYS[3], names[i], b) end
end
redis.call('MSET', unpack(writes))
if life > 0 then
    redis.call('SET', KEYS[5], cmsgpack.pack({ legs = legs, since = now, trailed = trailed }))
    redis.call('ZADD', KEYS[2], int(now + life), id)
end
if trailed then record(KEYS[1], 'charge', id, names, buckets) end
answer[4] = wait
return answer
