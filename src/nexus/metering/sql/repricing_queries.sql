-- query: insert_repricing
INSERT INTO metering.repricings (
    organization_id, id, starts_at, ends_at, provider, model, is_dry, only_unpriced, include_given, requested_by, created_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce(current_setting('app.actor_label', true), ''), $10)
RETURNING *

-- query: repricing
SELECT * FROM metering.repricings WHERE organization_id = $1 AND id = $2

-- query: repricings
-- Ids are UUIDv7, so their order is that of their making.
SELECT *
FROM metering.repricings
WHERE organization_id = $1 AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3

-- query: next_repricing
-- role: nexus_system
-- Another worker's is skipped, not waited for.
SELECT r.*, coalesce(o.currency, 'USD') AS organization_currency, coalesce(o.tier, 'standard') AS tier
FROM metering.repricings AS r
LEFT JOIN identity.organizations AS o ON o.id = r.organization_id
WHERE r.state IN ('waiting', 'running')
ORDER BY r.created_at, r.id
LIMIT 1
FOR UPDATE OF r SKIP LOCKED

-- query: calls_to_price
-- role: nexus_system
SELECT id, key_at, occurred_at, provider, endpoint, method, status_code, model, region, input_tokens, output_tokens,
       cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
       image_input_tokens, image_output_tokens, units, service_variant, cost, currency, price_source, price_id,
       unpriced_reason
FROM metering.calls
WHERE organization_id = $1
  AND occurred_at >= $2 AND occurred_at < $3
  AND ($4::timestamptz IS NULL OR (occurred_at, id) > ($4, $5::uuid))
  AND ($6::text IS NULL OR provider = $6)
  AND ($7::text IS NULL OR model = $7)
  AND ($8 OR price_source <> 'given')
  AND refused_by IS NULL
ORDER BY occurred_at, id
LIMIT $9
FOR UPDATE

-- query: unpriced_calls_to_price
-- role: nexus_system
-- The same over the calls without a price alone, which an index of their own finds among all others.
SELECT id, key_at, occurred_at, provider, endpoint, method, status_code, model, region, input_tokens, output_tokens,
       cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
       image_input_tokens, image_output_tokens, units, service_variant, cost, currency, price_source, price_id,
       unpriced_reason
FROM metering.calls
WHERE organization_id = $1
  AND cost IS NULL
  AND occurred_at >= $2 AND occurred_at < $3
  AND ($4::timestamptz IS NULL OR (occurred_at, id) > ($4, $5::uuid))
  AND ($6::text IS NULL OR provider = $6)
  AND ($7::text IS NULL OR model = $7)
  AND ($8 OR price_source <> 'given')
ORDER BY occurred_at, id
LIMIT $9
FOR UPDATE

