-- costs.exchange_rates: what one unit of a currency is in another, by day, as somebody published it. None is invented.
-- requires: platform.current_organization_id, platform.bump_snapshot_v1
-- Rows without an organization are shared by all; an organization's own stand before them. Thousands come in one import, which the
-- audit log holds as one line.
CREATE TABLE costs.exchange_rates (
    organization_id  uuid,
    base             text            NOT NULL CONSTRAINT exchange_rates_base CHECK (base ~ '^[A-Z]{3}$'),
    quote            text            NOT NULL CONSTRAINT exchange_rates_quote CHECK (quote ~ '^[A-Z]{3}$'),
    rated_on         date            NOT NULL,
    -- Units of quote for one of base.
    rate             numeric(24,12)  NOT NULL CONSTRAINT exchange_rates_rate_positive CHECK (rate > 0),
    source           text            NOT NULL CONSTRAINT exchange_rates_source_length CHECK (length(source) BETWEEN 1 AND 200),
    imported_at      timestamptz     NOT NULL DEFAULT now(),
    imported_by      text            NOT NULL,
    CONSTRAINT exchange_rates_one UNIQUE NULLS NOT DISTINCT (organization_id, base, quote, rated_on),
    CONSTRAINT exchange_rates_different CHECK (base <> quote)
);
ALTER TABLE costs.exchange_rates ENABLE ROW LEVEL SECURITY;
ALTER TABLE costs.exchange_rates FORCE ROW LEVEL SECURITY;
CREATE POLICY exchange_rates_shared ON costs.exchange_rates FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY exchange_rates_tenant ON costs.exchange_rates TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY exchange_rates_system ON costs.exchange_rates TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON costs.exchange_rates TO nexus_service, nexus_system;
GRANT SELECT ON costs.exchange_rates TO nexus_readonly;
CREATE TRIGGER exchange_rates_limits AFTER INSERT OR UPDATE OR DELETE ON costs.exchange_rates
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');
