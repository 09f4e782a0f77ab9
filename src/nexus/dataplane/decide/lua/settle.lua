-- Settles or releases one hold, once.
--
-- KEYS[1] trail   KEYS[2] open holds   KEYS[3] the list of buckets (sorted set)   KEYS[4] hold; its buckets share the hash tag and are derived from the hold
-- ARGV[1] what bucket keys begin with   ARGV[2] name of the hold   ARGV[3] 'settle' or 'release'
-- ARGV[4], ARGV[5] ...  pairs: dimension, what was really taken in the dimension's unit
-- Returns as `finish` does.
local actual = {}
for i = 4, #ARGV - 1, 2 do actual[tonumber(ARGV[i])] = tonumber(ARGV[i + 1]) end
return finish(ARGV[3], ARGV[2], KEYS[4], KEYS[2], KEYS[1], KEYS[3], ARGV[1], actual)
