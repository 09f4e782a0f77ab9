-- admission.operation_types: what operations cost: c_base + size / unit_quantum * c_bw. Rows without an organization are shipped.
-- requires: identity.organizations, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE admission.operation_types (
    id               uuid           PRIMARY KEY,
    organization_id  uuid,
    name             text           NOT NULL CONSTRAINT operation_types_name_form CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    category         text           NOT NULL CONSTRAINT operation_types_category_length CHECK (length(category) BETWEEN 1 AND 100),
    c_base           numeric(10,4)  NOT NULL DEFAULT 0 CONSTRAINT operation_types_base CHECK (c_base >= 0),
    unit_quantum     bigint         NOT NULL DEFAULT 1 CONSTRAINT operation_types_quantum CHECK (unit_quantum BETWEEN 1 AND 1099511627776),
    c_bw             numeric(10,4)  NOT NULL DEFAULT 0 CONSTRAINT operation_types_bandwidth CHECK (c_bw >= 0),
    -- Begun quanta count as whole ones; otherwise the charge is exact.
    whole_quanta     boolean        NOT NULL DEFAULT false,
    description      text           NOT NULL DEFAULT '' CONSTRAINT operation_types_description_length CHECK (length(description) <= 1000),
    is_active        boolean        NOT NULL DEFAULT true,
    created_at       timestamptz    NOT NULL DEFAULT now(),
    CONSTRAINT operation_types_name_unique UNIQUE NULLS NOT DISTINCT (organization_id, name)
);
ALTER TABLE admission.operation_types ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.operation_types FORCE ROW LEVEL SECURITY;
CREATE POLICY operation_types_shared ON admission.operation_types FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY operation_types_tenant ON admission.operation_types TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY operation_types_system ON admission.operation_types FOR SELECT TO nexus_system USING (true);
CREATE POLICY operation_types_owner ON admission.operation_types TO nexus_owner USING (organization_id IS NULL);
GRANT SELECT, INSERT, UPDATE ON admission.operation_types TO nexus_service;
GRANT SELECT ON admission.operation_types TO nexus_readonly, nexus_system;
INSERT INTO admission.operation_types (id, name, category, c_base, unit_quantum, c_bw, description) VALUES
    ('00000000-0000-8000-8000-000000000101', 'read_small', 'read', 1.0, 4096, 0.0001, 'reads of up to 4 KiB'),
    ('00000000-0000-8000-8000-000000000102', 'read_medium', 'read', 2.0, 65536, 0.0001, 'reads of up to 64 KiB'),
    ('00000000-0000-8000-8000-000000000103', 'read_large', 'read', 5.0, 1048576, 0.0001, 'reads of up to 1 MiB'),
    ('00000000-0000-8000-8000-000000000104', 'write_small', 'write', 2.0, 4096, 0.0002, 'writes of up to 4 KiB'),
    ('00000000-0000-8000-8000-000000000105', 'write_medium', 'write', 4.0, 65536, 0.0002, 'writes of up to 64 KiB'),
    ('00000000-0000-8000-8000-000000000106', 'write_large', 'write', 10.0, 1048576, 0.0002, 'writes of up to 1 MiB'),
    ('00000000-0000-8000-8000-000000000107', 'list', 'metadata', 3.0, 1, 0, 'listing objects'),
    ('00000000-0000-8000-8000-000000000108', 'head', 'metadata', 1.0, 1, 0, 'asking for an object''s metadata'),
    ('00000000-0000-8000-8000-000000000109', 'delete', 'metadata', 5.0, 1, 0, 'deleting an object');
CREATE TRIGGER operation_types_audit AFTER INSERT OR UPDATE OR DELETE ON admission.operation_types
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER operation_types_version AFTER INSERT OR UPDATE OR DELETE ON admission.operation_types
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
