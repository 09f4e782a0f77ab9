-- Grants a loan: units move from the lender's level, or out of the bucket's own future, into the borrower's.
--
-- KEYS[1] trail   KEYS[2] epoch   KEYS[3] the list of buckets   KEYS[4] accounts   KEYS[5] buckets with open loans
-- KEYS[6] the borrower's bucket   KEYS[7] its open loans   KEYS[8] the lender's bucket, where there is a lender
-- ARGV[1] what bucket keys begin with   ARGV[2] what keys of closed loans begin with   ARGV[3] name of the loan
-- ARGV[4] packed doubles: principal, interest in units, share of refill in thousandths, microseconds until it is due, ratio in
--   thousandths, how many loans at once   ARGV[5] the borrower's packed limit   ARGV[6] the lender's
--
-- Returns {status, now, most, packed loans of the borrower}.
-- status  1 granted   2 granted before   3 it was granted before and has closed (the loan alone is given)   4 no bucket of tokens
--         0 refused, nothing written, for having a defaulted loan; -4 for what all its loans may come to, `most` being what is
--         left of that; -5 for what the lender has above its reserve, `most`; -6 for too many loans, or shares above the whole
--        -3 the cell is not known
local prefix, closed_prefix, id = ARGV[1], ARGV[2], ARGV[3]
local principal, interest, share, duration, ratio, most_loans = unpack_('<dddddd', ARGV[4])
local since = redis.call('GET', KEYS[2])
if not since then return { -3, now, 0, '' } end
local remembered = redis.call('GET', closed_prefix .. id)
if remembered then return { 3, now, 0, cmsgpack.pack({ cmsgpack.unpack(remembered) }) } end
local record = read_loans(redis.call('GET', KEYS[7]))
for _, loan in ipairs(record.loans) do
    if loan.id == id then return { 2, now, 0, cmsgpack.pack(all_fields(record.loans)) } end
end

local name = string.sub(KEYS[6], #prefix + 1)
local b = current(redis.call('GET', KEYS[6]), ARGV[5], tonumber(since))
local lender_name, from = '', nil
if KEYS[8] then
    lender_name = string.sub(KEYS[8], #prefix + 1)
    from = current(redis.call('GET', KEYS[8]), ARGV[6], tonumber(since))
    if not lends(from) then return { 4, now, 0, '' } end
end
if not lends(b) or lender_name == name then return { 4, now, 0, '' } end
local books = open_books(KEYS[1], prefix, KEYS[3], KEYS[4])
local borrower = holder(books, name, b)
local lender = from and holder(books, lender_name, from)
local closed = serve(books, record, borrower)

local shares, debts = share, 0
for _, loan in ipairs(record.loans) do
    if loan.state == DEFAULTED then return { 0, now, 0, '' } end
    shares, debts = shares + loan.share, debts + loan.principal - loan.repaid
end
if shares > 1000 or #record.loans >= most_loans then return { -6, now, 0, '' } end
local most_held = min(floor(b.capacity / 1000) * ratio + floor(b.capacity % 1000 * ratio / 1000), LARGEST)
local most = min(most_held - b.capacity - debts, most_held - b.level - b.leased)
if principal > most then return { -4, now, max(0, most), '' } end
if lender then
    -- What is out on lease was debited before; what has not accrued is not lent.
    local spare = max(0, from.level - from.reserve)
    if principal > spare then return { -5, now, spare, '' } end
end

-- Only now anything is written.
local t = begin(books, 'borrow', id)
if lender then
    post(t, lender, 'liquid', -principal)
    post(t, lender, 'receivable', principal)
end
post(t, borrower, 'liquid', principal)
post(t, borrower, 'debt', -principal)
enter(t)
record.loans[#record.loans + 1] = {
    id = id, lender = lender_name, state = ACTIVE, principal = principal, interest = interest, repaid = 0, paid = 0,
    share = share, rest = 0, granted = now, due = now + duration, had = b.level, sequence = 0,
}
if #record.loans == 1 then record.at, record.fraction, record.d = max(now, b.at), 0, b.d end
commit(books)
write_loans(KEYS[7], KEYS[5], name, closed_prefix, record, closed)
return { 1, now, 0, cmsgpack.pack(all_fields(record.loans)) }
