-- Counts the processes that decide, and gives each its share of every limit, for when Redis is away. All shares together are at most
-- the whole: one that comes gets what the others have given up, and one that gives no sign of life keeps its own for a while.
--
-- KEYS[1] the processes: name -> two doubles, the instant of its last sign and its share (hash)
-- ARGV[1] name of the process   ARGV[2] microseconds for which a silent one is still counted   ARGV[3] the share it has by now
-- Returns {how many there are, its share}, in parts of which the whole has as many as can be divided by each number up to 32.
local WHOLE = 144403552893600
local count, given = 1, 0
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
    if fields[i] ~= ARGV[1] then
        local at, share = struct.unpack('<dd', fields[i + 1])
        if now - at > tonumber(ARGV[2]) then
            redis.call('HDEL', KEYS[1], fields[i])
        else
            count, given = count + 1, given + share
        end
    end
end
local share = math.max(0, math.min(math.floor(WHOLE / count), WHOLE - given))
-- Whether it gets this answer is not known: until it says so it may go by what it had.
redis.call('HSET', KEYS[1], ARGV[1], struct.pack('<dd', now, math.max(share, tonumber(ARGV[3]))))
return { count, share }
