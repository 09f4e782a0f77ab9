-- admission.shared_capacities: capacity that several organizations share, such as a storage cluster or an account at a provider.
-- requires: platform.audit_row_v1, platform.bump_snapshot_v1, admission.check_capacity_v1
-- It belongs to the installation, not to an organization: whoever configures the system changes it, through nexus_system.
CREATE TABLE admission.shared_capacities (
    id             uuid         PRIMARY KEY,
    name           text         NOT NULL CONSTRAINT shared_capacities_name_form CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    dimension      text         NOT NULL CONSTRAINT shared_capacities_dimension
                                CHECK (dimension IN ('requests', 'operations', 'bytes', 'tokens')),
    scope          text         NOT NULL CONSTRAINT shared_capacities_scope
                                CHECK (scope IN ('organization', 'cluster', 'provider', 'model', 'endpoint')),
    subject        text         CONSTRAINT shared_capacities_subject_length CHECK (length(subject) BETWEEN 1 AND 500),
    -- Units an hour, so that shares of a rate are whole numbers whose sum is exact; micro-operations, bytes and so on.
    rate           bigint       NOT NULL CONSTRAINT shared_capacities_rate CHECK (rate BETWEEN 1 AND 4503599627370496),
    burst          bigint       NOT NULL CONSTRAINT shared_capacities_burst CHECK (burst BETWEEN 1 AND 4503599627370496),
    -- How people write its rates.
    per            text         NOT NULL CONSTRAINT shared_capacities_per CHECK (per IN ('second', 'minute', 'hour')),
    failure        text         NOT NULL CONSTRAINT shared_capacities_failure CHECK (failure IN ('closed', 'local')),
    -- What all grants together may come to: more than there is by now only until what was granted before has been given back.
    ceiling_rate   bigint       NOT NULL,
    ceiling_burst  bigint       NOT NULL,
    created_at     timestamptz  NOT NULL DEFAULT now(),
    updated_at     timestamptz  NOT NULL DEFAULT now(),
    -- It is no limit any more, and goes when all that was granted of it has been given back.
    removed_at     timestamptz,
    CONSTRAINT shared_capacities_subject_sense CHECK ((scope = 'organization') = (subject IS NULL)),
    CONSTRAINT shared_capacities_ceiling CHECK (ceiling_rate >= rate AND ceiling_burst >= burst)
);
CREATE UNIQUE INDEX shared_capacities_name_key ON admission.shared_capacities (name) WHERE removed_at IS NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON admission.shared_capacities TO nexus_system;
CREATE TRIGGER shared_capacities_audit AFTER INSERT OR UPDATE OR DELETE ON admission.shared_capacities
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER shared_capacities_check AFTER UPDATE OF rate, ceiling_rate, ceiling_burst ON admission.shared_capacities
    FOR EACH ROW EXECUTE FUNCTION admission.check_capacity_v1();
CREATE TRIGGER shared_capacities_version AFTER INSERT OR UPDATE OR DELETE ON admission.shared_capacities
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
