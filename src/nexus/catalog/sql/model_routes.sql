-- catalog.model_routes: where a call of `/gw/v1` goes that names an alias: providers' models by priority, then by weight.
-- requires: platform.current_organization_id, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE catalog.model_routes (
    id               uuid         NOT NULL,
    organization_id  uuid         NOT NULL,
    alias            text         NOT NULL CONSTRAINT model_routes_alias_form CHECK (alias ~ '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$'),
    provider         text         NOT NULL
                                  CONSTRAINT model_routes_provider_form CHECK (provider ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    model            text         NOT NULL CONSTRAINT model_routes_model_length CHECK (length(model) BETWEEN 1 AND 200),
    priority         integer      NOT NULL DEFAULT 0 CONSTRAINT model_routes_priority CHECK (priority BETWEEN 0 AND 1000),
    weight           integer      NOT NULL DEFAULT 1 CONSTRAINT model_routes_weight CHECK (weight BETWEEN 0 AND 1000),
    created_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT model_routes_once UNIQUE (organization_id, alias, provider, model)
);
ALTER TABLE catalog.model_routes ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.model_routes FORCE ROW LEVEL SECURITY;
CREATE POLICY model_routes_tenant ON catalog.model_routes TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY model_routes_system ON catalog.model_routes TO nexus_system USING (true);
GRANT SELECT, INSERT, DELETE ON catalog.model_routes TO nexus_service;
GRANT UPDATE (alias, provider, model, priority, weight) ON catalog.model_routes TO nexus_service;
GRANT SELECT ON catalog.model_routes TO nexus_readonly, nexus_system;
CREATE TRIGGER model_routes_audit AFTER INSERT OR UPDATE OR DELETE ON catalog.model_routes
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER model_routes_version AFTER INSERT OR UPDATE OR DELETE ON catalog.model_routes
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');
