-- Counts the processes that decide: each gives a sign of life, and one that gives none for a while is counted no more.
--
-- KEYS[1] processes by the instant of their last sign (sorted set)
-- ARGV[1] name of the process   ARGV[2] microseconds for which a silent one is still counted
-- Returns how many there are.
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
return redis.call('ZCARD', KEYS[1])
