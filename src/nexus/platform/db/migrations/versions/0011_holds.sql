-- What became of a hold is found by its name.
CREATE INDEX token_transactions_hold_idx ON admission.token_transactions (organization_id, reference)
    WHERE kind IN ('charge', 'settle', 'release', 'reap') AND reference <> '';
