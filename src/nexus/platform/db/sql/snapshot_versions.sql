-- platform.snapshot_versions: a number per compiled snapshot, raised in the transaction that changes what it is made of.
-- The data plane polls it each half second and swaps the snapshot in whole; no tenant's data is in it.
CREATE TABLE platform.snapshot_versions (
    name        text         PRIMARY KEY,
    version     bigint       NOT NULL DEFAULT 1,
    changed_at  timestamptz  NOT NULL DEFAULT now()
);
GRANT SELECT ON platform.snapshot_versions TO nexus_service, nexus_writer, nexus_system, nexus_readonly;
GRANT INSERT, UPDATE ON platform.snapshot_versions TO nexus_system;
INSERT INTO platform.snapshot_versions (name) VALUES ('keys'), ('prices'), ('gateway'), ('configuration');
