-- catalog.prices: what a subject costs from one instant to another. The database refuses two at one time.
-- requires: catalog.providers, catalog.imports, catalog.uuid_range
-- The subject is a provider's model or endpoint for one tier, region, currency, service variant and window of the day, of one
-- organization or shared by all. A corrected price supersedes the wrong one, which stays to be seen.
CREATE TABLE catalog.prices (
    id               uuid         PRIMARY KEY,
    organization_id  uuid,
    provider         text         NOT NULL,
    model            text,
    endpoint         text,
    method           text         CONSTRAINT prices_method CHECK (method ~ '^[A-Z]{1,10}$'),
    tier             text         NOT NULL DEFAULT 'standard'
                                  CONSTRAINT prices_tier CHECK (tier IN ('standard', 'enterprise', 'academic')),
    region           text         NOT NULL DEFAULT '',
    currency         text         NOT NULL DEFAULT 'USD' CONSTRAINT prices_currency CHECK (currency ~ '^[A-Z]{3}$'),
    variant          jsonb        NOT NULL DEFAULT '{}',
    position         integer      NOT NULL DEFAULT 0,
    daily_from       time,
    daily_to         time,
    validity         tstzrange    NOT NULL DEFAULT tstzrange(NULL, NULL),
    source           text         NOT NULL DEFAULT 'user',
    import_id        uuid,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    superseded_at    timestamptz,
    subject_id       uuid         NOT NULL GENERATED ALWAYS AS (md5(
        coalesce(organization_id::text, '') || chr(31) || provider || chr(31) || coalesce(model, '') || chr(31)
        || coalesce(endpoint, '') || chr(31) || coalesce(method, '') || chr(31) || tier || chr(31) || region || chr(31)
        || currency || chr(31) || variant::text || chr(31)
        -- Variants stand in an order; the first that names a unit decides, so several may hold at one time.
        || CASE WHEN variant = '{}' THEN '' ELSE position::text END || chr(31)
        || coalesce(extract(epoch FROM daily_from)::text, '') || chr(31) || coalesce(extract(epoch FROM daily_to)::text, '')
    )::uuid) STORED,
    -- What the components of an organization's price refer to: row-level security does not look at foreign keys.
    CONSTRAINT prices_organization_id_id UNIQUE (organization_id, id),
    CONSTRAINT prices_one_subject CHECK ((model IS NULL) <> (endpoint IS NULL)),
    CONSTRAINT prices_window CHECK ((daily_from IS NULL) = (daily_to IS NULL)),
    CONSTRAINT prices_validity_some CHECK (NOT isempty(validity)),
    CONSTRAINT prices_no_overlap EXCLUDE USING gist (
        catalog.uuid_range(subject_id, subject_id, '[]') WITH &&, validity WITH &&
    ) WHERE (superseded_at IS NULL)
);
-- Answers the list of a provider's prices.
CREATE INDEX prices_provider_model_idx ON catalog.prices (provider, model);
ALTER TABLE catalog.prices ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.prices FORCE ROW LEVEL SECURITY;
CREATE POLICY prices_shared ON catalog.prices FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY prices_tenant ON catalog.prices TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY prices_system ON catalog.prices TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE (validity, superseded_at) ON catalog.prices TO nexus_service, nexus_system;
GRANT SELECT ON catalog.prices TO nexus_readonly;
CREATE TRIGGER prices_audit AFTER UPDATE OR DELETE ON catalog.prices
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER prices_audit_new AFTER INSERT ON catalog.prices
    FOR EACH ROW WHEN (NEW.import_id IS NULL) EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER prices_version AFTER INSERT OR UPDATE OR DELETE ON catalog.prices
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('prices');
