-- query: keys_version
-- role: nexus_system
-- Raised when an access key, a membership or an organization changes: open streams are then asked who they are again.
SELECT s.version FROM platform.snapshot_versions AS s WHERE s.name = 'keys'

-- query: prices_version
-- Changes with the price book, and with each chunk of a repricing of the organization.
SELECT concat_ws('.',
    (SELECT s.version FROM platform.snapshot_versions AS s WHERE s.name = 'prices'),
    (SELECT count(*) FROM metering.repricings AS r WHERE r.organization_id = $1),
    (SELECT sum(r.changed) FROM metering.repricings AS r WHERE r.organization_id = $1)
)
