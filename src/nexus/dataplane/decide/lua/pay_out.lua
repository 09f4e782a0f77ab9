-- Pays what has been repaid and waits, into lenders that have room for it by now.
--
-- KEYS[1] trail   KEYS[2] the list of buckets   KEYS[3] accounts   ARGV[1] what bucket keys begin with
-- Returns {now, units paid}.
local books = open_books(KEYS[1], ARGV[1], KEYS[2], KEYS[3])
local all, total = redis.call('HGETALL', KEYS[3]), 0
for i = 1, #all, 2 do
    local _, _, _, waiting = unpack_(ACCOUNTS, all[i + 1])
    if waiting > 0 then
        local lender = holder(books, all[i])
        local t = begin(books, 'repay', 'waiting')
        lender.waiting = 0
        local paid = credit(t, lender, waiting)
        if paid > 0 then
            post(t, lender, 'receivable', -paid)
            enter(t)
            total = total + paid
        end
    end
end
if total > 0 then commit(books) end
return { now, total }
