CREATE SCHEMA platform;
GRANT USAGE ON SCHEMA platform TO nexus_service;
GRANT USAGE ON SCHEMA platform TO nexus_writer;
GRANT USAGE ON SCHEMA platform TO nexus_system;
GRANT USAGE ON SCHEMA platform TO nexus_readonly;
GRANT USAGE ON SCHEMA platform TO nexus_backup;
GRANT CREATE ON SCHEMA platform TO nexus_system;

-- platform.current_organization_id: the organization of the transaction, NULL when none is set.
-- After a transaction with SET LOCAL the setting is the empty string, which does not cast: hence NULLIF.
CREATE FUNCTION platform.current_organization_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.organization_id', true), '')::uuid $$;
REVOKE ALL ON FUNCTION platform.current_organization_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.current_organization_id()
    TO nexus_service, nexus_writer, nexus_system, nexus_readonly, nexus_backup;

-- platform.snapshot_versions: a number per compiled snapshot, raised in the transaction that changes what it is made of.
-- The data plane polls it each half second and swaps the snapshot in whole; no tenant's data is in it.
CREATE TABLE platform.snapshot_versions (
    name        text         PRIMARY KEY,
    version     bigint       NOT NULL DEFAULT 1,
    changed_at  timestamptz  NOT NULL DEFAULT now()
);
GRANT SELECT ON platform.snapshot_versions TO nexus_service, nexus_writer, nexus_system, nexus_readonly;
GRANT INSERT, UPDATE ON platform.snapshot_versions TO nexus_system;
INSERT INTO platform.snapshot_versions (name) VALUES ('keys'), ('prices'), ('configuration');

