-- query: list_capacities
-- role: nexus_system
SELECT c.id, c.name, c.dimension, c.scope, c.subject, c.rate, c.burst, c.per, c.failure, c.ceiling_rate, c.ceiling_burst,
       c.created_at, c.updated_at
FROM admission.shared_capacities AS c
WHERE c.removed_at IS NULL AND ($1::uuid IS NULL OR c.id = $1) AND ($2::uuid IS NULL OR c.id > $2)
ORDER BY c.id
LIMIT $3;

-- query: shares_of_capacities
-- role: nexus_system
-- Members with what they have now.
SELECT m.capacity_id, m.organization_id, o.name, o.slug, m.guaranteed, m.most, m.weight, g.rate, g.burst, g.state, g.demand,
       g.changed_at
FROM admission.capacity_members AS m
JOIN identity.organizations AS o ON o.id = m.organization_id
LEFT JOIN admission.capacity_grants AS g ON g.organization_id = m.organization_id AND g.capacity_id = m.capacity_id
WHERE m.capacity_id = ANY ($1::uuid[])
ORDER BY o.name, o.id;

-- query: refused_of_shares
-- role: nexus_system
SELECT r.organization_id, r.bucket, sum(r.calls)::bigint AS calls
FROM admission.refusals AS r
JOIN unnest($1::uuid[], $2::text[]) AS wanted (organization_id, bucket)
  ON wanted.organization_id = r.organization_id AND wanted.bucket = r.bucket
WHERE r.minute >= $3 AND r.kind IN ('refused', 'unavailable')
GROUP BY r.organization_id, r.bucket;

-- query: lock_capacity
-- role: nexus_system
SELECT id, name, dimension, scope, subject, rate, burst, per, failure, ceiling_rate, ceiling_burst, removed_at
FROM admission.shared_capacities
WHERE id = $1
FOR UPDATE;

-- query: insert_capacity
-- role: nexus_system
INSERT INTO admission.shared_capacities (id, name, dimension, scope, subject, rate, burst, per, failure, ceiling_rate, ceiling_burst)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $6, $7);

-- query: update_capacity
-- role: nexus_system
-- What was granted above a lower rate counts until it has been given back.
UPDATE admission.shared_capacities
SET rate = $2, burst = $3, failure = $4, ceiling_rate = greatest(ceiling_rate, $2), ceiling_burst = greatest(ceiling_burst, $3),
    updated_at = now()
WHERE id = $1;

-- query: remove_capacity
-- role: nexus_system
UPDATE admission.shared_capacities SET removed_at = now() WHERE id = $1;

-- query: delete_members_of_capacity
-- role: nexus_system
DELETE FROM admission.capacity_members WHERE capacity_id = $1;

-- query: upsert_capacity_member
-- role: nexus_system
INSERT INTO admission.capacity_members (organization_id, capacity_id, guaranteed, most, weight)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (organization_id, capacity_id) DO UPDATE
SET guaranteed = excluded.guaranteed, most = excluded.most, weight = excluded.weight;

-- query: delete_capacity_member
-- role: nexus_system
DELETE FROM admission.capacity_members WHERE capacity_id = $1 AND organization_id = $2;

-- query: guaranteed_to_others
-- role: nexus_system
SELECT coalesce(sum(guaranteed), 0)::bigint AS guaranteed, count(*) AS members
FROM admission.capacity_members
WHERE capacity_id = $1 AND organization_id IS DISTINCT FROM $2;

-- query: find_member_organization
-- role: nexus_system
SELECT id FROM identity.organizations WHERE id::text = $1 OR slug = $1;

-- query: known_capacities
-- role: nexus_system
SELECT id FROM admission.shared_capacities ORDER BY id;

-- query: members_of_capacity
-- role: nexus_system
SELECT organization_id, guaranteed, most, weight
FROM admission.capacity_members
WHERE capacity_id = $1
ORDER BY organization_id;

-- query: grants_of_capacity
-- role: nexus_system
SELECT organization_id, number, rate, burst, held_rate, held_burst, state, demand
FROM admission.capacity_grants
WHERE capacity_id = $1
ORDER BY organization_id;

-- query: write_grant
-- role: nexus_system
INSERT INTO admission.capacity_grants (organization_id, capacity_id, number, rate, burst, held_rate, held_burst, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (organization_id, capacity_id) DO UPDATE
SET number = excluded.number, rate = excluded.rate, burst = excluded.burst, held_rate = excluded.held_rate,
    held_burst = excluded.held_burst, state = excluded.state,
    changed_at = CASE WHEN excluded.number > capacity_grants.number THEN now() ELSE capacity_grants.changed_at END;

-- query: delete_grant
-- role: nexus_system
DELETE FROM admission.capacity_grants WHERE organization_id = $1 AND capacity_id = $2 AND rate = 0 AND held_rate = 0;

-- query: write_demand
-- role: nexus_system
UPDATE admission.capacity_grants SET demand = $3 WHERE organization_id = $1 AND capacity_id = $2;

-- query: lower_ceiling
-- role: nexus_system
UPDATE admission.shared_capacities SET ceiling_rate = $2, ceiling_burst = $3 WHERE id = $1;

-- query: delete_capacity
-- role: nexus_system
DELETE FROM admission.shared_capacities AS c
WHERE c.id = $1 AND c.removed_at IS NOT NULL
  AND NOT EXISTS (SELECT FROM admission.capacity_grants AS g WHERE g.capacity_id = c.id);
