-- Brings a borrower's loans to now (see `serve`), and does one thing to one of them where that is asked.
--
-- KEYS[1] trail   KEYS[2] the list of buckets   KEYS[3] accounts   KEYS[4] buckets with open loans
-- KEYS[5] the borrower's bucket   KEYS[6] its open loans
-- ARGV[1] what bucket keys begin with   ARGV[2] what keys of closed loans begin with
-- ARGV[3] '' to bring them to now only; repay: pay out of what the bucket has above its reserve; cancel: give back what is not
--   used, without interest; write_off: forgive what is owed
-- ARGV[4] the loan   ARGV[5] number of this request for it: each has a greater one   ARGV[6] units to repay at most
--
-- Returns {status, now, units, packed loans, those that closed with it among them}.
-- status  1 done (units: how many were paid, given back or forgiven)   2 this request or a later one was there before
--         3 the loan has closed (it alone is given)   4 there is no such loan
--         0 refused: nothing to pay with, or what was borrowed has been used; nothing is written (units: what there is)
local prefix, closed_prefix, action, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local sequence, wanted = tonumber(ARGV[5]), tonumber(ARGV[6])
local remembered = action ~= '' and redis.call('GET', closed_prefix .. id)
if remembered then return { 3, now, 0, cmsgpack.pack({ cmsgpack.unpack(remembered) }) } end
local packed = redis.call('GET', KEYS[6])
if not packed then
    redis.call('SREM', KEYS[4], string.sub(KEYS[5], #prefix + 1))
    return { action == '' and 1 or 4, now, 0, '' }
end
local record = read_loans(packed)
local books = open_books(KEYS[1], prefix, KEYS[2], KEYS[3])
local borrower = holder(books, string.sub(KEYS[5], #prefix + 1))
local b = borrower.b
local closed = serve(books, record, borrower)

local moved = 0
if action ~= '' then
    local loan, place
    for i, each in ipairs(record.loans) do
        if each.id == id then loan, place = each, i end
    end
    if not loan then
        for _, each in ipairs(closed) do
            -- It has been repaid this moment; whoever brings the loans to now next writes that.
            if each.id == id then return { 3, now, 0, cmsgpack.pack({ fields(each) }) } end
        end
        return { 4, now, 0, '' }
    end
    if loan.sequence >= sequence then return { 2, now, 0, cmsgpack.pack({ fields(loan) }) } end
    local principal = loan.principal - loan.repaid
    local lender = loan.lender ~= '' and holder(books, loan.lender)
    if action == 'repay' then
        local spare = lends(b) and max(0, b.level - b.reserve) or 0
        moved = min(wanted, owed(loan), spare)
        if moved < 1 then return { 0, now, spare, '' } end
        pay(books, borrower, loan, moved)
        if owed(loan) == 0 then loan.state = 'repaid' end
    elseif action == 'cancel' then
        local spare = lends(b) and b.level + loan.repaid - loan.had or -1
        if loan.state ~= ACTIVE or principal == 0 or spare < 0 then return { 0, now, max(0, principal + spare), '' } end
        moved = principal
        local t = begin(books, 'cancel', id)
        post(t, borrower, 'liquid', -principal)
        post(t, borrower, 'debt', principal)
        if lender then
            local paid = credit(t, lender, principal)
            if paid > 0 then post(t, lender, 'receivable', -paid) end
        end
        enter(t)
        loan.repaid, loan.state = loan.principal, 'cancelled'
    else
        moved = owed(loan)
        local t = begin(books, 'write_off', id)
        post(t, borrower, 'debt', principal)
        post(t, borrower, 'interest', -principal)
        if lender then
            post(t, lender, 'receivable', -principal)
            post(t, lender, 'interest', principal)
        end
        enter(t)
        loan.state = 'written_off'
    end
    loan.sequence = sequence
    if loan.state ~= ACTIVE and loan.state ~= DEFAULTED then
        table.remove(record.loans, place)
        closed[#closed + 1] = loan
    end
end
commit(books)
write_loans(KEYS[6], KEYS[4], borrower.name, closed_prefix, record, closed)
local all = all_fields(record.loans)
for _, loan in ipairs(closed) do all[#all + 1] = fields(loan) end
return { 1, now, moved, cmsgpack.pack(all) }
