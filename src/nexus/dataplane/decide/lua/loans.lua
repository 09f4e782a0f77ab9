-- Loans of a bucket, and the books of all buckets that lend or borrow. Follows bucket.lua.
--
-- A borrower's open loans stand in one value, packed: the instant until which refilling was shared, the fraction of a unit
-- beyond it and in how many parts it is counted, then the loans, oldest first (see `fields` for what each holds). A loan
-- whose lender is '' is from the bucket's own future. Closed ones are remembered for a day, by their ids.
--
-- Accounts of a bucket: liquid is its level. Beside it, in a hash of bucket to four doubles, kept while any of the first,
-- second or fourth is not 0:
--    debt        minus the principal that it owes
--    receivable  what is still to come to it: principal that others owe it, and what waits
--    interest    what it paid, less what it was paid; losses by loans that were written off, less gains
--    waiting     the part of receivable that has been paid already and finds no room in the bucket
-- Each movement is two postings that sum to zero.
local ACCOUNTS = '<dddd'
local BALANCE = '<ddd'
local POSTED = { 'debt', 'receivable', 'interest' }
local ACTIVE, DEFAULTED = 'active', 'defaulted'
local CLOSED_MS = '86400000'
local FIELDS = { 'id', 'lender', 'state', 'principal', 'interest', 'repaid', 'paid', 'share', 'rest', 'granted', 'due',
                 'had', 'sequence' }

-- floor((units * permille + rest) / 1000) and what that leaves, for permille <= 1000: below units, so exact.
local function portion(units, permille, rest)
    local low = permille * (units % 1000) + rest
    return permille * floor(units / 1000) + floor(low / 1000), low % 1000
end

local function lends(b) return b and b.method <= LEAKY end

-- What one script does to the books: everything is done here first, and written by `commit` or not at all.
local function open_books(trail, prefix, index, accounts)
    return { trail = trail, prefix = prefix, index = index, accounts = accounts, holders = {}, entries = {} }
end

-- A bucket with its accounts; `b` where the caller has it, else as Redis has it, brought to now; without `b`: not there, so full.
local function holder(books, name, b)
    local h = books.holders[name]
    if h then return h end
    if not b then
        b = load(redis.call('GET', books.prefix .. name))
        if lends(b) then refill(b) end
    end
    h = { name = name, b = b, debt = 0, receivable = 0, interest = 0, waiting = 0, is_new = true }
    local packed = redis.call('HGET', books.accounts, name)
    if packed then
        h.is_new = false
        h.debt, h.receivable, h.interest, h.waiting = unpack_(ACCOUNTS, packed)
    end
    books.holders[name] = h
    return h
end

-- Begins a transaction; `post` moves units into an account of it, `enter` ends it.
local function begin(books, kind, id)
    return { books = books, kind = kind, id = id, touched = {}, changes = {} }
end