-- query: apply_prices
-- role: nexus_system
-- Changes calls and journals the differences in one statement. Where the currency stays, only cost and unpriced differ;
-- where it changes, the call is taken out of the old currency's sums and put into the new one's.
WITH given AS (
    SELECT *
    FROM unnest($2::timestamptz[], $3::uuid[], $4::numeric[], $5::text[], $6::text[], $7::uuid[], $8::text[])
        AS g (key_at, id, cost, currency, price_source, price_id, unpriced_reason)
), old AS MATERIALIZED (
    SELECT c.*, g.cost AS new_cost, g.currency AS new_currency,
           date_bin('1 minute', c.occurred_at, timestamptz '2000-01-01 00:00:00+00') AS minute
    FROM metering.calls AS c
    JOIN given AS g USING (key_at, id)
    WHERE c.organization_id = $1
), updated AS (
    UPDATE metering.calls AS c
    SET cost = g.cost, currency = g.currency, price_source = g.price_source, price_id = g.price_id,
        unpriced_reason = g.unpriced_reason
    FROM given AS g
    WHERE c.organization_id = $1 AND c.key_at = g.key_at AND c.id = g.id
    RETURNING c.id
), differences AS (
    SELECT o.*, 0 AS sign, o.currency AS of_currency,
           (o.new_cost IS NULL)::int - (o.cost IS NULL)::int AS unpriced,
           coalesce(o.new_cost, 0) - coalesce(o.cost, 0) AS amount
    FROM old AS o
    WHERE o.new_currency = o.currency
    UNION ALL
    SELECT o.*, -1, o.currency, -(o.cost IS NULL)::int, -coalesce(o.cost, 0)
    FROM old AS o
    WHERE o.new_currency <> o.currency
    UNION ALL
    SELECT o.*, 1, o.new_currency, (o.new_cost IS NULL)::int, coalesce(o.new_cost, 0)
    FROM old AS o
    WHERE o.new_currency <> o.currency
), journaled AS (
    INSERT INTO metering.rollup_journal (
        organization_id, minute, provider, endpoint, method, model, region, status_code, key_id, application, user_ref,
        currency, tags, bin, requests, unpriced, cost, latency_sum_us, request_bytes, response_bytes, input_tokens,
        output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens,
        audio_output_tokens, image_input_tokens, image_output_tokens
    )
    SELECT
        d.organization_id, d.minute, d.provider, d.endpoint, d.method, d.model, d.region, d.status_code, d.key_id,
        d.application, d.user_ref, d.of_currency, d.tags,
        CASE WHEN d.sign <> 0 THEN metering.latency_bin_v1(d.response_time_us) END,
        sum(d.sign), sum(d.unpriced), sum(d.amount), sum(d.sign * coalesce(d.response_time_us, 0)),
        sum(d.sign * d.request_bytes), sum(d.sign * d.response_bytes), sum(d.sign * d.input_tokens),
        sum(d.sign * d.output_tokens), sum(d.sign * d.cached_input_tokens), sum(d.sign * d.cache_write_tokens),
        sum(d.sign * d.reasoning_tokens), sum(d.sign * d.audio_input_tokens), sum(d.sign * d.audio_output_tokens),
        sum(d.sign * d.image_input_tokens), sum(d.sign * d.image_output_tokens)
    FROM differences AS d
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
    RETURNING 1
)
SELECT (SELECT count(*) FROM updated) AS updated, (SELECT count(*) FROM journaled) AS journaled

-- query: advance_repricing
-- role: nexus_system
UPDATE metering.repricings
SET state = $3, examined = $4, changed = $5, totals = $6::jsonb, reached_at = $7, reached_id = $8,
    started_at = coalesce(started_at, now()), finished_at = CASE WHEN $3 IN ('done', 'failed') THEN now() END, error = $9
WHERE organization_id = $1 AND id = $2

-- query: prices_version
-- role: nexus_system
SELECT
    (SELECT s.version FROM platform.snapshot_versions AS s WHERE s.name = 'prices') AS current,
    (SELECT n.version FROM metering.noticed_prices AS n) AS noticed

-- query: notice_prices
-- role: nexus_system
UPDATE metering.noticed_prices SET version = $1 WHERE version < $1 RETURNING version

-- query: order_unpriced
-- role: nexus_system
-- One order for each organization that has calls without a price and no order for them that has yet to begin.
INSERT INTO metering.repricings (organization_id, id, cause, starts_at, ends_at, only_unpriced, requested_by)
SELECT o.id, gen_random_uuid(), 'prices_changed', u.occurred_at, now() + interval '2 days', true, 'system'
FROM identity.organizations AS o
CROSS JOIN LATERAL (
    SELECT c.occurred_at
    FROM metering.calls AS c
    WHERE c.organization_id = o.id AND c.cost IS NULL
    ORDER BY c.occurred_at
    LIMIT 1
) AS u
WHERE NOT EXISTS (
    SELECT
    FROM metering.repricings AS r
    WHERE r.organization_id = o.id AND r.cause = 'prices_changed' AND r.state = 'waiting'
)
RETURNING id

-- query: has_open_repricing
-- role: nexus_system
SELECT EXISTS (SELECT FROM metering.repricings WHERE state IN ('waiting', 'running'))
