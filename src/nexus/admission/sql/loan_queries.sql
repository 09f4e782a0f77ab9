-- query: list_borrowing_rules
SELECT r.id, r.name, r.application_id, a.name AS application, r.lends_from, r.lender_application_id,
       l.name AS lender_application, r.max_ratio::text AS max_ratio, r.interest_rate::text AS interest_rate, r.max_seconds,
       r.repay_share::text AS repay_share, r.most_loans, r.is_active, r.created_at
FROM admission.borrowing_rules AS r
LEFT JOIN admission.applications AS a ON a.organization_id = r.organization_id AND a.id = r.application_id
LEFT JOIN admission.applications AS l ON l.organization_id = r.organization_id AND l.id = r.lender_application_id
WHERE ($1::uuid IS NULL OR r.id = $1) AND ($2::uuid IS NULL OR r.id > $2)
ORDER BY r.id
LIMIT $3;

-- query: insert_borrowing_rule
INSERT INTO admission.borrowing_rules
    (organization_id, id, name, application_id, lends_from, lender_application_id, max_ratio, interest_rate, max_seconds,
     repay_share, most_loans)
VALUES ($1, $2, $3, $4, $5, $6, $7::numeric, $8::numeric, $9, $10::numeric, $11);

-- query: update_borrowing_rule
UPDATE admission.borrowing_rules
SET max_ratio = coalesce($2::numeric, max_ratio), interest_rate = coalesce($3::numeric, interest_rate),
    max_seconds = coalesce($4, max_seconds), repay_share = coalesce($5::numeric, repay_share),
    most_loans = coalesce($6, most_loans), is_active = coalesce($7, is_active)
WHERE id = $1;

-- query: list_loans
-- Open ones only where $2 is true, ended ones where it is false.
SELECT id, rule_id, borrower, lender, state, principal, interest, repaid, interest_paid, share, sequence, reason,
       requested_by, granted_at, due_at, defaulted_at, ended_at
FROM admission.loans
WHERE ($1::uuid IS NULL OR id = $1) AND ($2::boolean IS NULL OR (ended_at IS NULL) = $2)
  AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4;

-- query: lock_loan
SELECT id, borrower, sequence, state
FROM admission.loans
WHERE id = $1
FOR UPDATE;

-- query: insert_loan
INSERT INTO admission.loans
    (organization_id, id, rule_id, borrower, lender, state, principal, interest, share, had, reason, requested_by, granted_at,
     due_at)
VALUES ($1, $2, $3, $4, $5, 'active', $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (organization_id, id) DO NOTHING;

-- query: update_loans
-- Loans as Redis has them now; one that has ended, or that is further, stays. Gives those that have changed their state.
WITH told AS (
    SELECT t.*, l.state AS before
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[], $6::integer[])
        AS t (id, state, repaid, interest_paid, rest, sequence)
    JOIN admission.loans AS l ON l.organization_id = $7 AND l.id = t.id AND l.ended_at IS NULL
    WHERE t.repaid + t.interest_paid >= l.repaid + l.interest_paid
      AND (t.state, t.repaid, t.interest_paid, t.rest, t.sequence) IS DISTINCT FROM
          (l.state, l.repaid, l.interest_paid, l.rest, l.sequence)
    FOR UPDATE OF l
)
UPDATE admission.loans AS l
SET state = told.state, repaid = told.repaid, interest_paid = told.interest_paid, rest = told.rest, sequence = told.sequence,
    defaulted_at = CASE WHEN told.state = 'defaulted' THEN coalesce(l.defaulted_at, $8) ELSE l.defaulted_at END,
    ended_at = CASE WHEN told.state NOT IN ('active', 'defaulted') THEN $8::timestamptz END
FROM told
WHERE l.organization_id = $7 AND l.id = told.id AND l.ended_at IS NULL
RETURNING l.id, l.borrower, l.lender, l.state, told.before, l.principal + l.interest - l.repaid - l.interest_paid AS owed;

-- query: record_loan_action
SELECT platform.record_action_v1($1, $2, $3::jsonb);

-- query: open_loans_of_all
-- role: nexus_system
SELECT organization_id, id
FROM admission.loans
WHERE ended_at IS NULL;

-- query: delete_old_loans
-- role: nexus_system
DELETE FROM admission.loans
WHERE ended_at < $1;
