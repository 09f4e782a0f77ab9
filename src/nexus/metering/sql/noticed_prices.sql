-- metering.noticed_prices: the version of the price book for which calls without a price were last looked at.
CREATE TABLE metering.noticed_prices (
    is_only  boolean  PRIMARY KEY DEFAULT true CONSTRAINT noticed_prices_is_only CHECK (is_only),
    version  bigint   NOT NULL
);
INSERT INTO metering.noticed_prices (version) VALUES (0);
GRANT SELECT, UPDATE ON metering.noticed_prices TO nexus_system;
