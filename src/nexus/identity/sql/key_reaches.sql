-- identity.key_reaches: which providers, models, endpoints, MCP servers and tools an access key may use through the gateway; no row: all.
-- requires: identity.access_keys
CREATE TABLE identity.key_reaches (
    organization_id  uuid         NOT NULL,
    key_id           uuid         NOT NULL,
    providers        text[],
    models           text[],
    endpoints        text[],
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    mcp_servers      text[],
    mcp_tools        text[],
    PRIMARY KEY (organization_id, key_id),
    CONSTRAINT key_reaches_key FOREIGN KEY (organization_id, key_id)
        REFERENCES identity.access_keys (organization_id, id) ON DELETE CASCADE
);
ALTER TABLE identity.key_reaches ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.key_reaches FORCE ROW LEVEL SECURITY;
CREATE POLICY key_reaches_tenant ON identity.key_reaches TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY key_reaches_system ON identity.key_reaches TO nexus_system USING (true);
GRANT SELECT, INSERT, DELETE, UPDATE (providers, models, endpoints, updated_at, mcp_servers, mcp_tools) ON identity.key_reaches TO nexus_service;
GRANT SELECT ON identity.key_reaches TO nexus_readonly, nexus_system;
CREATE TRIGGER key_reaches_audit AFTER INSERT OR UPDATE OR DELETE ON identity.key_reaches
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER key_reaches_version AFTER INSERT OR UPDATE OR DELETE ON identity.key_reaches
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');
