-- Ends holds that have expired: they stay charged as estimated, and calls in flight are counted no more. Takes buckets
-- that are gone off the list of those there are.
--
-- KEYS[1] trail   KEYS[2] open holds   KEYS[3] the list of buckets (sorted set)
-- ARGV[1] what bucket keys begin with   ARGV[2] what hold keys begin with   ARGV[3] how many at most
-- Returns {now, how many ended, how many are still open}.
local ended = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[3]))) do
    if finish('reap', id, ARGV[2] .. id, KEYS[2], KEYS[1], KEYS[3], ARGV[1], {})[1] == 0 then redis.call('ZREM', KEYS[2], id) end
    ended = ended + 1
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[3]))) do
    local left = redis.call('PTTL', ARGV[1] .. name)
    if left == -2 then redis.call('ZREM', KEYS[3], name) else list(KEYS[3], name, left * 1000) end
end
return { now, ended, redis.call('ZCARD', KEYS[2]) }
