-- metering.rollup_horizons: from when on each level is whole; retention has taken something from before.
-- Holds for the installation, so it belongs to no organization. A level without a row has lost nothing yet.
CREATE TABLE metering.rollup_horizons (
    level       text         PRIMARY KEY
                             CONSTRAINT rollup_horizons_level CHECK (level IN ('raw', 'minute', 'quarter_hour', 'hour')),
    whole_from  timestamptz  NOT NULL
);
GRANT SELECT ON metering.rollup_horizons TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metering.rollup_horizons TO nexus_system;
