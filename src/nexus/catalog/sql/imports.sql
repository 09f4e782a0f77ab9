-- catalog.imports: each import of a price list: from where, of which content, and what it did.
CREATE TABLE catalog.imports (
    id           uuid         PRIMARY KEY,
    source       text         NOT NULL,
    digest       text         NOT NULL,
    imported_at  timestamptz  NOT NULL DEFAULT now(),
    imported_by  text         NOT NULL DEFAULT '',
    summary      jsonb        NOT NULL DEFAULT '{}'
);
GRANT SELECT ON catalog.imports TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON catalog.imports TO nexus_system;
