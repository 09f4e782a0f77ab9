-- catalog.endpoints: the endpoints of a provider, as path templates that calls' paths are matched to.
-- requires: catalog.providers
CREATE TABLE catalog.endpoints (
    id                    uuid         PRIMARY KEY,
    organization_id       uuid,
    provider              text         NOT NULL,
    method                text         NOT NULL DEFAULT '' CONSTRAINT endpoints_method CHECK (method ~ '^[A-Z]{0,10}$'),
    path_template         text         NOT NULL CONSTRAINT endpoints_path CHECK (path_template ~ '^/' AND length(path_template) <= 500),
    name                  text         NOT NULL DEFAULT '',
    category              text         NOT NULL DEFAULT '',
    expected_response_ms  integer,
    requests_per_minute   integer,
    is_deprecated         boolean      NOT NULL DEFAULT false,
    source                text         NOT NULL DEFAULT 'user',
    created_at            timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT endpoints_once UNIQUE NULLS NOT DISTINCT (organization_id, provider, method, path_template)
);
ALTER TABLE catalog.endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.endpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY endpoints_shared ON catalog.endpoints FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY endpoints_tenant ON catalog.endpoints TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY endpoints_system ON catalog.endpoints TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON catalog.endpoints TO nexus_service, nexus_system;
GRANT SELECT ON catalog.endpoints TO nexus_readonly;
CREATE TRIGGER endpoints_audit AFTER UPDATE OR DELETE ON catalog.endpoints
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER endpoints_version AFTER INSERT OR UPDATE OR DELETE ON catalog.endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('prices');
