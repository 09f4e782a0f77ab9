-- catalog.price_conflicts: where an import said another price than one in force from another source. Listed, never applied.
-- requires: catalog.prices
CREATE TABLE catalog.price_conflicts (
    id             uuid         PRIMARY KEY,
    price_id       uuid         NOT NULL REFERENCES catalog.prices (id) ON DELETE CASCADE,
    source         text         NOT NULL,
    import_id      uuid         NOT NULL REFERENCES catalog.imports (id),
    proposed       jsonb        NOT NULL,
    proposed_hash  text         NOT NULL,
    resolution     text         CONSTRAINT price_conflicts_resolution CHECK (resolution IN ('kept', 'taken')),
    resolved_at    timestamptz,
    resolved_by    text,
    created_at     timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT price_conflicts_once UNIQUE (price_id, source, proposed_hash)
);
GRANT SELECT ON catalog.price_conflicts TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON catalog.price_conflicts TO nexus_system;
CREATE TRIGGER price_conflicts_audit AFTER UPDATE OR DELETE ON catalog.price_conflicts
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
