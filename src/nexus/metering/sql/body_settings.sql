-- metering.body_settings: what an organization wants kept of the bodies of its gateway calls; no row: nothing.
-- requires: identity.organizations, platform.current_organization_id, platform.audit_row_v1, platform.bump_snapshot_v1
-- `masks` names what is masked beside secrets, which always are. `purged_at` hides all bodies of calls made before it,
-- until the worker has deleted them.
CREATE TABLE metering.body_settings (
    organization_id  uuid              PRIMARY KEY REFERENCES identity.organizations (id) ON DELETE CASCADE,
    is_on            boolean           NOT NULL DEFAULT false,
    share            double precision  NOT NULL DEFAULT 1
                                       CONSTRAINT body_settings_share CHECK (share > 0 AND share <= 1),
    max_body_bytes   integer           NOT NULL DEFAULT 65536
                                       CONSTRAINT body_settings_max_body_bytes CHECK (max_body_bytes BETWEEN 1024 AND 1048576),
    keep_days        integer           NOT NULL DEFAULT 7
                                       CONSTRAINT body_settings_keep_days CHECK (keep_days BETWEEN 1 AND 90),
    only_failed      boolean           NOT NULL DEFAULT false,
    providers        text[]            CONSTRAINT body_settings_providers CHECK (cardinality(providers) BETWEEN 1 AND 100),
    masks            text[]            NOT NULL DEFAULT '{email,phone,card,iban,ip}'
                                       CONSTRAINT body_settings_masks CHECK (masks <@ '{email,phone,card,iban,ip}'),
    fields           text[]            NOT NULL DEFAULT '{}'
                                       CONSTRAINT body_settings_fields CHECK (cardinality(fields) <= 100),
    words            text[]            NOT NULL DEFAULT '{}'
                                       CONSTRAINT body_settings_words CHECK (cardinality(words) <= 100),
    on_since         timestamptz,
    changed_at       timestamptz       NOT NULL DEFAULT now(),
    purged_at        timestamptz
);
ALTER TABLE metering.body_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.body_settings FORCE ROW LEVEL SECURITY;
CREATE POLICY body_settings_tenant ON metering.body_settings TO nexus_service
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY body_settings_system ON metering.body_settings FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON metering.body_settings TO nexus_service;
GRANT SELECT ON metering.body_settings TO nexus_system;
-- What is to be masked is nothing to be read in a log.
CREATE TRIGGER body_settings_audit AFTER INSERT OR UPDATE OR DELETE ON metering.body_settings
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('words');
CREATE TRIGGER body_settings_version AFTER INSERT OR UPDATE OR DELETE ON metering.body_settings
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');
