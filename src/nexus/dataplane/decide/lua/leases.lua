-- Leases of a bucket: units prepaid to processes. Follows bucket.lua.
--
-- A bucket's leases stand in a hash: process -> eight little-endian doubles.
--    sequence   of the script call that made it: the fence
--    amount     units out, all of them charged to the bucket already; of windows and calls in flight with what the calls hold
--               that the process has under way
--    accruing   how many of them may be spent only as time passes, evenly over `duration`; the others at once
--    wanted     what the process asked for
--    at, duration, ends   instant it was made (of windows: where the window begins), microseconds until all has accrued,
--               instant after which nothing of it is spent
--    method     of the bucket when it was made
-- One with nothing out is kept as the fence against calls that come late.
local LEASE = '<dddddddd'
local SPREAD_US = 200000
-- Slots of calls in flight, and what calls hold of windows when nothing else is wanted, are leased for so many times as long as
-- units: they are taken for lost only when the calls of their process have ended with it, and not because it stood still.
local SLOT_LIVES = 10
-- Of calls in flight leases are granted while there is left so many times what all processes want for the horizon: near the limit
-- each call is decided alone, and none is refused for what another process does not spend.
local FAR = 4
-- Of a window leases get smaller as less is left: one that pays for fewer calls is not worth having, the last are decided alone.
local FEWEST = 4

-- floor(a * b / c) for a <= c.
local function part_of(a, b, c)
    local product = a * b
    if product < 2 * LARGEST then return (product - product % c) / c end
    return muldiv(a, b, c)
end

-- The leases of a bucket by process, those that have ended included.
local function leases_of(key)
    local found, fields = {}, redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
        local data = fields[i + 1]
        -- Releases that leased token buckets only did not write the method.
        if #data == 56 then data = data .. pack('<d', TOKEN) end
        local sequence, amount, accruing, wanted, at, duration, ends, method = unpack_(LEASE, data)
        found[fields[i]] = { sequence = sequence, amount = amount, accruing = accruing, wanted = wanted, at = at,
                             duration = duration, ends = ends, method = method }
    end
    return found
end

-- Whether what a lease has out is part of what the bucket has out: it is of the same kind, and of this window.
local function is_of(b, lease)
    return lease.method == b.method and (b.method ~= WINDOW or lease.at == b.at)
end

-- Takes what a lease had out for lost. It is not given back, for it may have been spent: a bucket may refill to it again, a window
-- keeps account of it. Calls in flight have ended with their process.
local function lose(b, lease)
    if not is_of(b, lease) then return end
    b.leased = max(0, b.leased - lease.amount)
    if b.method == WINDOW then b.fraction = b.fraction + lease.amount end
    if b.method == CONCURRENCY then charge(b, -lease.amount) end
end

-- Ends a lease because its process says what has become of it: `rest` is unspent (negative: settlements took more than there
-- was), and comes back where it is this lease that is meant; `kept` is held by calls that are under way. Returns what stays out.
local function take_back(b, lease, is_meant, rest, kept)
    if b.method == WINDOW and not is_meant then
        lose(b, lease)
        return 0
    end
    if not is_of(b, lease) then return 0 end
    b.leased = max(0, b.leased - lease.amount)
    if b.method == CONCURRENCY then
        charge(b, -lease.amount)
        return 0
    end
    if not is_meant then return 0 end
    rest = min(rest, lease.amount)
    charge(b, -rest)
    return b.method == WINDOW and min(kept, lease.amount - rest) or 0
end

-- Ends leases whose time is over. Tells whether any had something out.
local function end_leases(key, b, leases)
    local is_changed = false
    for node, lease in pairs(leases) do
        if lease.ends < now then
            lose(b, lease)
            is_changed = is_changed or lease.amount > 0
            redis.call('HDEL', key, node)
            leases[node] = nil
        end
    end
    return is_changed
end

