-- query: keys_version
-- role: nexus_system
-- Raised when an access key, a membership or an organization changes: open streams are then asked who they are again.
SELECT s.version FROM platform.snapshot_versions AS s WHERE s.name = 'keys'
