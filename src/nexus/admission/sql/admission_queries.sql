-- query: list_clusters
SELECT id, name, region, endpoint, max_capacity, health_status, health_check_url, created_at, updated_at
FROM admission.clusters
WHERE ($1::uuid IS NULL OR id = $1) AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3;

-- query: insert_cluster
INSERT INTO admission.clusters (organization_id, id, name, region, endpoint, max_capacity, health_check_url)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- query: update_cluster
UPDATE admission.clusters
SET region = coalesce($2, region), endpoint = coalesce($3, endpoint), max_capacity = coalesce($4, max_capacity),
    health_status = coalesce($5, health_status), health_check_url = coalesce($6, health_check_url), updated_at = now()
WHERE id = $1;

-- query: list_applications
SELECT id, cluster_id, name, metadata, is_active, created_at, updated_at
FROM admission.applications
WHERE ($1::uuid IS NULL OR id = $1) AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3;

-- query: insert_application
INSERT INTO admission.applications (organization_id, id, cluster_id, name, metadata)
VALUES ($1, $2, $3, $4, $5);

-- query: update_application
UPDATE admission.applications
SET cluster_id = coalesce($2, cluster_id), metadata = coalesce($3, metadata), is_active = coalesce($4, is_active),
    updated_at = now()
WHERE id = $1;

-- query: list_operation_types
-- An organization's own stands before the shipped one of its name.
SELECT id, organization_id IS NULL AS is_shared, name, category, c_base::text AS c_base, unit_quantum, c_bw::text AS c_bw,
       whole_quanta, description, is_active
FROM admission.operation_types
WHERE ($1::text IS NULL OR name = $1) AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3;

-- query: insert_operation_type
INSERT INTO admission.operation_types
    (id, organization_id, name, category, c_base, unit_quantum, c_bw, whole_quanta, description)
VALUES ($2, $1, $3, $4, $5, $6, $7, $8, $9);

-- query: list_cost_rules
SELECT id, application_id, operation, c_base::text AS c_base, c_bw::text AS c_bw, lower(validity) AS valid_from,
       upper(validity) AS valid_to
FROM admission.cost_rules
WHERE ($1::uuid IS NULL OR id = $1) AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3;

-- query: insert_cost_rule
INSERT INTO admission.cost_rules (organization_id, id, application_id, operation, c_base, c_bw, validity)
VALUES ($1, $2, $3, $4, $5, $6, tstzrange($7, $8));

-- query: list_quotas
SELECT q.id, q.name, q.scope, q.subject, q.provider, q.created_at, v.version, lower(v.validity) AS valid_from,
       upper(v.validity) AS valid_to, v.limits, v.reason, v.author, v.rolled_back_to, v.created_at AS version_created_at,
       s.version AS scheduled_version, s.valid_from AS scheduled_from
FROM admission.quotas AS q
LEFT JOIN admission.quota_versions AS v
    ON v.organization_id = q.organization_id AND v.quota_id = q.id AND v.validity @> $4::timestamptz
LEFT JOIN LATERAL (
    SELECT n.version, lower(n.validity) AS valid_from
    FROM admission.quota_versions AS n
    WHERE n.organization_id = q.organization_id AND n.quota_id = q.id AND lower(n.validity) > $4
    ORDER BY lower(n.validity)
    LIMIT 1
) AS s ON true
WHERE ($1::uuid IS NULL OR q.id = $1) AND ($2::uuid IS NULL OR q.id > $2) AND ($5::text IS NULL OR q.name = $5)
  AND ($6::text[] IS NULL OR (q.scope = ANY ($6) AND q.subject IS NOT NULL))
ORDER BY q.id
LIMIT $3;

-- query: insert_quota
INSERT INTO admission.quotas (organization_id, id, name, scope, subject, provider)
VALUES ($1, $2, $3, $4, $5, $6);

-- query: lock_quota
-- Versions of one quota are published one after another.
SELECT q.id, (SELECT coalesce(max(v.version), 0) FROM admission.quota_versions AS v WHERE v.quota_id = q.id) AS latest
FROM admission.quotas AS q
WHERE q.id = $1 AND pg_advisory_xact_lock(hashtextextended('nexus.quota.' || q.id, 0)) IS NOT NULL;

