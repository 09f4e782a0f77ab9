-- Puts back the open loans of a cell that lost its state, before it is made known (see open.lua): once it is known, Redis knows
-- better.
--
-- KEYS[1] epoch   KEYS[2] trail   KEYS[3] accounts   KEYS[4] buckets with open loans   KEYS[5...] open loans, one a borrower
-- ARGV[1] what bucket keys begin with   ARGV[2] what keys of open loans begin with   ARGV[3...] loans, packed: a list of what
--   `fields` gives, in the order of the keys
-- Returns 1 when they were put back, 0 when the cell is known.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[3])
local books = open_books(KEYS[2], ARGV[1], '', KEYS[3])
for i = 5, #KEYS do
    local name = string.sub(KEYS[i], #ARGV[2] + 1)
    local loans, borrower = cmsgpack.unpack(ARGV[i - 2]), holder(books, name)
    for _, values in ipairs(loans) do
        local loan = {}
        for number, field in ipairs(FIELDS) do loan[field] = values[number] end
        local t = begin(books, 'restore', loan.id)
        post(t, borrower, 'debt', loan.repaid - loan.principal)
        if loan.lender ~= '' then post(t, holder(books, loan.lender), 'receivable', loan.principal - loan.repaid) end
        enter(t)
    end
    redis.call('SET', KEYS[i], cmsgpack.pack({ now, 0, 1, loans }))
    redis.call('SADD', KEYS[4], name)
end
commit(books)
return 1