-- platform.writer_organization_ids: the organizations whose records the transaction may store; empty when none is set.
CREATE FUNCTION platform.writer_organization_ids() RETURNS uuid[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT string_to_array(NULLIF(current_setting('app.organization_ids', true), ''), ',')::uuid[] $$;
REVOKE ALL ON FUNCTION platform.writer_organization_ids() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.writer_organization_ids() TO nexus_writer, nexus_system;

-- platform.partitioned_tables: which tables are cut by time, how wide, how far ahead and how long they are kept.
-- requires: platform.current_organization_id
-- `keep_days` NULL keeps for ever; system configuration may say otherwise.
CREATE TABLE platform.partitioned_tables (
    table_name     text      PRIMARY KEY,
    width          text      NOT NULL CONSTRAINT partitioned_tables_width CHECK (width IN ('day', 'month')),
    months_ahead   smallint  NOT NULL DEFAULT 3 CONSTRAINT partitioned_tables_ahead CHECK (months_ahead BETWEEN 0 AND 24),
    keep_days      integer   CONSTRAINT partitioned_tables_keep CHECK (keep_days > 0)
);
GRANT SELECT ON platform.partitioned_tables TO nexus_service, nexus_writer, nexus_system;

-- platform.bump_snapshot_v1: statement trigger that raises the version of the snapshot named in its argument.
-- requires: platform.snapshot_versions
-- The row stays locked until the change commits, so versions become visible in the order of commits.
CREATE FUNCTION platform.bump_snapshot_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO platform.snapshot_versions AS s (name) VALUES (TG_ARGV[0])
    ON CONFLICT (name) DO UPDATE SET version = s.version + 1, changed_at = now();
    RETURN NULL;
END
$$;
ALTER FUNCTION platform.bump_snapshot_v1() OWNER TO nexus_system;
REVOKE ALL ON FUNCTION platform.bump_snapshot_v1() FROM PUBLIC;

-- platform.drop_partitions_v1: drops the partitions of a table that end at or before an instant.
-- requires: platform.partitioned_tables
-- Owned by nexus_owner, who alone can drop, and whom forced row-level security shows no rows: so it does not count them.
-- It returns the names and the planner's estimates; whoever calls it counts first, as nexus_system.
CREATE FUNCTION platform.drop_partitions_v1(parent text, before timestamptz)
    RETURNS TABLE (partition_name text, estimated_rows bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    known platform.partitioned_tables%ROWTYPE;
    item  record;
    low   timestamptz;
BEGIN
    SELECT * INTO known FROM platform.partitioned_tables AS t WHERE t.table_name = parent;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no partitioned table is named %', parent USING ERRCODE = 'undefined_table';
    END IF;
    IF before > now() - interval '1 day' THEN
        RAISE EXCEPTION 'only what is older than a day may be dropped, not what is before %', before
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.partition.' || parent, 0));
    FOR item IN
        SELECT n.nspname, c.relname, greatest(c.reltuples, 0)::bigint AS estimate,
               substring(c.relname FROM '_([0-9]{6,8})$') AS stamp
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE i.inhparent = to_regclass(parent)
        ORDER BY c.relname
    LOOP
        low := to_timestamp(item.stamp, CASE known.width WHEN 'day' THEN 'YYYYMMDD' ELSE 'YYYYMM' END);
        IF low + ('1 ' || known.width)::interval <= before THEN
            EXECUTE format('DROP TABLE %I.%I', item.nspname, item.relname);
            partition_name := item.nspname || '.' || item.relname;
            estimated_rows := item.estimate;
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION platform.drop_partitions_v1(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.drop_partitions_v1(text, timestamptz) TO nexus_system;

-- platform.ensure_partition_v1: makes the partition that holds an instant, if it is missing; tells whether it made one.
-- requires: platform.partitioned_tables
-- Owned by nexus_owner, the one exception among definer functions: only the owner of a table can attach to it. It takes
-- no name from its caller but one registered in platform.partitioned_tables, and nothing is granted on what it makes.
-- Two nodes at once: the second waits for the first's advisory lock and then finds the partition.
CREATE FUNCTION platform.ensure_partition_v1(parent text, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    known       platform.partitioned_tables%ROWTYPE;
    low         timestamptz;
    high        timestamptz;
    name        text;
    schema_name text := split_part(parent, '.', 1);
BEGIN
    SELECT * INTO known FROM platform.partitioned_tables AS t WHERE t.table_name = parent;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no partitioned table is named %', parent USING ERRCODE = 'undefined_table';
    END IF;
    IF at < timestamptz '1970-01-01 00:00:00+00' OR at > now() + interval '25 months' THEN
        RAISE EXCEPTION 'no partition of % may hold %', parent, at USING ERRCODE = 'datetime_field_overflow';
    END IF;
    low := date_trunc(known.width, at);
    high := low + ('1 ' || known.width)::interval;
    name := split_part(parent, '.', 2) || '_' || to_char(low, CASE known.width WHEN 'day' THEN 'YYYYMMDD' ELSE 'YYYYMM' END);
    IF to_regclass(format('%I.%I', schema_name, name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.partition.' || parent, 0));
    -- Read from the catalog with a new snapshot: the name cache may still hold that there was none.
    IF EXISTS (
        SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = schema_name AND c.relname = name
    ) THEN
        RETURN false;
    END IF;
    -- Made apart and attached: readers and writers of the parent are not held up.
    EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING GENERATED)',
                   schema_name, name, schema_name, split_part(parent, '.', 2));
    EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                   schema_name, split_part(parent, '.', 2), schema_name, name, low, high);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION platform.ensure_partition_v1(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.ensure_partition_v1(text, timestamptz) TO nexus_writer, nexus_system;

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

-- platform.ensure_partitions_v1: makes the partitions of this month and of those ahead, for every registered table.
-- requires: platform.ensure_partition_v1
-- Returns how many it made. A partition per day is made for two weeks ahead at most.
CREATE FUNCTION platform.ensure_partitions_v1() RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    made integer := 0;
    item record;
BEGIN
    FOR item IN
        SELECT t.table_name, step AS at
        FROM platform.partitioned_tables AS t,
             LATERAL generate_series(
                 now(),
                 CASE t.width WHEN 'month' THEN now() + make_interval(months => t.months_ahead) ELSE now() + interval '14 days' END,
                 ('1 ' || t.width)::interval
             ) AS step
        ORDER BY t.table_name, step
    LOOP
        IF platform.ensure_partition_v1(item.table_name, item.at) THEN
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION platform.ensure_partitions_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.ensure_partitions_v1() TO nexus_system;

-- platform.audit_row_v1: row trigger that writes old and new row to the audit log; its arguments name masked columns.
-- requires: platform.audit_log
-- Only changed columns are kept of an update (with the key), so that the log tells what was done. Masked columns show that they changed, not what to.
-- A missing partition is made on the spot: an audited change must never fail for want of one, nor go unaudited.
CREATE FUNCTION platform.audit_row_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    whole   jsonb := coalesce(new_row, old_row);
    masked  text;
    before  jsonb;
    after   jsonb;
BEGIN
    IF TG_OP = 'UPDATE' AND old_row = new_row THEN
        RETURN NULL;
    END IF;
    before := old_row;
    after := new_row;
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, n.value) INTO before, after
        FROM jsonb_each(old_row) AS o JOIN jsonb_each(new_row) AS n ON n.key = o.key
        WHERE o.value IS DISTINCT FROM n.value;
    END IF;
    FOREACH masked IN ARRAY coalesce(TG_ARGV, '{}') LOOP
        IF before -> masked IS NOT NULL AND before -> masked <> 'null' THEN
            before := jsonb_set(before, ARRAY[masked], '"[masked]"');
        END IF;
        IF after -> masked IS NOT NULL AND after -> masked <> 'null' THEN
            after := jsonb_set(after, ARRAY[masked], '"[masked]"');
        END IF;
    END LOOP;
    PERFORM platform.ensure_partition_v1('platform.audit_log', clock_timestamp());
    INSERT INTO platform.audit_log (
        organization_id, table_name, action, row_id, old_row, new_row,
        actor_user_id, actor_key_id, actor_label, ip_address, user_agent, request_id
    ) VALUES (
        CASE WHEN TG_TABLE_SCHEMA = 'identity' AND TG_TABLE_NAME = 'organizations' THEN (whole ->> 'id')::uuid
             ELSE coalesce((whole ->> 'organization_id')::uuid,
                           NULLIF(current_setting('app.organization_id', true), '')::uuid) END,
        TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME,
        lower(TG_OP),
        coalesce(whole ->> 'id', whole ->> 'key', whole ->> 'user_id', whole ->> 'name'),
        before,
        after,
        NULLIF(current_setting('app.actor_user_id', true), '')::uuid,
        NULLIF(current_setting('app.actor_key_id', true), '')::uuid,
        coalesce(NULLIF(current_setting('app.actor_label', true), ''), session_user),
        NULLIF(current_setting('app.actor_ip', true), ''),
        NULLIF(current_setting('app.actor_user_agent', true), ''),
        NULLIF(current_setting('app.request_id', true), '')
    );
    RETURN NULL;
END
$$;
ALTER FUNCTION platform.audit_row_v1() OWNER TO nexus_system;
REVOKE ALL ON FUNCTION platform.audit_row_v1() FROM PUBLIC;

-- platform.record_action_v1: writes an action that changes no row (a sign-in, an export) to the audit log.
-- requires: platform.audit_log, platform.current_organization_id
-- The organization is the transaction's own; a caller cannot write into another's log.
CREATE FUNCTION platform.record_action_v1(action text, row_id text, detail jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM platform.ensure_partition_v1('platform.audit_log', clock_timestamp());
    INSERT INTO platform.audit_log (
        organization_id, action, row_id, new_row,
        actor_user_id, actor_key_id, actor_label, ip_address, user_agent, request_id
    ) VALUES (
        platform.current_organization_id(), action, row_id, detail,
        NULLIF(current_setting('app.actor_user_id', true), '')::uuid,
        NULLIF(current_setting('app.actor_key_id', true), '')::uuid,
        coalesce(NULLIF(current_setting('app.actor_label', true), ''), session_user),
        NULLIF(current_setting('app.actor_ip', true), ''),
        NULLIF(current_setting('app.actor_user_agent', true), ''),
        NULLIF(current_setting('app.request_id', true), '')
    );
END
$$;
ALTER FUNCTION platform.record_action_v1(text, text, jsonb) OWNER TO nexus_system;
REVOKE ALL ON FUNCTION platform.record_action_v1(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.record_action_v1(text, text, jsonb) TO nexus_service, nexus_system;

-- platform.configuration: the system configuration that differs from the defaults; types and defaults are in code.
-- requires: platform.audit_row_v1, platform.bump_snapshot_v1
-- It holds for the installation, so it belongs to no organization; only system administrators change it, through nexus_system.
CREATE TABLE platform.configuration (
    key         text         PRIMARY KEY,
    value       jsonb        NOT NULL,
    updated_at  timestamptz  NOT NULL DEFAULT now(),
    updated_by  text         NOT NULL DEFAULT ''
);
GRANT SELECT ON platform.configuration TO nexus_service, nexus_writer, nexus_system;
GRANT INSERT, UPDATE, DELETE ON platform.configuration TO nexus_system;
CREATE TRIGGER configuration_audit AFTER INSERT OR UPDATE OR DELETE ON platform.configuration
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER configuration_version AFTER INSERT OR UPDATE OR DELETE ON platform.configuration
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('configuration');

REVOKE CREATE ON SCHEMA platform FROM nexus_system;
