-- platform.partitioned_tables: which tables are cut by time, how wide, how far ahead and how long they are kept.
-- requires: platform.current_organization_id
-- `keep_days` NULL keeps for ever; system configuration may say otherwise.
CREATE TABLE platform.partitioned_tables (
    table_name     text      PRIMARY KEY,
    width          text      NOT NULL CONSTRAINT partitioned_tables_width CHECK (width IN ('day', 'month')),
    months_ahead   smallint  NOT NULL DEFAULT 3 CONSTRAINT partitioned_tables_ahead CHECK (months_ahead BETWEEN 0 AND 24),
    keep_days      integer   CONSTRAINT partitioned_tables_keep CHECK (keep_days > 0),
    -- Storage parameters of each partition, as in WITH (…): a partitioned table cannot hold them itself.
    storage_options  text    NOT NULL DEFAULT ''
                             CONSTRAINT partitioned_tables_storage_options CHECK (storage_options ~ '^[a-z0-9_ =.,]*$')
);
GRANT SELECT ON platform.partitioned_tables TO nexus_service, nexus_writer, nexus_system;
