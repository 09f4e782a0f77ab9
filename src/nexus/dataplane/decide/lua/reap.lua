-- Ends holds that have expired: they stay charged as estimated, and calls in flight are counted no more. Ends leases of
-- processes that are gone. Forgets buckets that are as new.
--
-- KEYS[1] trail   KEYS[2] open holds   KEYS[3] the list of buckets (sorted set)
-- KEYS[4] buckets with leases, by the instant the last one ends (sorted set)
-- ARGV[1] what bucket keys begin with   ARGV[2] what hold keys begin with   ARGV[3] how many at most of each
-- ARGV[4] what keys of leases begin with
-- Returns {now, how many ended, how many are still open, how many buckets were looked at, how many buckets got
-- room back from leases that ended}.
local ended = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[3]))) do
    if finish('reap', id, ARGV[2] .. id, KEYS[2], KEYS[1], KEYS[3], ARGV[1], {})[1] == 0 then redis.call('ZREM', KEYS[2], id) end
    ended = ended + 1
end
local freed = 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(' .. int(now), 'LIMIT', 0, tonumber(ARGV[3]))) do
    local b = load(redis.call('GET', ARGV[1] .. name))
    if b then
        if b.method <= LEAKY then refill(b) end
        if end_leases(ARGV[4] .. name, b, leases_of(ARGV[4] .. name)) then
            if b.method == TOKEN then b.ends = 0 end
            freed = freed + 1
            save(ARGV[1], name, b, KEYS[3])
            record(KEYS[1], 'reap', '', { name }, { b })
        end
    end
    -- The last of them has ended, so all have.
    redis.call('DEL', ARGV[4] .. name)
    redis.call('ZREM', KEYS[4], name)
end
-- Loans stand beside their buckets, and are repaid by them.
local loans_prefix = string.sub(ARGV[1], 1, -3) .. 'o:'
local listed = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[3]))
for _, name in ipairs(listed) do
    local b = load(redis.call('GET', ARGV[1] .. name))
    local at = b and forgettable(b)
    if b and (not (at and at <= now) or redis.call('EXISTS', loans_prefix .. name) == 1) then
        list(KEYS[3], name, b)
    else
        redis.call('DEL', ARGV[1] .. name)
        redis.call('ZREM', KEYS[3], name)
    end
end
return { now, ended, redis.call('ZCARD', KEYS[2]), #listed, freed }