local function post(transaction, h, account, units)
    if account == 'liquid' then
        local b = h.b
        b.level, b.changed = b.level + units, b.changed + units
        if b.level >= room(b) then b.fraction = 0 end
    else
        h[account] = h[account] + units
    end
    local changes = transaction.changes[h.name]
    if not changes then
        changes = {}
        transaction.changes[h.name] = changes
        transaction.touched[#transaction.touched + 1] = h
    end
    changes[account] = (changes[account] or 0) + units
end

local function enter(transaction)
    local entry = { 'k', transaction.kind, 't', int(now), 'i', transaction.id }
    for _, h in ipairs(transaction.touched) do
        local changes, b = transaction.changes[h.name], h.b
        if changes.liquid then
            entry[#entry + 1] = h.name
            entry[#entry + 1] = posting(b)
            b.opened, b.refilled, b.adjusted, b.changed, b.is_posted = 0, 0, 0, 0, true
        end
        for _, account in ipairs(POSTED) do
            if changes[account] or h.is_new then
                entry[#entry + 1] = '=' .. account .. '=' .. h.name
                entry[#entry + 1] = pack(BALANCE, h.is_new and 1 or 0, changes[account] or 0, h[account])
            end
        end
        h.is_new = false
    end
    transaction.books.entries[#transaction.books.entries + 1] = entry
end

local function commit(books)
    for _, entry in ipairs(books.entries) do redis.call('XADD', books.trail, '*', unpack(entry)) end
    for name, h in pairs(books.holders) do
        -- A bucket that nothing was posted to is as it was: its refill is computed again.
        if h.b and h.b.is_posted then save(books.prefix, name, h.b, books.index) end
        if h.debt ~= 0 or h.receivable ~= 0 or h.waiting ~= 0 then
            redis.call('HSET', books.accounts, name, pack(ACCOUNTS, h.debt, h.receivable, h.interest, h.waiting))
        else
            redis.call('HDEL', books.accounts, name)
        end
    end
end

-- Pays units into a bucket as far as it has room; the rest waits. Returns how many were paid.
local function credit(transaction, h, units)
    local paid = lends(h.b) and max(0, min(units, room(h.b) - h.b.level)) or 0
    if paid > 0 then post(transaction, h, 'liquid', paid) end
    h.waiting = h.waiting + units - paid
    return paid
end

local function owed(loan)
    return loan.principal - loan.repaid + loan.interest - loan.paid
end

-- Pays at most so many units of a loan out of its borrower: the principal first, then the interest. Returns how many.
local function pay(books, borrower, loan, units)
    local principal = min(units, loan.principal - loan.repaid)
    local interest = min(units - principal, loan.interest - loan.paid)
    local lender = loan.lender ~= '' and principal + interest > 0 and holder(books, loan.lender)
    if principal > 0 then
        local t = begin(books, 'repay', loan.id)
        post(t, borrower, 'liquid', -principal)
        post(t, borrower, 'debt', principal)
        if lender then
            local paid = credit(t, lender, principal)
            if paid > 0 then post(t, lender, 'receivable', -paid) end
        end
        enter(t)
    end
    if interest > 0 then
        local t = begin(books, 'interest', loan.id)
        post(t, borrower, 'liquid', -interest)
        post(t, borrower, 'interest', interest)
        if lender then
            post(t, lender, 'interest', -interest)
            local paid = credit(t, lender, interest)
            if paid < interest then post(t, lender, 'receivable', interest - paid) end
        end
        enter(t)
    end
    loan.repaid, loan.paid = loan.repaid + principal, loan.paid + interest
    return principal + interest
end

local function read_loans(packed)
    if not packed then return { at = now, fraction = 0, d = 1, loans = {} } end
    local values = cmsgpack.unpack(packed)
    local record = { at = values[1], fraction = values[2], d = values[3], loans = {} }
    for i, loan in ipairs(values[4]) do
        record.loans[i] = {}
        for number, field in ipairs(FIELDS) do record.loans[i][field] = loan[number] end
    end
    return record
end

local function fields(loan)
    local values = {}
    for number, field in ipairs(FIELDS) do values[number] = loan[field] end
    return values
end

local function all_fields(loans)
    local values = {}
    for i, loan in ipairs(loans) do values[i] = fields(loan) end
    return values
end

-- Writes a borrower's loans, and remembers those that were closed.
local function write_loans(key, borrowers, name, closed_prefix, record, closed)
    if #record.loans > 0 then
        redis.call('SET', key, cmsgpack.pack({ record.at, record.fraction, record.d, all_fields(record.loans) }))
        redis.call('SADD', borrowers, name)
    else
        redis.call('DEL', key)
        redis.call('SREM', borrowers, name)
    end
    for _, loan in ipairs(closed) do
        redis.call('SET', closed_prefix .. loan.id, cmsgpack.pack(fields(loan)), 'PX', CLOSED_MS)
    end
end

-- Units that a bucket's rate gave from where its loans' record stands until an instant.
local function gain(record, b, till)
    local meter = { level = 0, fraction = record.d == b.d and record.fraction or 0, at = record.at, capacity = LARGEST,
                    leased = 0, whole = b.whole, part = b.part, d = b.d, refilled = 0 }
    local instant = now
    now = till
    refill(meter)
    now = instant
    record.at, record.fraction, record.d = meter.at, meter.fraction, meter.d
    return meter.refilled
end

-- Gives the defaulted loans so many units, oldest first; returns what is left.
local function pay_defaulted(books, borrower, record, units)
    for _, loan in ipairs(record.loans) do
        if loan.state == DEFAULTED and units > 0 then units = units - pay(books, borrower, loan, units) end
    end
    return units
end

-- Brings a borrower's loans to now: their shares of what it refilled, be its level below zero after it; loans that are past
-- due default, and then the whole refill is theirs, and what the bucket has above its reserve. Returns those that closed.
local function serve(books, record, borrower)
    local b, loans = borrower.b, record.loans
    -- Each turn but the last makes a loan default.
    for _ = 0, #loans do
        local till = now
        for _, loan in ipairs(loans) do
            if loan.state == ACTIVE and owed(loan) > 0 and loan.due < till then till = max(loan.due, record.at) end
        end
        if lends(b) then
            local gained = gain(record, b, till)
            local has_defaulted = false
            for _, loan in ipairs(loans) do has_defaulted = has_defaulted or (loan.state == DEFAULTED and owed(loan) > 0) end
            if has_defaulted then
                pay_defaulted(books, borrower, record, gained)
            else
                for _, loan in ipairs(loans) do
                    local units
                    units, loan.rest = portion(gained, loan.share, loan.rest)
                    pay(books, borrower, loan, units)
                end
            end
        else
            record.at, record.fraction = max(record.at, till), 0
        end
        for _, loan in ipairs(loans) do
            if loan.state == ACTIVE and loan.due <= till and owed(loan) > 0 then
                loan.state = DEFAULTED
                local t = begin(books, 'default', loan.id)
                post(t, borrower, 'debt', 0)
                enter(t)
            end
        end
        if till >= now then break end
    end
    if lends(b) then pay_defaulted(books, borrower, record, max(0, b.level - b.reserve)) end
    local open, closed = {}, {}
    for _, loan in ipairs(loans) do
        if owed(loan) > 0 then
            open[#open + 1] = loan
        else
            loan.state = 'repaid'
            closed[#closed + 1] = loan
        end
    end
    record.loans = open
    return closed
end
