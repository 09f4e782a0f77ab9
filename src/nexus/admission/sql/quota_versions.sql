-- admission.quota_versions: the limits of a quota from one instant to another, with who said so and why.
-- requires: admission.quotas, admission.uuid_range, platform.bump_snapshot_v1
-- Never changed but for their end, when a later version takes over: an empty validity is one that never came into force.
-- The database refuses two of one quota at one time, without btree_gist.
CREATE TABLE admission.quota_versions (
    organization_id   uuid         NOT NULL,
    id                uuid         NOT NULL,
    quota_id          uuid         NOT NULL,
    version           integer      NOT NULL CONSTRAINT quota_versions_number CHECK (version > 0),
    validity          tstzrange    NOT NULL CONSTRAINT quota_versions_validity_closed
                                   CHECK (isempty(validity) OR (lower_inc(validity) AND NOT lower_inf(validity) AND NOT upper_inc(validity))),
    limits            jsonb        NOT NULL CONSTRAINT quota_versions_limits_list CHECK (jsonb_typeof(limits) = 'array'),
    reason            text         NOT NULL CONSTRAINT quota_versions_reason_length CHECK (length(reason) BETWEEN 1 AND 1000),
    author            text         NOT NULL,
    rolled_back_to    integer,
    created_at        timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT quota_versions_number_unique UNIQUE (organization_id, quota_id, version),
    CONSTRAINT quota_versions_quota_fkey FOREIGN KEY (organization_id, quota_id) REFERENCES admission.quotas (organization_id, id),
    CONSTRAINT quota_versions_no_overlap EXCLUDE USING gist (
        admission.uuid_range(quota_id, quota_id, '[]') WITH &&, validity WITH &&
    )
);
ALTER TABLE admission.quota_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.quota_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY quota_versions_tenant ON admission.quota_versions TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY quota_versions_system ON admission.quota_versions FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE (validity) ON admission.quota_versions TO nexus_service;
GRANT SELECT ON admission.quota_versions TO nexus_readonly, nexus_system;
CREATE TRIGGER quota_versions_audit AFTER INSERT OR UPDATE OR DELETE ON admission.quota_versions
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER quota_versions_version AFTER INSERT OR UPDATE OR DELETE ON admission.quota_versions
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
