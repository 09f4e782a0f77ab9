-- query: limit_versions
-- role: nexus_system
-- Keys have limits of their own, and the system configuration says Nexus's own: the limits are read again when either changes.
SELECT name, version
FROM platform.snapshot_versions
WHERE name IN ('limits', 'keys', 'configuration');

-- query: snapshot_limits
-- role: nexus_system
SELECT kind, document
FROM admission.snapshot_limits_v1()
UNION ALL
SELECT kind, document
FROM costs.snapshot_budgets_v1();

-- query: has_transactions
-- role: nexus_system
SELECT EXISTS (SELECT FROM admission.token_transactions WHERE organization_id = $1);

-- query: last_states
-- role: nexus_system
SELECT bucket, level, level_at_us
FROM admission.last_states_v1($1, $2, $3);

-- query: open_loans
-- role: nexus_system
SELECT borrower, id, lender, state, principal, interest, repaid, interest_paid, share, rest, granted_at, due_at, had, sequence
FROM admission.loans
WHERE organization_id = $1 AND ended_at IS NULL
ORDER BY granted_at, id;

-- query: spent
-- role: nexus_system
-- What a budget's calls cost in a window, as the ledger has it; what has no exchange rate is not in it.
SELECT coalesce(sum(s.spent), 0)
FROM costs.spend_v1($1, $2, $3, $4, $5, $6, $7, $8) AS s;

-- query: last_state
-- role: nexus_system
SELECT level, level_at_us
FROM admission.token_transactions
WHERE organization_id = $1 AND bucket = $2 AND at >= $3
ORDER BY at DESC, sequence DESC
LIMIT 1;

-- query: note_refusals
-- role: nexus_system
SELECT admission.note_refusals_v1($1, $2::jsonb);
