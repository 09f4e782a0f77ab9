-- Ends holds that have expired: they stay charged as estimated, and calls in flight are counted no more.
--
-- KEYS[1] trail   KEYS[2] open holds
-- ARGV[1] what bucket keys begin with   ARGV[2] what hold keys begin with   ARGV[3] how many at most
-- Returns {now, how many ended, how many are still open}.
local ended = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[3]))) do
    if finish('reap', id, ARGV[2] .. id, KEYS[2], KEYS[1], ARGV[1], {})[1] == 0 then redis.call('ZREM', KEYS[2], id) end
    ended = ended + 1
end
return { now, ended, redis.call('ZCARD', KEYS[2]) }
