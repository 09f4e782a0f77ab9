-- Shared arithmetic of buckets. Follows a prelude that sets `now` (microseconds since 1970, an integer).
--
-- A bucket is 14 little-endian doubles, all integers below 2^53 (Lua has no other numbers):
--    1 level     token and leaky bucket: units left, negative when in debt; window: used; concurrency: in flight
--    2 fraction  buckets: d-ths of a unit on top of level; windows: units of leases whose processes told nothing of them any
--                more: used, as far as anybody knows, until they are reconciled
--    3 at        instant level and fraction are of; window: its start
--    4 held      units charged to holds that are open
--    5 leased    units out on lease; of windows and calls in flight they are part of level
--    6 ends      buckets: instant after which no lease is out, or 0; windows: the first instant after it
--    7 shadowed  calls that a shadow limit would have refused
--    8 version, 9 method, 10 capacity, 11 whole, 12 part, 13 d, 14 reserve: the configuration
-- The rate is whole + part / d units a microsecond.
local TOKEN, LEAKY, WINDOW, CONCURRENCY = 1, 2, 3, 4
local STATE = '<dddddddddddddd'
local POSTING = '<ddddddddd'
local LARGEST = 4503599627370496 -- 2^52
local LINGER_US = 60000000
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local pack, unpack_ = struct.pack, struct.unpack

local function int(x) return string.format('%.0f', x) end