-- query: list_quota_versions
SELECT version, lower(validity) AS valid_from, upper(validity) AS valid_to, isempty(validity) AS is_withdrawn, limits,
       reason, author, rolled_back_to, created_at, validity @> $4::timestamptz AS is_in_force
FROM admission.quota_versions
WHERE quota_id = $1 AND ($2::integer IS NULL OR version < $2)
ORDER BY version DESC
LIMIT $3;

-- query: quota_version
SELECT version, lower(validity) AS valid_from, upper(validity) AS valid_to, isempty(validity) AS is_withdrawn, limits,
       reason, author, rolled_back_to, created_at, validity @> $3::timestamptz AS is_in_force
FROM admission.quota_versions
WHERE quota_id = $1 AND version = $2;

-- query: give_way
-- What holds, or was to hold, from the new version's beginning on, ends there; what lies behind it whole never comes.
UPDATE admission.quota_versions
SET validity = validity * tstzrange(NULL, $2)
WHERE quota_id = $1 AND validity && tstzrange($2, $3);

-- query: insert_quota_version
INSERT INTO admission.quota_versions
    (organization_id, id, quota_id, version, validity, limits, reason, author, rolled_back_to)
VALUES ($1, $2, $3, $4, tstzrange($5, $6), $7, $8, $9, $10);

-- query: list_transactions
SELECT at, sequence, leg, kind, reference, bucket, account, occurred_at, opened, refilled, adjusted, changed, level, held,
       leased
FROM admission.token_transactions
WHERE ($1::text IS NULL OR bucket = $1)
  AND ($2::timestamptz IS NULL OR (at, sequence, leg) < ($2, $3, $4))
ORDER BY at DESC, sequence DESC, leg DESC
LIMIT $5;

-- query: insert_transactions
-- role: nexus_system
-- An entry that was drained before is stored already.
INSERT INTO admission.token_transactions
    (organization_id, at, sequence, leg, kind, reference, bucket, occurred_at, opened, refilled, adjusted, changed, level,
     fraction, level_at_us, held, leased, account)
SELECT $1, *
FROM unnest($2::timestamptz[], $3::bigint[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
            $9::boolean[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
            $16::bigint[], $17::bigint[], $18::text[])
ON CONFLICT (organization_id, at, sequence, leg) DO NOTHING;

-- query: list_refusals
-- Who was refused by which limit in a range, the most refused first.
SELECT r.bucket, split_part(r.bucket, ':', 1)::uuid AS limit_id, max(r.limit_name) AS limit_name, max(r.scope) AS scope,
       max(r.subject) AS subject, max(r.dimension) AS dimension, r.kind, r.key_id, r.application, sum(r.calls)::bigint AS calls,
       (array_agg(r.retry_after_ms ORDER BY r.last_at DESC))[1] AS retry_after_ms, max(r.last_at) AS last_at
FROM admission.refusals AS r
WHERE r.minute >= date_trunc('minute', $1::timestamptz) AND r.minute < $2
  AND ($3::uuid IS NULL OR split_part(r.bucket, ':', 1) = replace($3::text, '-', ''))
  AND ($4::text IS NULL OR r.bucket = $4)
GROUP BY r.bucket, r.kind, r.key_id, r.application
ORDER BY sum(r.calls) DESC, r.bucket, r.kind, r.key_id, r.application
LIMIT $5;

-- query: drop_old_refusals
-- role: nexus_system
SELECT count(*)
FROM platform.drop_partitions_v1('admission.refusals', $1);

-- query: ensure_transactions_partition
-- role: nexus_system
SELECT platform.ensure_partition_v1('admission.token_transactions', $1);

-- query: known_organization
-- role: nexus_system
SELECT EXISTS (SELECT FROM identity.organizations WHERE id = $1);

-- query: drop_old_transactions
-- role: nexus_system
SELECT count(*)
FROM platform.drop_partitions_v1('admission.token_transactions', $1);

-- query: organization_by_slug
-- role: nexus_system
SELECT id
FROM identity.organizations
WHERE slug = $1;
