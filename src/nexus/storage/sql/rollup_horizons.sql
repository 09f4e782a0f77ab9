-- storage.rollup_horizons: from when on each level is whole; retention has taken something from before.
-- As metering.rollup_horizons: it holds for the installation, and a level without a row has lost nothing yet.
CREATE TABLE storage.rollup_horizons (
    level       text         PRIMARY KEY
                             CONSTRAINT rollup_horizons_level CHECK (level IN ('raw', 'minute', 'quarter_hour', 'hour')),
    whole_from  timestamptz  NOT NULL
);
GRANT SELECT ON storage.rollup_horizons TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON storage.rollup_horizons TO nexus_system;