-- floor(a * b / c) for 0 <= a <= c < 2^53 and 0 <= b < 2^53, by long multiplication: no product is ever formed.
local function muldiv(a, b, c)
    local bits, quotient, rest = {}, 0, 0
    while b > 0 do
        bits[#bits + 1] = b % 2
        b = floor(b / 2)
    end
    for i = #bits, 1, -1 do
        quotient, rest = 2 * quotient, 2 * rest
        if rest >= c then quotient, rest = quotient + 1, rest - c end
        if bits[i] == 1 then
            if rest >= c - a then quotient, rest = quotient + 1, rest - (c - a) else rest = rest + a end
        end
    end
    return quotient
end

-- A bucket as a table, from its packed state; nil for none.
local function load(state)
    if not state then return nil end
    local level, fraction, at, held, leased, ends, shadowed, version, method, capacity, whole, part, d, reserve =
        unpack_(STATE, state)
    -- One constructor of the final size: a table that grows costs more than all the rest.
    return { level = level, fraction = fraction, at = at, held = held, leased = leased, ends = ends, shadowed = shadowed,
             version = version, method = method, capacity = capacity, whole = whole, part = part, d = d,
             reserve = reserve, refilled = 0, adjusted = 0, changed = 0, opened = 0, shadow = false, fresh = false }
end

local function room(b)
    return b.capacity - b.leased
end

-- Brings a bucket to `now`. Time that runs backwards is time that stands still. Returns the units gained.
local function refill(b)
    local elapsed = now - b.at
    if elapsed <= 0 then return end
    b.at = now
    local deficit = room(b) - b.level
    if deficit <= 0 then
        b.fraction = 0
        return
    end
    -- Never multiplied past the time to full: elapsed * whole stays near deficit.
    if elapsed >= floor(deficit / (b.whole + b.part / b.d)) + 2 then
        b.refilled, b.level, b.fraction = b.refilled + deficit, b.level + deficit, 0
        return
    end
    -- (elapsed mod d) * part with the first factor in two digits of 2^14: d may have 38 bits, d * part 67.
    local turns = floor(elapsed / b.d)
    local rest = elapsed - turns * b.d
    local high = floor(rest / 16384)
    local product = high * b.part
    local carry = floor(product / b.d)
    local parts = (product - carry * b.d) * 16384 + (rest - high * 16384) * b.part + b.fraction
    local last = floor(parts / b.d)
    local gained = elapsed * b.whole + turns * b.part + carry * 16384 + last
    b.fraction = parts - last * b.d
    if gained >= deficit then gained, b.fraction = deficit, 0 end
    b.refilled, b.level = b.refilled + gained, b.level + gained
end

-- Makes a bucket go on under another configuration, keeping its fill fraction (what is used, of windows; what is in
-- flight; debt as it is, and what it borrowed above its capacity). Returns nothing.
local function reconfigure(b, version, method, capacity, whole, part, d, reserve)
    local before = b.level
    if method <= LEAKY and b.method <= LEAKY then
        if b.level > 0 then
            local above = max(0, b.level - b.capacity)
            b.level = muldiv(min(b.level, b.capacity), capacity, b.capacity)
            b.level = max(0, min(b.level, capacity - b.leased)) + above
        end
        b.fraction = 0
    elseif method ~= b.method then
        -- Another kind of limit under the same name begins anew, but never with more than it may have.
        b.level = (method <= LEAKY) and capacity or 0
        b.fraction, b.at, b.held, b.leased, b.ends = 0, (method == WINDOW) and 0 or now, 0, 0, 0
    end
    b.adjusted = b.adjusted + (b.level - before)
    b.version, b.method, b.capacity, b.whole, b.part, b.d, b.reserve = version, method, capacity, whole, part, d, reserve
end

-- Microseconds until a bucket has gained `need` units (> 0), rounded up.
local function time_to(b, need)
    local n = b.whole * b.d + b.part
    if need * b.d < 2 * LARGEST then
        return max(1, ceil((need * b.d - b.fraction) / n))
    end
    return ceil(need / (b.whole + b.part / b.d)) + 1
end

-- From when a bucket, as it stands, may be forgotten: a minute after it is as new. Nil while something of it is out.
local function forgettable(b)
    if b.method == WINDOW then return b.ends + LINGER_US end
    if b.leased > 0 or b.held > 0 then return nil end
    if b.method == CONCURRENCY then return b.level == 0 and 0 or nil end
    return b.at + LINGER_US + (b.level < b.capacity and time_to(b, b.capacity - b.level) or 0)
end

-- Notes a bucket in the list of those there are, to be looked at again when it may be forgotten (see reap).
local function list(index, name, b)
    redis.call('ZADD', index, int(max(forgettable(b) or 0, now + LINGER_US)), name)
end

-- What is written of a bucket. No key expires: an expiry on each write costs as much as the write, and the reaper, which
-- knows what is out, forgets what is as new.
local function packed(b)
    return pack(STATE, b.level, b.fraction, b.at, b.held, b.leased, b.ends, b.shadowed, b.version, b.method, b.capacity,
        b.whole, b.part, b.d, b.reserve)
end

-- Writes a bucket; one that was not there is listed.
local function save(prefix, name, b, index)
    redis.call('SET', prefix .. name, packed(b))
    if b.fresh then list(index, name, b) end
end

-- What one transaction did to one bucket: opened with, refilled, adjusted, changed, then the state after.
local function posting(b)
    return pack(POSTING, b.opened, b.refilled, b.adjusted, b.changed, b.level, b.fraction, b.at, b.held, b.leased)
end

-- What a limit's packed argument says: 13 little-endian doubles.
--   version, method, kind (1 a shadow, 2 a budget, 3 a share), capacity, whole, part, d, reserve, dimension, scale (of what it is in, which an
--   exchange rate may make a fraction), then three boundaries of windows
local LIMIT = '<ddddddddddddd'

-- Whether a cell lost its state a moment ago (see open for `since`) and processes are still telling which calls are under way: no
-- other begins before.
local REPORT_US = 2000000
local function is_told(method, since)
    local opened = since - 1000000
    return method == CONCURRENCY and since > 0 and now >= opened and now < opened + REPORT_US
end

-- Brings the bucket of a limit to now, or opens it: full, or, in a cell rebuilt at `since`, as if empty at that instant.
-- Returns it, and 1 where the limit is a shadow; nil when none of the limit's windows holds now, and with it `UNOPENED` when it is
-- a budget's that is not there: that begins with what was spent already, and `opening` says that it is being opened (see seed); or
-- that of a share, which begins by being granted (see grant).
local UNOPENED = -4
local function current(state, limit, since, opening)
    local version, method, shadow, capacity, whole, part, d, reserve, _, _, w0, w1, w2 = unpack_(LIMIT, limit)
    local starts, ends = 0, 0
    if method == WINDOW then
        if now < w0 or now >= w2 then return nil end
        if now < w1 then starts, ends = w0, w1 else starts, ends = w1, w2 end
    end
    local b = load(state)
    if not b and shadow >= 2 and not opening then return nil, UNOPENED end
    if not b then
        b = { level = 0, fraction = 0, at = now, held = 0, leased = 0, ends = ends, shadowed = 0, version = version,
              method = method, capacity = capacity, whole = whole, part = part, d = d, reserve = reserve,
              refilled = 0, adjusted = 0, changed = 0, opened = 1, shadow = false, fresh = true }
        if method == WINDOW then
            b.at = starts
        elseif method <= LEAKY then
            if since > 0 then
                -- A second ahead at most (see open): a clock that stepped back since then would stop it for longer.
                b.at = min(since, now + 1000000)
                refill(b)
            else
                b.level, b.refilled = capacity, capacity
            end
        end
        b.waits = is_told(method, since)
        return b, shadow
    end
    if b.method <= LEAKY then refill(b) end
    if is_told(b.method, since) then b.waits = true end
    if version > b.version then
        reconfigure(b, version, method, capacity, whole, part, d, reserve)
        if method == WINDOW and starts < b.at then
            -- Leases are of the window that they were made in: these come back no more.
            b.at, b.ends, b.fraction, b.leased = starts, ends, b.fraction + b.leased, 0
        end
    end
    if b.method == WINDOW and starts > b.at then
        -- The next window. One that lies before the state's is a clock stepping back: the state's goes on.
        b.level, b.fraction, b.held, b.leased, b.at, b.ends = 0, 0, 0, 0, starts, ends
        b.opened, b.refilled, b.adjusted = 1, 0, 0
    end
    return b, shadow
end

-- Units a bucket can give now.
local function available(b)
    if b.method <= LEAKY then return b.level end
    if b.waits then return 0 end
    return b.capacity - b.level
end

-- Takes units from a bucket; negative ones are given back, never above its capacity nor below an empty window.
local function charge(b, units)
    local before = b.level
    if b.method <= LEAKY then
        b.level = max(min(b.level - units, max(room(b), b.level)), -LARGEST)
        if b.level >= room(b) then b.fraction = 0 end
    else
        b.level = min(max(b.level + units, 0), LARGEST)
    end
    b.changed = b.changed + (b.level - before)
end

-- Appends what a transaction did to the trail: `names` and `buckets` are lists of equal length.
local function record(trail, kind, id, names, buckets)
    local entry = { 'k', kind, 't', int(now), 'i', id }
    for i = 1, #names do
        entry[#entry + 1] = names[i]
        entry[#entry + 1] = posting(buckets[i])
    end
    redis.call('XADD', trail, '*', unpack(entry))
end
