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
