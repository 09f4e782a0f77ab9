-- catalog.price_components: the amounts of a price, by unit and context tier. They are never changed: a new price is made.
-- requires: catalog.prices
CREATE TABLE catalog.price_components (
    price_id         uuid            NOT NULL REFERENCES catalog.prices (id) ON DELETE CASCADE,
    organization_id  uuid,
    unit             text            NOT NULL CONSTRAINT price_components_unit CHECK (unit ~ '^[a-z0-9_]{1,64}$'),
    context_above    bigint          NOT NULL DEFAULT 0 CONSTRAINT price_components_context CHECK (context_above >= 0),
    amount           numeric(30,15)  NOT NULL CONSTRAINT price_components_amount CHECK (amount >= 0),
    per              bigint          NOT NULL CONSTRAINT price_components_per CHECK (per > 0),
    PRIMARY KEY (price_id, unit, context_above),
    -- A component belongs to a price of its own organization; else a tenant could add to what all are charged by.
    CONSTRAINT price_components_price FOREIGN KEY (organization_id, price_id)
        REFERENCES catalog.prices (organization_id, id) ON DELETE CASCADE
);
ALTER TABLE catalog.price_components ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.price_components FORCE ROW LEVEL SECURITY;
CREATE POLICY price_components_shared ON catalog.price_components FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY price_components_tenant ON catalog.price_components TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY price_components_system ON catalog.price_components TO nexus_system USING (true);
GRANT SELECT, INSERT ON catalog.price_components TO nexus_service, nexus_system;
GRANT SELECT ON catalog.price_components TO nexus_readonly;
