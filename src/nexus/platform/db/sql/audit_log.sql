-- platform.audit_log: every change of a sensitive row, with who made it and from where; append-only.
-- requires: platform.current_organization_id, platform.partitioned_tables, platform.ensure_partition_v1
-- Written by platform.audit_row_v1 (rows) and platform.record_action_v1 (actions); nobody may change or delete rows.
CREATE TABLE platform.audit_log (
    id               uuid         NOT NULL DEFAULT gen_random_uuid(),
    occurred_at      timestamptz  NOT NULL DEFAULT clock_timestamp(),
    organization_id  uuid,
    table_name       text,
    action           text         NOT NULL,
    row_id           text,
    old_row          jsonb,
    new_row          jsonb,
    actor_user_id    uuid,
    actor_key_id     uuid,
    actor_label      text         NOT NULL DEFAULT '',
    ip_address       text,
    user_agent       text,
    request_id       text,
    transaction_id   bigint       NOT NULL DEFAULT txid_current(),
    PRIMARY KEY (occurred_at, id)
) PARTITION BY RANGE (occurred_at);
-- Answers the audit search of one organization, newest first.
CREATE INDEX audit_log_organization_id_occurred_at_idx ON platform.audit_log (organization_id, occurred_at DESC, id);
-- Answers "what happened to this row".
CREATE INDEX audit_log_organization_id_row_id_idx ON platform.audit_log (organization_id, table_name, row_id);
ALTER TABLE platform.audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE platform.audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_log_tenant ON platform.audit_log FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY audit_log_system ON platform.audit_log FOR SELECT TO nexus_system USING (true);
CREATE POLICY audit_log_append ON platform.audit_log FOR INSERT TO nexus_system WITH CHECK (true);
GRANT SELECT ON platform.audit_log TO nexus_service, nexus_readonly, nexus_system;
GRANT INSERT ON platform.audit_log TO nexus_system;
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days)
VALUES ('platform.audit_log', 'month', 3, 365);
SELECT platform.ensure_partition_v1('platform.audit_log', now());