-- How long what a bucket gains is promised ahead: so long that it can be kept back, a multiple of 16; 0 for too short.
local function spread(b)
    local rate, duration = b.whole * b.d + b.part, 0
    if b.capacity * b.d < 2 * LARGEST then
        duration = min(SPREAD_US, floor(b.capacity * b.d / (2 * rate)))
    else
        duration = min(SPREAD_US, floor(b.capacity / (b.whole + b.part / b.d) / 2))
    end
    duration = duration - duration % 16
    return duration >= 10000 and duration or 0
end

-- Units that 15/16 of a bucket's rate gives in a time: the sixteenth is for those who have no lease.
local function promised(b, duration)
    local elapsed = duration / 16 * 15
    local product = elapsed * b.part
    local parts
    if product < 2 * LARGEST then parts = (product - product % b.d) / b.d else parts = muldiv(elapsed, b.part, b.d) end
    return elapsed * b.whole + parts
end

-- Units that processes hold but may not spend yet. A bucket's level may be below zero by so much, and by no more, at every
-- instant: what it has to give is its level and these.
local function ahead_of(leases)
    local ahead = 0
    for _, lease in pairs(leases) do
        local rest = lease.at + lease.duration - now
        if lease.accruing > 0 and rest > 0 then
            ahead = ahead + part_of(min(rest, lease.duration), lease.accruing, lease.duration)
        end
    end
    return ahead
end

-- Of half of what is left, as much as a process wants of what all want; no more than it wants.
local function share_of(left, wishes, wanted)
    return min(wanted, part_of(wanted, floor(max(0, left) / 2), wishes))
end

-- How much of a bucket that has `left` to give a process is granted that wants so much in `horizon`: at once and accruing.
--
-- At once: of half of what is left, as much as it wants of what all want. Accruing: a share of what the bucket will gain, so that
-- all shares together are at most its rate, and more than an even one is only had of what others leave. Together at most what
-- the bucket may hold and is not out, so that refilling is never held up.
local function grant(b, left, leases, wanted, horizon)
    local active, wishes, shares, duration = 1, wanted, 0, spread(b)
    for _, lease in pairs(leases) do
        if lease.wanted > 0 then active, wishes = active + 1, wishes + lease.wanted end
        if lease.accruing > 0 and lease.at + lease.duration > now then
            if lease.duration == duration then
                shares = shares + lease.accruing
            else
                shares = shares + lease.accruing * ceil(duration / lease.duration)
            end
        end
    end
    local free = max(0, room(b))
    local at_once = min(share_of(left, wishes, wanted), free)
    if at_once >= wanted or duration == 0 or left < 0 then return at_once, 0, 0 end
    local all = promised(b, duration)
    local fair, due = floor(all / active), 0
    for _, lease in pairs(leases) do
        if lease.wanted > 0 then
            local lacking = part_of(duration, lease.wanted, horizon) - (lease.amount - lease.accruing)
            local has = lease.at + lease.duration > now and lease.accruing or 0
            due = due + max(0, min(fair, lacking) - has)
        end
    end
    local accruing = min(part_of(duration, wanted, horizon) - at_once, all - shares, max(fair, all - shares - due),
        free - at_once)
    if accruing < 1 then return at_once, 0, 0 end
    return at_once, accruing, duration
end

-- What all processes want that have leases, this one included.
local function wishes_of(leases, wanted)
    for _, lease in pairs(leases) do wanted = wanted + lease.wanted end
    return wanted
end

-- The same of a window, for a process whose calls are charged so much.
local function grant_window(left, leases, wanted, charged)
    local share = share_of(left, wishes_of(leases, wanted), wanted)
    return share >= FEWEST * charged and share or 0
end

-- The same of calls in flight: all that is wanted, or nothing where the limit is near.
local function grant_slots(left, leases, wanted)
    return left >= FAR * wishes_of(leases, wanted) and wanted or 0
end
