-- platform.configuration: the system configuration that differs from the defaults; types and defaults are in code.
-- requires: platform.audit_row_v1, platform.bump_snapshot_v1
-- It holds for the installation, so it belongs to no organization; only system administrators change it, through nexus_system.
CREATE TABLE platform.configuration (
    key         text         PRIMARY KEY,
    value       jsonb        NOT NULL,
    updated_at  timestamptz  NOT NULL DEFAULT now(),
    updated_by  text         NOT NULL DEFAULT ''
);
GRANT SELECT ON platform.configuration TO nexus_service, nexus_writer, nexus_system;
GRANT INSERT, UPDATE, DELETE ON platform.configuration TO nexus_system;
CREATE TRIGGER configuration_audit AFTER INSERT OR UPDATE OR DELETE ON platform.configuration
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER configuration_version AFTER INSERT OR UPDATE OR DELETE ON platform.configuration
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('configuration');
