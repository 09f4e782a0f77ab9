-- The clock of every script: Redis's own, in microseconds since 1970.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
