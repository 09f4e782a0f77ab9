-- metrics.totals: what all points of a series come to, and its newest value. Only folding writes it.
-- requires: platform.current_organization_id
CREATE TABLE metrics.totals (
    organization_id  uuid         NOT NULL,
    series_id        uuid         NOT NULL,
    layout           uuid         NOT NULL,
    -- How many points; changes of what later points count are none.
    points           bigint       NOT NULL,
    -- Sum of a gauge's values, of a histogram's or summary's; what a counter added. NULL: not told.
    sum              float8,
    -- Values of a histogram or summary.
    count            bigint       NOT NULL,
    min              float8,
    max              float8,
    -- The newest value, and when it was.
    last             float8,
    last_at          timestamptz  NOT NULL,
    -- A distribution as kit.histograms writes it.
    bins             bytea,
    PRIMARY KEY (organization_id, series_id, layout)
) WITH (fillfactor = 80);

ALTER TABLE metrics.totals ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics.totals FORCE ROW LEVEL SECURITY;
CREATE POLICY totals_tenant ON metrics.totals FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY totals_system ON metrics.totals TO nexus_system USING (true);
GRANT SELECT ON metrics.totals TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metrics.totals TO nexus_system;
