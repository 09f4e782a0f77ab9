-- metering.call_exports: where finished calls are exported to besides; empty when nowhere, and then nothing is noted for it.
-- The worker writes its one row while `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and deletes it when it is not.
CREATE TABLE metering.call_exports (
    destination  text         NOT NULL PRIMARY KEY,
    since        timestamptz  NOT NULL
);
GRANT SELECT ON metering.call_exports TO nexus_writer;
GRANT SELECT, INSERT, DELETE ON metering.call_exports TO nexus_system;
