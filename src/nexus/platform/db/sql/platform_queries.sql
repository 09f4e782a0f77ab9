-- query: read_configuration
SELECT key, value FROM platform.configuration

-- query: write_configuration
-- role: nexus_system
INSERT INTO platform.configuration AS c (key, value, updated_by)
VALUES ($1, $2::jsonb, $3)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_by = excluded.updated_by, updated_at = now()
WHERE c.value IS DISTINCT FROM excluded.value

-- query: delete_configuration
-- role: nexus_system
DELETE FROM platform.configuration WHERE key = $1

-- query: snapshot_versions
-- role: nexus_system
SELECT name, version FROM platform.snapshot_versions

-- query: make_partitions
-- role: nexus_system
SELECT platform.ensure_partitions_v1()

-- query: try_lock
-- role: nexus_system
SELECT pg_try_advisory_xact_lock(hashtextextended('nexus.job.' || $1, 0))

-- query: check_role
SELECT
    current_user AS name,
    r.rolsuper AS is_superuser,
    r.rolbypassrls AS bypasses,
    (
        SELECT c.oid::regclass::text
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm')
          AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
          AND n.nspname NOT LIKE 'pg\_temp%' AND n.nspname NOT LIKE 'pg\_toast%'
          AND pg_has_role(r.oid, c.relowner, 'MEMBER')
        ORDER BY c.oid
        LIMIT 1
    ) AS owned
FROM pg_roles AS r
WHERE r.rolname = current_user

-- query: check_tenant_tables
SELECT
    format('%I.%I', n.nspname, c.relname) AS name,
    c.relrowsecurity AS enabled,
    c.relforcerowsecurity AS forced,
    (SELECT count(*) FROM pg_policy AS p WHERE p.polrelid = c.oid) AS policies
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND pg_get_userbyid(n.nspowner) = 'nexus_owner'
  AND EXISTS (
      SELECT FROM pg_attribute AS a
      WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped
  )
ORDER BY 1

-- query: check_partition_grants
SELECT
    format('%I.%I', n.nspname, c.relname) AS name,
    CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END AS grantee,
    string_agg(acl.privilege_type, ', ' ORDER BY acl.privilege_type) AS privileges
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL aclexplode(c.relacl) AS acl
WHERE c.relispartition
  AND c.relkind IN ('r', 'p')
  AND acl.grantee <> c.relowner
GROUP BY 1, 2
ORDER BY 1, 2
