-- Decides the usual call: token buckets that are there, no hold, no shadow. Says 4, having written nothing, where anything
-- else is met, and is asked again as `decide`. What it does is what `decide` does, to the bit; it is written out in
-- one loop because half of a decision's time was function calls, tables that grow and arguments.
--
-- KEYS[1...] buckets, one a limit, then the trail where it is to be written
-- ARGV[1] packed doubles: how many buckets, 1 where reserves may be used, then for each limit: its version, the charge in its units
-- ARGV[2] the buckets' names, a line each: what the trail says of them
-- Returns, where it is admitted, packed doubles: now, then what each bucket has left (zeros may follow); where it is refused
-- {now, which limit, microseconds until to try again, then what each bucket has}; 4 where it is not the usual call.
local K, asked, unpack_, pack = KEYS, ARGV[1], struct.unpack, struct.pack
local values = redis.call('MGET', unpack(K))
local count, privileged = unpack_('<dd', asked)
-- Made at their usual size: a table that grows costs more than what is put into it.
local lefts, writes = { 0, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0, 0, 0 }
local postings = K[count + 1] and { 0, 0, 0, 0 }
local which, longest = 0, -1
for i = 1, count do
    local state = values[i]
    if not state then return 4 end
    local version, units = unpack_('<dd', asked, 16 * i + 1)
    local level, fraction, at, held, leased, ends, shadowed, known, method, capacity, whole, part, d, reserve =
        unpack_('<dddddddddddddd', state)
    if version > known or method ~= 1 then return 4 end
    local refilled = 0
    if now > at then
        local parts = (now - at) * (whole * d + part) + fraction
        -- Not exact beyond 2^53: `refill` can do it.
        if parts >= 9007199254740992 then return 4 end
        at, fraction = now, parts % d
        local deficit = capacity - leased - level
        refilled = (parts - fraction) / d
        if refilled >= deficit then
            fraction = 0
            refilled = deficit > 0 and deficit or 0
        end
        level = level + refilled
    end
    local keep = privileged == 1 and 0 or reserve
    local need = units + keep - level
    if need > 0 then
        if leased > 0 or units > capacity - keep or need * d >= 9007199254740992 then return 4 end
        local retry = math.max(1, math.ceil((need * d - fraction) / (whole * d + part)))
        if retry > longest then which, longest = i, retry end
        lefts[i] = level
    else
        if postings then
            postings[i] = pack('<ddddddddd', 0, refilled, 0, -units, level - units, fraction, at, held, leased)
        end
        level = level - units
        lefts[i] = level
        writes[2 * i - 1] = K[i]
        writes[2 * i] = pack('<dddddddddddddd', level, fraction, at, held, leased, ends, shadowed, known, method, capacity,
            whole, part, d, reserve)
    end
end
if which > 0 then return { now, which, longest, unpack(lefts) } end
redis.call('MSET', unpack(writes, 1, 2 * count))
-- A charge is nearly all that trails are made of: one field for the names, one for the numbers.
if postings then redis.call('XADD', K[count + 1], '*', 'n', ARGV[2], 'p', pack('<d', now) .. table.concat(postings, '', 1, count)) end
if count <= 4 then return pack('<ddddd', now, unpack(lefts)) end
return pack('<d' .. string.rep('d', count), now, unpack(lefts))
