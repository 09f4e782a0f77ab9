-- Ends holds. Follows bucket.lua.
local REMEMBERED_MS = '3600000'

-- Ends one hold. `kind` is settle, release or reap; `actual` says by dimension what the call really took, in its unit;
-- what it does not say stays as charged. Returns {status, now, then for each leg: dimension, charged, actual, left}:
-- 1 ended now, 2 ended before (what was answered then), 0 no such hold.
local function finish(kind, id, key, holds, trail, buckets_index, prefix, actual)
    local packed = redis.call('GET', key)
    if not packed then return { 0, now } end
    local hold = cmsgpack.unpack(packed)
    local late = hold.ended == 'reap' and kind == 'settle'
    if hold.ended and not late then
        local said = hold.said
        said[1] = 2
        return said
    end
    local names, buckets, said = {}, {}, { 1, now }
    for _, leg in ipairs(hold.legs) do
        local name, limit, charged, window = leg[1], leg[2], leg[3], leg[4]
        local _, method, _, _, _, _, _, _, dimension, scale, _, w1 = unpack_(LIMIT, limit)
        local state = redis.call('GET', prefix .. name)
        local b = load(state)
        if b and b.method <= LEAKY then
            refill(b)
        elseif not b and method <= LEAKY then
            b = current(nil, limit, 0)
        end
        local taken = charged
        if kind == 'release' then
            taken = 0
        elseif method == CONCURRENCY then
            taken = 0
        elseif actual[dimension] then
            taken = min(ceil(actual[dimension] / scale), LARGEST)
        end
        -- A window that is over is not written to: the next begins clean.
        if b and b.method == method and (method ~= WINDOW or b.at == window) then
            if not late and method ~= CONCURRENCY then b.held = max(0, b.held - charged) end
            if not (late and method == CONCURRENCY) then charge(b, taken - charged) end
            save(prefix, name, b, buckets_index)
            names[#names + 1], buckets[#buckets + 1] = name, b
        end
        said[#said + 1] = dimension
        said[#said + 1] = charged
        said[#said + 1] = taken
        said[#said + 1] = b and available(b) or 0
    end
    hold.ended, hold.said = kind, said
    if kind ~= 'reap' then hold.legs = {} end
    redis.call('SET', key, cmsgpack.pack(hold), 'PX', REMEMBERED_MS)
    redis.call('ZREM', holds, id)
    if hold.trailed and #names > 0 then record(trail, kind, id, names, buckets) end
    return said
end
