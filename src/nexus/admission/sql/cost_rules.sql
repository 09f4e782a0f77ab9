-- admission.cost_rules: what an operation costs one application, for a time. The database refuses two at one time.
-- requires: admission.applications, admission.operation_types, admission.uuid_range
CREATE TABLE admission.cost_rules (
    organization_id  uuid           NOT NULL,
    id               uuid           NOT NULL,
    application_id   uuid           NOT NULL,
    operation        text           NOT NULL,
    c_base           numeric(10,4)  CONSTRAINT cost_rules_base CHECK (c_base >= 0),
    c_bw             numeric(10,4)  CONSTRAINT cost_rules_bandwidth CHECK (c_bw >= 0),
    validity         tstzrange      NOT NULL CONSTRAINT cost_rules_validity_some CHECK (NOT isempty(validity)),
    created_at       timestamptz    NOT NULL DEFAULT now(),
    subject_id       uuid           NOT NULL GENERATED ALWAYS AS (
        md5(organization_id::text || chr(31) || application_id::text || chr(31) || operation)::uuid) STORED,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT cost_rules_something CHECK (c_base IS NOT NULL OR c_bw IS NOT NULL),
    CONSTRAINT cost_rules_application_fkey FOREIGN KEY (organization_id, application_id)
        REFERENCES admission.applications (organization_id, id),
    CONSTRAINT cost_rules_no_overlap EXCLUDE USING gist (
        admission.uuid_range(subject_id, subject_id, '[]') WITH &&, validity WITH &&
    )
);
ALTER TABLE admission.cost_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.cost_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY cost_rules_tenant ON admission.cost_rules TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY cost_rules_system ON admission.cost_rules FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE (validity) ON admission.cost_rules TO nexus_service;
GRANT SELECT ON admission.cost_rules TO nexus_readonly, nexus_system;
CREATE TRIGGER cost_rules_audit AFTER INSERT OR UPDATE OR DELETE ON admission.cost_rules
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER cost_rules_version AFTER INSERT OR UPDATE OR DELETE ON admission.cost_rules
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
