-- query: list_budgets
SELECT id, name, description, scope, subject, trim_scale(amount)::text AS amount, currency, period, begins_on, zone,
       thresholds::float8[] AS thresholds, pauses, failure, is_active, version, reason, author, created_at, updated_at
FROM costs.budgets
WHERE ($1::uuid IS NULL OR id = $1) AND ($2::uuid IS NULL OR id > $2) AND ($4 OR is_active)
ORDER BY id
LIMIT $3;

-- query: all_budgets
-- role: nexus_system
SELECT organization_id, id, name, description, scope, subject, trim_scale(amount)::text AS amount, currency, period, begins_on,
       zone, thresholds::float8[] AS thresholds, pauses, failure, is_active, version, reason, author, created_at, updated_at
FROM costs.budgets
WHERE is_active
ORDER BY organization_id, id;

-- query: insert_budget
INSERT INTO costs.budgets
    (organization_id, id, name, description, scope, subject, amount, currency, period, begins_on, zone, thresholds, pauses,
     failure, reason, author, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17);

-- query: lock_budget
SELECT version
FROM costs.budgets
WHERE id = $1
FOR UPDATE;

-- query: update_budget
UPDATE costs.budgets
SET name = $2, description = $3, scope = $4, subject = $5, amount = $6, currency = $7, period = $8, begins_on = $9, zone = $10,
    thresholds = $11, pauses = $12, failure = $13, is_active = $14, reason = $15, author = $16, updated_at = $17,
    version = version + 1
WHERE id = $1;

-- query: organization_defaults
SELECT currency, reporting_zone
FROM identity.organizations
WHERE id = $1;

-- query: known_zone
SELECT metering.known_zone_v1($1) = $1;

-- query: spend
-- All budgets of a page in one question, each by its own scope, period and zone.
SELECT b.id, s.subject, s.currency, sum(s.cost) AS cost, sum(s.spent) AS spent,
       coalesce(sum(s.cost) FILTER (WHERE s.spent IS NULL), 0) AS unconverted,
       sum(s.requests)::bigint AS requests, sum(s.unpriced)::bigint AS unpriced
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::text[], $9::text[])
    AS b (organization_id, id, scope, subject, currency, starts, ends, zone, step)
CROSS JOIN LATERAL costs.spend_v1(b.organization_id, b.scope, b.subject, b.currency, b.starts, b.ends, b.zone, b.step) AS s
GROUP BY b.id, s.subject, s.currency;

-- query: spend_by_step
SELECT s.at, sum(s.spent) AS spent
FROM costs.spend_v1($1, $2, $3, $4, $5, $6, $7, $8) AS s
WHERE $9::text IS NULL OR s.subject = $9
GROUP BY s.at
ORDER BY s.at;

-- query: pauses
-- When calls were first refused in the periods that run, for the amount that still holds.
SELECT e.budget_id, e.subject, e.occurred_at
FROM costs.budget_events AS e
JOIN costs.budgets AS b ON b.organization_id = e.organization_id AND b.id = e.budget_id
WHERE e.kind = 'paused' AND e.amount >= b.amount
  AND (e.budget_id, e.period_starts_at) IN (SELECT * FROM unnest($1::uuid[], $2::timestamptz[]));

-- query: list_events
SELECT id, kind, nullif(subject, '') AS subject, nullif(threshold, 0)::float8 AS threshold, trim_scale(spent)::text AS spent,
       trim_scale(amount)::text AS amount, currency, period_starts_at, period_ends_at, occurred_at
FROM costs.budget_events
WHERE budget_id = $1 AND ($2::timestamptz IS NULL OR (occurred_at, id) < ($2, $3))
ORDER BY occurred_at DESC, id DESC
LIMIT $4;

-- query: insert_events
-- role: nexus_system
INSERT INTO costs.budget_events
    (organization_id, id, budget_id, subject, period_starts_at, period_ends_at, kind, threshold, spent, amount, currency, occurred_at)
SELECT *
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::numeric[],
            $9::numeric[], $10::numeric[], $11::text[], $12::timestamptz[])
ON CONFLICT ON CONSTRAINT budget_events_once DO NOTHING
RETURNING budget_id, kind, threshold;

-- query: list_rates
SELECT base, quote, rated_on, trim_scale(rate)::text AS rate, source, organization_id IS NULL AS is_shared
FROM costs.exchange_rates
WHERE ($1::text IS NULL OR base = $1) AND ($2::text IS NULL OR quote = $2)
  AND ($3::date IS NULL OR (rated_on, base, quote) < ($3, $4, $5))
ORDER BY rated_on DESC, base DESC, quote DESC, organization_id
LIMIT $6;

-- query: upsert_rates
-- Tells of each whether it was there; what says the same again is left alone.
INSERT INTO costs.exchange_rates AS r (organization_id, base, quote, rated_on, rate, source, imported_by)
SELECT $1, *, $6, $7
FROM unnest($2::text[], $3::text[], $4::date[], $5::numeric[])
ON CONFLICT (organization_id, base, quote, rated_on) DO UPDATE
SET rate = excluded.rate, source = excluded.source, imported_at = now(), imported_by = excluded.imported_by
WHERE r.rate <> excluded.rate
RETURNING xmax = 0 AS is_new;

-- query: record_rates
SELECT platform.record_action_v1('exchange_rates_import', $1::jsonb ->> 'source', $1::jsonb);

-- query: organization_by_slug
-- role: nexus_system
SELECT id
FROM identity.organizations
WHERE slug = $1;
