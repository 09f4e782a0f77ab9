CREATE SCHEMA admission;
GRANT USAGE ON SCHEMA admission TO nexus_service;
GRANT USAGE ON SCHEMA admission TO nexus_writer;
GRANT USAGE ON SCHEMA admission TO nexus_system;
GRANT USAGE ON SCHEMA admission TO nexus_readonly;
GRANT USAGE ON SCHEMA admission TO nexus_backup;
GRANT CREATE ON SCHEMA admission TO nexus_system;

CREATE SCHEMA catalog;
GRANT USAGE ON SCHEMA catalog TO nexus_service;
GRANT USAGE ON SCHEMA catalog TO nexus_writer;
GRANT USAGE ON SCHEMA catalog TO nexus_system;
GRANT USAGE ON SCHEMA catalog TO nexus_readonly;
GRANT USAGE ON SCHEMA catalog TO nexus_backup;
GRANT CREATE ON SCHEMA catalog TO nexus_system;

CREATE SCHEMA dashboards;
GRANT USAGE ON SCHEMA dashboards TO nexus_service;
GRANT USAGE ON SCHEMA dashboards TO nexus_writer;
GRANT USAGE ON SCHEMA dashboards TO nexus_system;
GRANT USAGE ON SCHEMA dashboards TO nexus_readonly;
GRANT USAGE ON SCHEMA dashboards TO nexus_backup;
GRANT CREATE ON SCHEMA dashboards TO nexus_system;

CREATE SCHEMA identity;
GRANT USAGE ON SCHEMA identity TO nexus_service;
GRANT USAGE ON SCHEMA identity TO nexus_writer;
GRANT USAGE ON SCHEMA identity TO nexus_system;
GRANT USAGE ON SCHEMA identity TO nexus_readonly;
GRANT USAGE ON SCHEMA identity TO nexus_backup;
GRANT CREATE ON SCHEMA identity TO nexus_system;

CREATE SCHEMA metering;
GRANT USAGE ON SCHEMA metering TO nexus_service;
GRANT USAGE ON SCHEMA metering TO nexus_writer;
GRANT USAGE ON SCHEMA metering TO nexus_system;
GRANT USAGE ON SCHEMA metering TO nexus_readonly;
GRANT USAGE ON SCHEMA metering TO nexus_backup;
GRANT CREATE ON SCHEMA metering TO nexus_system;

CREATE SCHEMA platform;
GRANT USAGE ON SCHEMA platform TO nexus_service;
GRANT USAGE ON SCHEMA platform TO nexus_writer;
GRANT USAGE ON SCHEMA platform TO nexus_system;
GRANT USAGE ON SCHEMA platform TO nexus_readonly;
GRANT USAGE ON SCHEMA platform TO nexus_backup;
GRANT CREATE ON SCHEMA platform TO nexus_system;

-- admission.uuid_range: ranges of uuid, so that an exclusion over (subject, validity) needs no extension.
-- A range [x, x] overlaps another only where the ids are equal; GiST has operators for ranges built in.
CREATE TYPE admission.uuid_range AS RANGE (subtype = uuid);

-- platform.current_organization_id: the organization of the transaction, NULL when none is set.
-- After a transaction with SET LOCAL the setting is the empty string, which does not cast: hence NULLIF.
CREATE FUNCTION platform.current_organization_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.organization_id', true), '')::uuid $$;
REVOKE ALL ON FUNCTION platform.current_organization_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.current_organization_id()
    TO nexus_service, nexus_writer, nexus_system, nexus_readonly, nexus_backup;

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

-- catalog.uuid_range: ranges of uuid, so that an exclusion over (subject, validity) needs no extension.
-- A range [x, x] overlaps another only where the ids are equal; GiST has operators for ranges built in.
CREATE TYPE catalog.uuid_range AS RANGE (subtype = uuid);

-- identity.narrowed_scopes_v1: what is left of a key's scopes when its owner may do no more than `held`; '*' is all.
CREATE FUNCTION identity.narrowed_scopes_v1(scopes text[], held text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE
        WHEN '*' = ANY (held) THEN scopes
        WHEN '*' = ANY (scopes) THEN held
        ELSE ARRAY(SELECT s FROM unnest(scopes) AS s WHERE s = ANY (held))
    END
$$;
REVOKE ALL ON FUNCTION identity.narrowed_scopes_v1(text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.narrowed_scopes_v1(text[], text[]) TO nexus_system;

-- identity.permissions: every `resource:action` there is. The same for all organizations.
CREATE TABLE identity.permissions (
    name         text  PRIMARY KEY CONSTRAINT permissions_form CHECK (name ~ '^[a-z_]+:[a-z_]+$'),
    description  text  NOT NULL
);
GRANT SELECT ON identity.permissions TO nexus_service, nexus_system, nexus_readonly;
INSERT INTO identity.permissions (name, description) VALUES
    ('organization:read', 'see the organization and its members'),
    ('organization:update', 'change the organization'),
    ('organization:create', 'make organizations'),
    ('user:read', 'see people'),
    ('user:create', 'make users'),
    ('user:update', 'change users of the organization'),
    ('member:manage', 'add, change and remove members, and invite'),
    ('role:read', 'see roles and permissions'),
    ('role:manage', 'make roles and grant them'),
    ('key:read', 'see access keys'),
    ('key:create', 'make access keys'),
    ('key:revoke', 'rotate and revoke access keys'),
    ('events:write', 'send records'),
    ('gateway:call', 'call providers through the gateway'),
    ('credential:read', 'see provider credentials, never their secrets'),
    ('credential:manage', 'add, change and remove provider credentials'),
    ('metrics:read', 'read figures and calls'),
    ('metrics:export', 'export figures and calls'),
    ('metering:reprice', 'price stored calls again'),
    ('bodies:read', 'read the bodies of calls, where they are kept'),
    ('bodies:manage', 'say which bodies of calls are kept, and delete them'),
    ('catalog:read', 'see providers, models and prices'),
    ('catalog:write', 'change providers, models and prices of the organization'),
    ('configuration:read', 'see the system configuration'),
    ('configuration:write', 'change the system configuration'),
    ('audit:read', 'search the audit log'),
    ('audit:export', 'export the audit log'),
    ('tenant:create', 'make tenants'), ('tenant:read', 'see tenants'),
    ('tenant:update', 'change tenants'), ('tenant:delete', 'delete tenants'),
    ('application:create', 'make applications'), ('application:read', 'see applications'),
    ('application:update', 'change applications'), ('application:delete', 'delete applications'),
    ('quota:create', 'make quotas'), ('quota:read', 'see quotas'),
    ('quota:update', 'change quotas'), ('quota:delete', 'delete quotas'),
    ('calls:admit', 'ask whether calls may be made, and settle them'),
    ('token:borrow', 'borrow limiter units'), ('token:adjust', 'adjust limiter units by hand'),
    ('system:configure', 'configure the system'), ('system:monitor', 'see the state of the system');

-- identity.sign_in_attempts: failed attempts to prove who one is, counted per account and source; the state of lockout.
-- `subject` is the SHA-256 of the account's id, or of what was typed where there is no such account, so that unknown
-- accounts lock just as known ones do. `source` is an address, a known device, a session, or '*' for all unknown sources.
CREATE TABLE identity.sign_in_attempts (
    subject         bytea        NOT NULL CONSTRAINT sign_in_attempts_subject_length CHECK (length(subject) = 32),
    source          text         NOT NULL,
    failed_count    integer      NOT NULL,
    locked_until    timestamptz,
    last_failed_at  timestamptz  NOT NULL,
    PRIMARY KEY (subject, source)
);
-- Answers the clean-up.
CREATE INDEX sign_in_attempts_last_failed_at_idx ON identity.sign_in_attempts (last_failed_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sign_in_attempts TO nexus_system;

-- platform.writer_organization_ids: the organizations whose records the transaction may store; empty when none is set.
CREATE FUNCTION platform.writer_organization_ids() RETURNS uuid[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT string_to_array(NULLIF(current_setting('app.organization_ids', true), ''), ',')::uuid[] $$;
REVOKE ALL ON FUNCTION platform.writer_organization_ids() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.writer_organization_ids() TO nexus_writer, nexus_system;

-- metering.first_instant_v1: the instant at which a date begins in a zone.
-- PostgreSQL reads a local time that comes twice as the second; the first is an hour (in Lord Howe half of one) before.
CREATE FUNCTION metering.first_instant_v1(day date, zone text) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN (i.at - interval '1 hour') AT TIME ZONE zone = day::timestamp THEN i.at - interval '1 hour'
        WHEN (i.at - interval '30 minutes') AT TIME ZONE zone = day::timestamp THEN i.at - interval '30 minutes'
        ELSE i.at
    END
    FROM (SELECT day::timestamp AT TIME ZONE zone AS at) AS i
$$;
REVOKE ALL ON FUNCTION metering.first_instant_v1(date, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.first_instant_v1(date, text) TO nexus_service, nexus_system, nexus_readonly;

-- metering.dims_id_v1: a short key for a combination of dimensions, given as the text of a row, which quotes what it must.
CREATE FUNCTION metering.dims_id_v1(dims text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT encode(substr(sha256(convert_to(dims, 'UTF8')), 1, 16), 'hex')::uuid $$;
REVOKE ALL ON FUNCTION metering.dims_id_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.dims_id_v1(text) TO nexus_system;

-- metering.known_zone_v1: the zone itself if PostgreSQL knows it, else UTC; a zone that is gone must not stop the folding.
CREATE FUNCTION metering.known_zone_v1(zone text) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    PERFORM timestamptz '2000-01-01 00:00:00+00' AT TIME ZONE zone;
    RETURN coalesce(zone, 'UTC');
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN 'UTC';
END
$$;
REVOKE ALL ON FUNCTION metering.known_zone_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.known_zone_v1(text) TO nexus_service, nexus_system, nexus_readonly;

-- metering.merge_bins_v1: joins the entries of a latency sketch that name the same bin; the order is that of the bins.
-- An entry is a 2-byte bin and an 8-byte count, as kit.latency writes it. Counts below zero (from corrections) add up too.
CREATE FUNCTION metering.merge_bins_v1(bins bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(string_agg(int2send(e.bin::smallint) || int8send(e.total::bigint), ''::bytea ORDER BY e.bin), '')
    FROM (
        SELECT get_byte(bins, at) * 256 + get_byte(bins, at + 1) AS bin,
               sum(
                   (get_byte(bins, at + 2)::bigint << 56) | (get_byte(bins, at + 3)::bigint << 48)
                   | (get_byte(bins, at + 4)::bigint << 40) | (get_byte(bins, at + 5)::bigint << 32)
                   | (get_byte(bins, at + 6)::bigint << 24) | (get_byte(bins, at + 7) << 16)
                   | (get_byte(bins, at + 8) << 8) | get_byte(bins, at + 9)
               ) AS total
        FROM generate_series(0, length(bins) - 10, 10) AS at
        GROUP BY 1
    ) AS e
    WHERE e.total <> 0
$$;
REVOKE ALL ON FUNCTION metering.merge_bins_v1(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.merge_bins_v1(bytea) TO nexus_system;

-- metering.rollup_horizons: from when on each level is whole; retention has taken something from before.
-- Holds for the installation, so it belongs to no organization. A level without a row has lost nothing yet.
CREATE TABLE metering.rollup_horizons (
    level       text         PRIMARY KEY
                             CONSTRAINT rollup_horizons_level CHECK (level IN ('raw', 'minute', 'quarter_hour', 'hour')),
    whole_from  timestamptz  NOT NULL
);
GRANT SELECT ON metering.rollup_horizons TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metering.rollup_horizons TO nexus_system;

-- metering.sum_bigint_v1: adds whole numbers up in 8 bytes, several times as fast as sum(bigint), which computes in numeric.
-- For what cannot overflow in one folding: counts and model tokens. A call has at most 10^9 tokens of a class, so 9 * 10^9
-- calls fit; a folding takes 100,000 journal rows. Bytes, durations and money are summed as numeric.
CREATE AGGREGATE metering.sum_bigint_v1(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, PARALLEL = SAFE);
REVOKE ALL ON FUNCTION metering.sum_bigint_v1(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.sum_bigint_v1(bigint) TO nexus_system;

-- metering.latency_bin_v1: the bin of the latency sketch that holds a duration in microseconds; NULL for NULL.
-- The bounds are those of nexus.kit.latency, which a test compares: SQL and Python agree to the bit. All of them are whole
-- numbers below 2^53, so double precision holds them exactly, and its search through a sorted array is the fast one.
CREATE FUNCTION metering.latency_bin_v1(us bigint) RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN us IS NOT NULL THEN (width_bucket(greatest(us, 0)::float8, '{
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 29, 32, 36, 40, 45, 50, 56, 62, 69, 76, 84,
        93, 103, 114, 126, 139, 153, 169, 186, 205, 226, 249, 274, 302, 333, 367, 404, 445, 490, 540, 595, 655, 721,
        794, 874, 962, 1059, 1165, 1282, 1411, 1553, 1709, 1880, 2069, 2276, 2504, 2755, 3031, 3335, 3669, 4036,
        4440, 4885, 5374, 5912, 6504, 7155, 7871, 8659, 9525, 10478, 11526, 12679, 13947, 15342, 16877, 18565,
        20422, 22465, 24712, 27184, 29903, 32894, 36184, 39803, 43784, 48163, 52980, 58279, 64107, 70518, 77570,
        85328, 93861, 103248, 113573, 124931, 137425, 151168, 166285, 182914, 201206, 221327, 243460, 267807,
        294588, 324047, 356452, 392098, 431308, 474439, 521883, 574072, 631480, 694629, 764092, 840502, 924553,
        1017009, 1118710, 1230582, 1353641, 1489006, 1637907, 1801698, 1981868, 2180055, 2398061, 2637868, 2901655,
        3191821, 3511004, 3862105, 4248316, 4673148, 5140463, 5654510, 6219962, 6841959, 7526155, 8278771, 9106649,
        10017314, 11019046, 12120951, 13333047, 14666352, 16132988, 17746287, 19520916, 21473008, 23620309,
        25982340, 28580575, 31438633, 34582497, 38040747, 41844822, 46029305, 50632236, 55695460, 61265007,
        67391508, 74130659, 81543725, 89698098, 98667908, 108534699, 119388169, 131326986, 144459685, 158905654,
        174796220, 192275843, 211503428, 232653771, 255919149, 281511064, 309662171, 340628389, 374691228,
        412160351, 453376387, 498714026, 548585429, 603443972, 663788370, 730167208, 803183929, 883502322,
        971852555, 1069037811, 1175941593, 1293535753, 1422889329, 1565178262, 1721696089, 1893865698, 2083252268,
        2291577495, 2520735245, 2772808770, 3050089648, 3355098613, 3690608475, 4059669323, 4465636256, 4912199882,
        5403419871, 5943761859, 6538138045, 7191951850, 7911147036, 8702261740, 9572487915, 10529736707,
        11582710378, 12740981416, 14015079558, 15416587514, 16958246266, 18654070893, 20519477983, 22571425782,
        24828568361, 27311425198, 30042567718, 33046824490, 36351506940, 39986657635, 43985323399, 48383855739,
        53222241313, 58544465445, 64398911990, 70838803190, 77922683510, 85714951862, 94286447049, 103715091754,
        114086600930, 125495261024, 138044787127, 151849265840, 167034192425, 183737611668, 202111372835,
        222322510119, 244554761131, 269010237245, 295911260970, 325502387068, 358052625775, 393857888353,
        433243677189, 476568044908, 524224849399, 576647334339, 634312067773, 697743274551, 767517602007,
        844269362208, 928696298429, 1021565928272, 1123722521100, 1236094773211, 1359704250533, 1495674675587,
        1645242143146, 1809766357461, 1990742993208, 2189817292529, 2408799021782, 2649678923961, 2914646816358,
        3206111497994, 3526722647794, 3879394912574, 4267334403832, 4694067844216, 5163474628638, 5679822091502,
        6247804300653, 6872584730719, 7559843203791, 8315827524171, 9147410276589, 10062151304248
    }'::float8[]) - 1)::smallint END
$$;
REVOKE ALL ON FUNCTION metering.latency_bin_v1(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.latency_bin_v1(bigint) TO nexus_writer, nexus_service, nexus_system, nexus_readonly;

-- metering.noticed_prices: the version of the price book for which calls without a price were last looked at.
CREATE TABLE metering.noticed_prices (
    is_only  boolean  PRIMARY KEY DEFAULT true CONSTRAINT noticed_prices_is_only CHECK (is_only),
    version  bigint   NOT NULL
);
INSERT INTO metering.noticed_prices (version) VALUES (0);
GRANT SELECT, UPDATE ON metering.noticed_prices TO nexus_system;

-- metering.stage_calls_v1: makes the transaction's temporary table staged_calls, into which the writer copies records.
-- Columns are nexus.contracts.calls.CALL_COLUMN_TYPES, in order; a test compares. COPY straight into metering.calls is
-- refused by row-level security. Dropped on commit: a table kept by a session that never rests would hold back the
-- freezing of old transaction ids, which nobody else may vacuum.
CREATE FUNCTION metering.stage_calls_v1() RETURNS void
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
BEGIN
    CREATE TEMPORARY TABLE staged_calls (
        ordinal integer NOT NULL,
        organization_id uuid NOT NULL,
        id uuid NOT NULL,
        key_at timestamptz NOT NULL,
        is_opaque boolean NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        provider text NOT NULL,
        endpoint text NOT NULL,
        method text NOT NULL,
        status_code smallint NOT NULL,
        response_time_us bigint,
        ttfb_us bigint,
        request_bytes bigint NOT NULL,
        response_bytes bigint NOT NULL,
        model text NOT NULL,
        region text NOT NULL,
        key_id uuid,
        application text NOT NULL,
        user_ref text NOT NULL,
        end_user text,
        session_id text,
        request_id text,
        trace_id text,
        input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        cached_input_tokens bigint NOT NULL,
        cache_write_tokens bigint NOT NULL,
        reasoning_tokens bigint NOT NULL,
        audio_input_tokens bigint NOT NULL,
        audio_output_tokens bigint NOT NULL,
        image_input_tokens bigint NOT NULL,
        image_output_tokens bigint NOT NULL,
        units jsonb,
        service_variant jsonb,
        cost_nanos bigint,
        currency text NOT NULL,
        price_source text NOT NULL,
        price_id uuid,
        unpriced_reason text,
        tags jsonb,
        metadata jsonb,
        error_type text,
        error_message text,
        user_agent text,
        ip_address inet,
        request_headers jsonb,
        response_headers jsonb
    ) ON COMMIT DROP;
END
$$;
REVOKE ALL ON FUNCTION metering.stage_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.stage_calls_v1() TO nexus_writer;

-- platform.snapshot_versions: a number per compiled snapshot, raised in the transaction that changes what it is made of.
-- The data plane polls it each half second and swaps the snapshot in whole; no tenant's data is in it.
CREATE TABLE platform.snapshot_versions (
    name        text         PRIMARY KEY,
    version     bigint       NOT NULL DEFAULT 1,
    changed_at  timestamptz  NOT NULL DEFAULT now()
);
GRANT SELECT ON platform.snapshot_versions TO nexus_service, nexus_writer, nexus_system, nexus_readonly;
GRANT INSERT, UPDATE ON platform.snapshot_versions TO nexus_system;
INSERT INTO platform.snapshot_versions (name) VALUES ('keys'), ('prices'), ('gateway'), ('configuration');

-- identity.security_log: sign-ins, lockouts and the like, with how grave they are; append-only.
-- requires: platform.current_organization_id
CREATE TABLE identity.security_log (
    id               uuid         PRIMARY KEY,
    occurred_at      timestamptz  NOT NULL DEFAULT clock_timestamp(),
    organization_id  uuid,
    event_type       text         NOT NULL,
    severity         text         NOT NULL CONSTRAINT security_log_severity CHECK (severity IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    user_id          uuid,
    ip_address       text,
    user_agent       text,
    detail           jsonb        NOT NULL DEFAULT '{}'
);
-- Answers the search by time, and the clean-up.
CREATE INDEX security_log_occurred_at_idx ON identity.security_log (occurred_at);
ALTER TABLE identity.security_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.security_log FORCE ROW LEVEL SECURITY;
CREATE POLICY security_log_tenant ON identity.security_log FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY security_log_system ON identity.security_log TO nexus_system USING (true);
GRANT SELECT ON identity.security_log TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, DELETE ON identity.security_log TO nexus_system;

-- metering.day_zones: the zone in which an organization's day rollups are kept at this moment.
-- requires: platform.current_organization_id
-- It follows identity.organizations.reporting_zone: a job rebuilds the days and this row in one transaction. Until then
-- questions about days of the new zone are answered from hours or quarters.
CREATE TABLE metering.day_zones (
    organization_id  uuid         PRIMARY KEY,
    zone             text         NOT NULL,
    rebuilt_at       timestamptz  NOT NULL DEFAULT now()
);
ALTER TABLE metering.day_zones ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.day_zones FORCE ROW LEVEL SECURITY;
CREATE POLICY day_zones_tenant ON metering.day_zones FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY day_zones_system ON metering.day_zones TO nexus_system USING (true);
GRANT SELECT ON metering.day_zones TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metering.day_zones TO nexus_system;

-- platform.partitioned_tables: which tables are cut by time, how wide, how far ahead and how long they are kept.
-- requires: platform.current_organization_id
-- `keep_days` NULL keeps for ever; system configuration may say otherwise.
CREATE TABLE platform.partitioned_tables (
    table_name     text      PRIMARY KEY,
    width          text      NOT NULL CONSTRAINT partitioned_tables_width CHECK (width IN ('day', 'month')),
    months_ahead   smallint  NOT NULL DEFAULT 3 CONSTRAINT partitioned_tables_ahead CHECK (months_ahead BETWEEN 0 AND 24),
    keep_days      integer   CONSTRAINT partitioned_tables_keep CHECK (keep_days > 0),
    -- Storage parameters of each partition, as in WITH (…): a partitioned table cannot hold them itself.
    storage_options  text    NOT NULL DEFAULT ''
                             CONSTRAINT partitioned_tables_storage_options CHECK (storage_options ~ '^[a-z0-9_ =.,]*$')
);
GRANT SELECT ON platform.partitioned_tables TO nexus_service, nexus_writer, nexus_system;

-- metering.rollup_journal: sums of what each batch stored, written in the batch's own transaction, not yet in the rollups.
-- requires: platform.current_organization_id, platform.writer_organization_ids
-- Insert only for writers: batches that touch the same groups never wait for each other and cannot deadlock. Folding moves
-- rows into the rollups in one transaction (DELETE here, upsert there), so rollups + journal is exact at any moment.
-- One row per minute, combination of dimensions and latency bin; bin NULL holds the calls without a response time.
-- A repricing adds rows with 0 requests and the difference in cost and unpriced.
CREATE TABLE metering.rollup_journal (
    organization_id      uuid         NOT NULL,
    minute               timestamptz  NOT NULL,
    provider             text         NOT NULL,
    endpoint             text         NOT NULL,
    method               text         NOT NULL,
    model                text         NOT NULL,
    region               text         NOT NULL,
    status_code          smallint     NOT NULL,
    key_id               uuid,
    application          text         NOT NULL,
    user_ref             text         NOT NULL,
    currency             text         NOT NULL,
    tags                 jsonb,
    bin                  smallint,
    requests             bigint       NOT NULL,
    unpriced             bigint       NOT NULL,
    cost                 numeric      NOT NULL,
    latency_sum_us       bigint       NOT NULL,
    request_bytes        bigint       NOT NULL,
    response_bytes       bigint       NOT NULL,
    input_tokens         bigint       NOT NULL,
    output_tokens        bigint       NOT NULL,
    cached_input_tokens  bigint       NOT NULL,
    cache_write_tokens   bigint       NOT NULL,
    reasoning_tokens     bigint       NOT NULL,
    audio_input_tokens   bigint       NOT NULL,
    audio_output_tokens  bigint       NOT NULL,
    image_input_tokens   bigint       NOT NULL,
    image_output_tokens  bigint       NOT NULL
) WITH (
    -- Every row lives for seconds: vacuum by count, not by share, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);
-- Answers: what one organization's rollups still lack in a range.
CREATE INDEX rollup_journal_organization_id_minute_idx ON metering.rollup_journal (organization_id, minute);

ALTER TABLE metering.rollup_journal ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.rollup_journal FORCE ROW LEVEL SECURITY;
CREATE POLICY rollup_journal_tenant ON metering.rollup_journal FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollup_journal_writer ON metering.rollup_journal TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY rollup_journal_system ON metering.rollup_journal TO nexus_system USING (true);
GRANT SELECT ON metering.rollup_journal TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON metering.rollup_journal TO nexus_writer;
GRANT SELECT, INSERT, DELETE ON metering.rollup_journal TO nexus_system;

-- metering.seen_ids: ids that carry no time of their own, so that a record sent again is recognised whatever its timestamp.
-- requires: platform.writer_organization_ids
-- Exactly once needs a key without the time, and a table with such a key cannot be cut by time. So rows leave by
-- batched deletes, `retention.seen_ids_days` (35) after their receipt: that is the horizon of exactly once for such ids.
-- Only ids that are no UUIDv7 pay for it; our SDK, gateway and replay of UUIDv7 records never come here.
CREATE TABLE metering.seen_ids (
    organization_id  uuid         NOT NULL,
    id               uuid         NOT NULL,
    received_at      timestamptz  NOT NULL,
    PRIMARY KEY (organization_id, id)
) WITH (fillfactor = 100, autovacuum_vacuum_insert_scale_factor = 0.05);
-- Answers: which ids are past the horizon. Rows lie in the order of receipt, so a few bytes for each range of pages do.
CREATE INDEX seen_ids_received_at_idx ON metering.seen_ids USING brin (received_at) WITH (autosummarize = on);

ALTER TABLE metering.seen_ids ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.seen_ids FORCE ROW LEVEL SECURITY;
CREATE POLICY seen_ids_writer ON metering.seen_ids TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY seen_ids_system ON metering.seen_ids TO nexus_system USING (true);
GRANT SELECT, INSERT ON metering.seen_ids TO nexus_writer;
GRANT SELECT, DELETE ON metering.seen_ids TO nexus_system;

-- metering.day_start_v1: the instant at which the day that holds an instant begins in a zone.
-- requires: metering.first_instant_v1
-- Days are contiguous: each lasts to the first midnight of the next date, also where clocks are turned at midnight. A date
-- whose midnight comes twice begins at the first; one whose midnight is skipped begins where the clocks jump.
CREATE FUNCTION metering.day_start_v1(at timestamptz, zone text) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN at >= m.tomorrow THEN m.tomorrow ELSE m.today END
    FROM (
        SELECT metering.first_instant_v1((at AT TIME ZONE zone)::date, zone) AS today,
               metering.first_instant_v1((at AT TIME ZONE zone)::date + 1, zone) AS tomorrow
    ) AS m
$$;
REVOKE ALL ON FUNCTION metering.day_start_v1(timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.day_start_v1(timestamptz, text) TO nexus_service, nexus_system, nexus_readonly;

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
-- Its grants are now its new owner's to change. Whoever hangs a trigger on a table must be allowed to run the function.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION platform.bump_snapshot_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.bump_snapshot_v1() TO nexus_owner;
RESET ROLE;

-- admission.token_transactions: what each transaction did to each bucket it met; immutable, cut by month.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The key is the entry of the stream in Redis and the leg in it, so an entry that is drained twice is stored once. Replaying a
-- bucket's rows in their order gives its state: level = (0 where opened) + refilled + adjusted + changed, step by step.
CREATE TABLE admission.token_transactions (
    organization_id  uuid         NOT NULL,
    -- The millisecond of the stream's id.
    at               timestamptz  NOT NULL,
    sequence         bigint       NOT NULL,
    leg              smallint     NOT NULL,
    kind             text         NOT NULL CONSTRAINT token_transactions_kind
                                  CHECK (kind IN ('charge', 'settle', 'release', 'reap', 'adjust', 'lease', 'return', 'borrow', 'repay')),
    reference        text         NOT NULL,
    bucket           text         NOT NULL,
    occurred_at      timestamptz  NOT NULL,
    opened           boolean      NOT NULL,
    refilled         bigint       NOT NULL,
    adjusted         bigint       NOT NULL,
    changed          bigint       NOT NULL,
    level            bigint       NOT NULL,
    fraction         bigint       NOT NULL,
    level_at_us      bigint       NOT NULL,
    held             bigint       NOT NULL,
    leased           bigint       NOT NULL,
    PRIMARY KEY (organization_id, at, sequence, leg)
) PARTITION BY RANGE (at);
-- Answers a bucket's history and its last state, for rebuilding what Redis lost.
CREATE INDEX token_transactions_organization_id_bucket_at_idx
    ON admission.token_transactions (organization_id, bucket, at DESC, sequence DESC);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days)
VALUES ('admission.token_transactions', 'month', 3, 365);
ALTER TABLE admission.token_transactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.token_transactions FORCE ROW LEVEL SECURITY;
CREATE POLICY token_transactions_tenant ON admission.token_transactions FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY token_transactions_system ON admission.token_transactions TO nexus_system USING (true);
GRANT SELECT ON admission.token_transactions TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON admission.token_transactions TO nexus_system;

-- metering.call_bodies: one side of a gateway call's bodies, masked and sealed; cut by day of the call.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- key_at is the time in the call's id, as in metering.calls. `sealed` is compressed text under NEXUS_SECRET_KEY, NULL where
-- nothing is kept but what is told here (a picture, an encoding we cannot read). By day, as days leave whole and give
-- their disk space back; 90 days is the longest an organization may keep them.
CREATE TABLE metering.call_bodies (
    organization_id  uuid         NOT NULL,
    key_at           timestamptz  NOT NULL,
    call_id          uuid         NOT NULL,
    side             text         NOT NULL CONSTRAINT call_bodies_side CHECK (side IN ('request', 'response')),
    state            text         NOT NULL CONSTRAINT call_bodies_state CHECK (state IN ('text', 'empty', 'binary', 'unreadable')),
    media_type       text         NOT NULL CONSTRAINT call_bodies_media_type CHECK (length(media_type) <= 200),
    size_bytes       bigint       NOT NULL CONSTRAINT call_bodies_size CHECK (size_bytes >= 0),
    is_cut           boolean      NOT NULL,
    masked           jsonb        NOT NULL,
    sealed           bytea,
    stored_at        timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, key_at, call_id, side)
) PARTITION BY RANGE (key_at);
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('metering.call_bodies', 'day', 0, 90);

ALTER TABLE metering.call_bodies ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.call_bodies FORCE ROW LEVEL SECURITY;
CREATE POLICY call_bodies_tenant ON metering.call_bodies FOR SELECT TO nexus_service
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY call_bodies_writer ON metering.call_bodies FOR INSERT TO nexus_writer
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY call_bodies_system ON metering.call_bodies TO nexus_system USING (true);
GRANT SELECT ON metering.call_bodies TO nexus_service;
GRANT INSERT ON metering.call_bodies TO nexus_writer;
GRANT SELECT, DELETE ON metering.call_bodies TO nexus_system;

-- metering.calls: one row per API call, immutable but for its price; cut by month of the key's time.
-- requires: platform.partitioned_tables, platform.current_organization_id, platform.writer_organization_ids
-- Identity is (organization_id, id). A unique key of a partitioned table must hold the time it is cut by, so key_at is a
-- function of the id: the time inside a UUIDv7. Any other id is decided by metering.seen_ids before it comes here, and
-- key_at is then the time of the call. Questions are asked by occurred_at, which late and corrected clocks may set apart.
CREATE TABLE metering.calls (
    organization_id      uuid           NOT NULL,
    id                   uuid           NOT NULL,
    key_at               timestamptz    NOT NULL,
    occurred_at          timestamptz    NOT NULL,
    received_at          timestamptz    NOT NULL,
    provider             text           NOT NULL,
    endpoint             text           NOT NULL,
    method               text           NOT NULL,
    status_code          smallint       NOT NULL,
    response_time_us     bigint,
    ttfb_us              bigint,
    request_bytes        bigint         NOT NULL,
    response_bytes       bigint         NOT NULL,
    model                text           NOT NULL,
    region               text           NOT NULL,
    key_id               uuid,
    application          text           NOT NULL,
    user_ref             text           NOT NULL,
    end_user             text,
    session_id           text,
    request_id           text,
    trace_id             text,
    input_tokens         bigint         NOT NULL,
    output_tokens        bigint         NOT NULL,
    cached_input_tokens  bigint         NOT NULL,
    cache_write_tokens   bigint         NOT NULL,
    reasoning_tokens     bigint         NOT NULL,
    audio_input_tokens   bigint         NOT NULL,
    audio_output_tokens  bigint         NOT NULL,
    image_input_tokens   bigint         NOT NULL,
    image_output_tokens  bigint         NOT NULL,
    units                jsonb,
    service_variant      jsonb,
    cost                 numeric(20,10),
    currency             text           NOT NULL,
    price_source         text           NOT NULL,
    price_id             uuid,
    unpriced_reason      text,
    tags                 jsonb,
    metadata             jsonb,
    error_type           text,
    error_message        text,
    user_agent           text,
    ip_address           inet,
    request_headers      jsonb,
    response_headers     jsonb,
    PRIMARY KEY (organization_id, key_at, id),
    -- The boundary refuses absurd times; were one to slip through, folding would stop for all.
    CONSTRAINT calls_occurred_at CHECK (occurred_at >= timestamptz '1980-01-01 00:00:00+00' AND occurred_at < received_at + interval '2 days')
) PARTITION BY RANGE (key_at);
-- Answers: the list of calls newest first, the edges of ranges below a minute, exact percentiles (`edge_*` in statements.py).
CREATE INDEX calls_organization_id_occurred_at_id_idx ON metering.calls (organization_id, occurred_at, id);
-- Answers: the list of failed calls newest first, and repricing of calls without a price; both are few among many.
CREATE INDEX calls_errors_idx ON metering.calls (organization_id, occurred_at, id) WHERE status_code >= 400 OR status_code = 0;
CREATE INDEX calls_unpriced_idx ON metering.calls (organization_id, occurred_at, id) WHERE cost IS NULL;
-- Answers: all attempts of one request, which the gateway gives an id that rises with time: its entries fill page after page.
CREATE INDEX calls_request_id_idx ON metering.calls (organization_id, request_id) WHERE request_id IS NOT NULL;

INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days) VALUES ('metering.calls', 'month', 3, 90);

ALTER TABLE metering.calls ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.calls FORCE ROW LEVEL SECURITY;
CREATE POLICY calls_tenant ON metering.calls FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY calls_writer ON metering.calls TO nexus_writer
    USING (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]))
    WITH CHECK (organization_id = ANY ((SELECT platform.writer_organization_ids())::uuid[]));
CREATE POLICY calls_system ON metering.calls TO nexus_system USING (true);
GRANT SELECT ON metering.calls TO nexus_service, nexus_readonly, nexus_system;
GRANT SELECT, INSERT ON metering.calls TO nexus_writer;
-- Repricing is all that may change a call.
GRANT UPDATE (cost, currency, price_source, price_id, unpriced_reason) ON metering.calls TO nexus_system;

-- metering.rollups_day: sums per day of the organization's reporting zone, by set of dimensions; kept for ever.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- bucket is the instant at which the day begins in the zone that metering.day_zones names. Columns as in metering.rollups_minute.
CREATE TABLE metering.rollups_day (
    organization_id      uuid         NOT NULL,
    dimension_set        smallint     NOT NULL CONSTRAINT rollups_day_dimension_set CHECK (dimension_set BETWEEN 0 AND 6),
    bucket               timestamptz  NOT NULL,
    dims_id              uuid         NOT NULL,
    provider             text         NOT NULL,
    endpoint             text         NOT NULL,
    method               text         NOT NULL,
    model                text         NOT NULL,
    region               text         NOT NULL,
    status_code          smallint,
    key_id               uuid,
    application          text         NOT NULL,
    user_ref             text         NOT NULL,
    tag_name             text         NOT NULL,
    tag_value            text         NOT NULL,
    currency             text         NOT NULL,
    requests             bigint       NOT NULL,
    errors               bigint       NOT NULL,
    unpriced             bigint       NOT NULL,
    cost                 numeric      NOT NULL,
    latency_count        bigint       NOT NULL,
    latency_sum_us       numeric      NOT NULL,
    request_bytes        numeric      NOT NULL,
    response_bytes       numeric      NOT NULL,
    input_tokens         numeric      NOT NULL,
    output_tokens        numeric      NOT NULL,
    cached_input_tokens  numeric      NOT NULL,
    cache_write_tokens   numeric      NOT NULL,
    reasoning_tokens     numeric      NOT NULL,
    audio_input_tokens   numeric      NOT NULL,
    audio_output_tokens  numeric      NOT NULL,
    image_input_tokens   numeric      NOT NULL,
    image_output_tokens  numeric      NOT NULL,
    latency_bins         bytea        NOT NULL,
    touched_at           timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE metering.rollups_day ALTER COLUMN latency_bins SET STORAGE MAIN;

ALTER TABLE metering.rollups_day ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.rollups_day FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_day_tenant ON metering.rollups_day FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_day_system ON metering.rollups_day TO nexus_system USING (true);
GRANT SELECT ON metering.rollups_day TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON metering.rollups_day TO nexus_system;

-- metering.rollups_hour: sums per hour, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- Columns as in metering.rollups_minute.
CREATE TABLE metering.rollups_hour (
    organization_id      uuid         NOT NULL,
    dimension_set        smallint     NOT NULL CONSTRAINT rollups_hour_dimension_set CHECK (dimension_set BETWEEN 0 AND 6),
    bucket               timestamptz  NOT NULL,
    dims_id              uuid         NOT NULL,
    provider             text         NOT NULL,
    endpoint             text         NOT NULL,
    method               text         NOT NULL,
    model                text         NOT NULL,
    region               text         NOT NULL,
    status_code          smallint,
    key_id               uuid,
    application          text         NOT NULL,
    user_ref             text         NOT NULL,
    tag_name             text         NOT NULL,
    tag_value            text         NOT NULL,
    currency             text         NOT NULL,
    requests             bigint       NOT NULL,
    errors               bigint       NOT NULL,
    unpriced             bigint       NOT NULL,
    cost                 numeric      NOT NULL,
    latency_count        bigint       NOT NULL,
    latency_sum_us       numeric      NOT NULL,
    request_bytes        numeric      NOT NULL,
    response_bytes       numeric      NOT NULL,
    input_tokens         numeric      NOT NULL,
    output_tokens        numeric      NOT NULL,
    cached_input_tokens  numeric      NOT NULL,
    cache_write_tokens   numeric      NOT NULL,
    reasoning_tokens     numeric      NOT NULL,
    audio_input_tokens   numeric      NOT NULL,
    audio_output_tokens  numeric      NOT NULL,
    image_input_tokens   numeric      NOT NULL,
    image_output_tokens  numeric      NOT NULL,
    latency_bins         bytea        NOT NULL,
    touched_at           timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE metering.rollups_hour ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('metering.rollups_hour', 'month', 2, 395, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE metering.rollups_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.rollups_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_hour_tenant ON metering.rollups_hour FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_hour_system ON metering.rollups_hour TO nexus_system USING (true);
GRANT SELECT ON metering.rollups_hour TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON metering.rollups_hour TO nexus_system;

-- metering.rollups_minute: sums per minute, by set of dimensions.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- A dimension set says which dimensions a row keeps apart; the others are empty in it:
--   0 nothing · 1 provider, model · 2 provider, endpoint, method, model, region, status code
--   3 provider, model, key, application · 4 provider, model, user · 5 provider, model, tag (a row per tag of a call)
--   6 provider, user: a third of set 4, which lists and counts users soon enough
-- The currency is kept apart in each. dims_id is made from the SHA-256 of the dimensions, which keeps the key short.
-- Sums are numeric without a limit: what one tenant sends must never stop the folding of all by an overflow.
-- latency_bins is a sketch as kit.latency writes it, possibly several joined end to end; its counts add up.
-- Rows are cut by month and leave by dropped partitions, when both the bucket and the last change are old enough.
CREATE TABLE metering.rollups_minute (
    organization_id      uuid         NOT NULL,
    dimension_set        smallint     NOT NULL CONSTRAINT rollups_minute_dimension_set CHECK (dimension_set BETWEEN 0 AND 6),
    bucket               timestamptz  NOT NULL,
    dims_id              uuid         NOT NULL,
    provider             text         NOT NULL,
    endpoint             text         NOT NULL,
    method               text         NOT NULL,
    model                text         NOT NULL,
    region               text         NOT NULL,
    status_code          smallint,
    key_id               uuid,
    application          text         NOT NULL,
    user_ref             text         NOT NULL,
    tag_name             text         NOT NULL,
    tag_value            text         NOT NULL,
    currency             text         NOT NULL,
    requests             bigint       NOT NULL,
    errors               bigint       NOT NULL,
    unpriced             bigint       NOT NULL,
    cost                 numeric      NOT NULL,
    latency_count        bigint       NOT NULL,
    latency_sum_us       numeric      NOT NULL,
    request_bytes        numeric      NOT NULL,
    response_bytes       numeric      NOT NULL,
    input_tokens         numeric      NOT NULL,
    output_tokens        numeric      NOT NULL,
    cached_input_tokens  numeric      NOT NULL,
    cache_write_tokens   numeric      NOT NULL,
    reasoning_tokens     numeric      NOT NULL,
    audio_input_tokens   numeric      NOT NULL,
    audio_output_tokens  numeric      NOT NULL,
    image_input_tokens   numeric      NOT NULL,
    image_output_tokens  numeric      NOT NULL,
    latency_bins         bytea        NOT NULL,
    touched_at           timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE metering.rollups_minute ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('metering.rollups_minute', 'month', 1, 14, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE metering.rollups_minute ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.rollups_minute FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_minute_tenant ON metering.rollups_minute FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_minute_system ON metering.rollups_minute TO nexus_system USING (true);
GRANT SELECT ON metering.rollups_minute TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON metering.rollups_minute TO nexus_system;

-- metering.rollups_quarter_hour: sums per quarter of an hour, by set of dimensions; days of any zone are made from them.
-- requires: platform.partitioned_tables, platform.current_organization_id
-- The quarter is the finest step in which the clocks of the world differ. Columns as in metering.rollups_minute.
CREATE TABLE metering.rollups_quarter_hour (
    organization_id      uuid         NOT NULL,
    dimension_set        smallint     NOT NULL CONSTRAINT rollups_quarter_hour_dimension_set CHECK (dimension_set BETWEEN 0 AND 6),
    bucket               timestamptz  NOT NULL,
    dims_id              uuid         NOT NULL,
    provider             text         NOT NULL,
    endpoint             text         NOT NULL,
    method               text         NOT NULL,
    model                text         NOT NULL,
    region               text         NOT NULL,
    status_code          smallint,
    key_id               uuid,
    application          text         NOT NULL,
    user_ref             text         NOT NULL,
    tag_name             text         NOT NULL,
    tag_value            text         NOT NULL,
    currency             text         NOT NULL,
    requests             bigint       NOT NULL,
    errors               bigint       NOT NULL,
    unpriced             bigint       NOT NULL,
    cost                 numeric      NOT NULL,
    latency_count        bigint       NOT NULL,
    latency_sum_us       numeric      NOT NULL,
    request_bytes        numeric      NOT NULL,
    response_bytes       numeric      NOT NULL,
    input_tokens         numeric      NOT NULL,
    output_tokens        numeric      NOT NULL,
    cached_input_tokens  numeric      NOT NULL,
    cache_write_tokens   numeric      NOT NULL,
    reasoning_tokens     numeric      NOT NULL,
    audio_input_tokens   numeric      NOT NULL,
    audio_output_tokens  numeric      NOT NULL,
    image_input_tokens   numeric      NOT NULL,
    image_output_tokens  numeric      NOT NULL,
    latency_bins         bytea        NOT NULL,
    touched_at           timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, dimension_set, bucket, dims_id)
) PARTITION BY RANGE (bucket);
ALTER TABLE metering.rollups_quarter_hour ALTER COLUMN latency_bins SET STORAGE MAIN;
-- Room on each page lets the many changes of a row stay on it.
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days, storage_options)
VALUES ('metering.rollups_quarter_hour', 'month', 2, 395, 'fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0');

ALTER TABLE metering.rollups_quarter_hour ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.rollups_quarter_hour FORCE ROW LEVEL SECURITY;
CREATE POLICY rollups_quarter_hour_tenant ON metering.rollups_quarter_hour FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY rollups_quarter_hour_system ON metering.rollups_quarter_hour TO nexus_system USING (true);
GRANT SELECT ON metering.rollups_quarter_hour TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON metering.rollups_quarter_hour TO nexus_system;

-- platform.drop_partition_v1: drops the one partition of a table that holds an instant; tells whether there was one.
-- requires: platform.partitioned_tables
-- For tables whose rows may come late: an old partition may be young in use, and then must not be dropped with its elders.
-- Owned by nexus_owner, as platform.drop_partitions_v1; whoever calls it has counted what is lost, as nexus_system.
CREATE FUNCTION platform.drop_partition_v1(parent text, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    known platform.partitioned_tables%ROWTYPE;
    high  timestamptz;
    name  text;
BEGIN
    SELECT * INTO known FROM platform.partitioned_tables AS t WHERE t.table_name = parent;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no partitioned table is named %', parent USING ERRCODE = 'undefined_table';
    END IF;
    high := date_trunc(known.width, at) + ('1 ' || known.width)::interval;
    IF high > now() - interval '1 day' THEN
        RAISE EXCEPTION 'only what is older than a day may be dropped, not what is before %', high
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    name := split_part(parent, '.', 2) || '_' || to_char(at, CASE known.width WHEN 'day' THEN 'YYYYMMDD' ELSE 'YYYYMM' END);
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.partition.' || parent, 0));
    IF NOT EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(parent) AND c.relname = name
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I.%I', split_part(parent, '.', 1), name);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION platform.drop_partition_v1(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.drop_partition_v1(text, timestamptz) TO nexus_system;

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
    EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING GENERATED)%s',
                   schema_name, name, schema_name, split_part(parent, '.', 2),
                   CASE WHEN known.storage_options <> '' THEN ' WITH (' || known.storage_options || ')' ELSE '' END);
    EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                   schema_name, split_part(parent, '.', 2), schema_name, name, low, high);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION platform.ensure_partition_v1(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.ensure_partition_v1(text, timestamptz) TO nexus_writer, nexus_system;

-- admission.last_states_v1: the last stored state of each bucket of some limits of an organization, for rebuilding Redis.
-- requires: admission.token_transactions
-- A bucket is named by its limit's id, or by it, a colon and whose it is. Runs as its caller.
CREATE FUNCTION admission.last_states_v1(organization uuid, limit_ids text[], since timestamptz)
    RETURNS TABLE (bucket text, level bigint, level_at_us bigint)
    LANGUAGE sql STABLE
    AS $$
    SELECT DISTINCT ON (t.bucket) t.bucket, t.level, t.level_at_us
    FROM admission.token_transactions AS t
    WHERE t.organization_id = organization AND t.at >= since AND split_part(t.bucket, ':', 1) = ANY (limit_ids)
    ORDER BY t.bucket, t.at DESC, t.sequence DESC
$$;
REVOKE ALL ON FUNCTION admission.last_states_v1(uuid, text[], timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admission.last_states_v1(uuid, text[], timestamptz) TO nexus_system;

-- metering.store_call_bodies_v1: stores bodies of calls, given as columns; those that are there already stay as they are.
-- requires: metering.call_bodies
-- A day without a partition gets one first: see platform.ensure_partition_v1.
CREATE FUNCTION metering.store_call_bodies_v1(
    organization_ids uuid[], key_ats timestamptz[], call_ids uuid[], sides text[], states text[], media_types text[],
    sizes bigint[], cuts boolean[], masks jsonb[], sealed_texts bytea[]
) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO metering.call_bodies (
        organization_id, key_at, call_id, side, state, media_type, size_bytes, is_cut, masked, sealed
    )
    SELECT *
    FROM unnest(organization_ids, key_ats, call_ids, sides, states, media_types, sizes, cuts, masks, sealed_texts)
        AS b (organization_id, key_at, call_id, side, state, media_type, size_bytes, is_cut, masked, sealed)
    ORDER BY b.organization_id, b.key_at, b.call_id, b.side
    ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION metering.store_call_bodies_v1(
    uuid[], timestamptz[], uuid[], text[], text[], text[], bigint[], boolean[], jsonb[], bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.store_call_bodies_v1(
    uuid[], timestamptz[], uuid[], text[], text[], text[], bigint[], boolean[], jsonb[], bytea[]) TO nexus_writer;

-- metering.store_calls_v1: stores the staged records once each and journals their sums, in the caller's transaction.
-- requires: metering.calls, metering.seen_ids, metering.rollup_journal, metering.latency_bin_v1
-- Returns the ordinals of duplicates: of stored records, or of earlier ordinals in the batch.
-- Runs as nexus_writer under its policies. Every insert is sorted by its key, so that batches which share records wait
-- for each other in one order and never deadlock: first all of seen_ids, then all of calls. The journal has no key.
CREATE FUNCTION metering.store_calls_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    remaining             bigint;
    opaque                bigint;
    stored                bigint;
    stored_organizations  uuid[];
    stored_ids            uuid[];
    duplicates            integer[] := '{}';
    more                  integer[];
BEGIN
    SELECT count(*), count(*) FILTER (WHERE s.is_opaque) INTO remaining, opaque FROM pg_temp.staged_calls AS s;

    IF opaque > 0 THEN
        -- Ids without a time: the first of each in the batch goes on, if it was not seen before.
        WITH fresh AS (
            INSERT INTO metering.seen_ids (organization_id, id, received_at)
            SELECT s.organization_id, s.id, min(s.received_at)
            FROM pg_temp.staged_calls AS s
            WHERE s.is_opaque
            GROUP BY s.organization_id, s.id
            ORDER BY s.organization_id, s.id
            ON CONFLICT DO NOTHING
            RETURNING organization_id, id
        )
        SELECT count(*), array_agg(f.organization_id), array_agg(f.id)
        INTO stored, stored_organizations, stored_ids FROM fresh AS f;
        IF stored < opaque THEN
            WITH gone AS (
                DELETE FROM pg_temp.staged_calls AS s
                WHERE s.is_opaque AND s.ordinal NOT IN (
                    SELECT min(o.ordinal)
                    FROM pg_temp.staged_calls AS o
                    JOIN unnest(stored_organizations, stored_ids) AS f (organization_id, id) USING (organization_id, id)
                    WHERE o.is_opaque
                    GROUP BY f.organization_id, f.id
                )
                RETURNING s.ordinal
            )
            SELECT array_agg(g.ordinal) INTO duplicates FROM gone AS g;
            remaining := remaining - cardinality(duplicates);
        END IF;
    END IF;

    -- Nearly always all are new, and to hand back each key would cost a tenth of the whole. Only where some were not is the
    -- insert undone and made again so that it tells which. Where none was, nothing is to be told apart.
    BEGIN
        INSERT INTO metering.calls (
            organization_id, id, key_at, occurred_at, received_at, provider, endpoint, method, status_code,
            response_time_us, ttfb_us, request_bytes, response_bytes, model, region, key_id, application, user_ref,
            end_user, session_id, request_id, trace_id, input_tokens, output_tokens, cached_input_tokens,
            cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens,
            image_output_tokens, units, service_variant, cost, currency, price_source, price_id, unpriced_reason,
            tags, metadata, error_type, error_message, user_agent, ip_address, request_headers, response_headers
        )
        SELECT
            s.organization_id, s.id, s.key_at, s.occurred_at, s.received_at, s.provider, s.endpoint, s.method,
            s.status_code, s.response_time_us, s.ttfb_us, s.request_bytes, s.response_bytes, s.model, s.region,
            s.key_id, s.application, s.user_ref, s.end_user, s.session_id, s.request_id, s.trace_id, s.input_tokens,
            s.output_tokens, s.cached_input_tokens, s.cache_write_tokens, s.reasoning_tokens, s.audio_input_tokens,
            s.audio_output_tokens, s.image_input_tokens, s.image_output_tokens, s.units, s.service_variant,
            s.cost_nanos * 0.000000001, s.currency, s.price_source, s.price_id, s.unpriced_reason, s.tags, s.metadata,
            s.error_type, s.error_message, s.user_agent, s.ip_address, s.request_headers, s.response_headers
        FROM pg_temp.staged_calls AS s
        ORDER BY s.organization_id, s.key_at, s.id, s.ordinal
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS stored = ROW_COUNT;
        IF stored BETWEEN 1 AND remaining - 1 THEN
            RAISE EXCEPTION 'some were stored before' USING ERRCODE = 'NX001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'NX001' THEN
        WITH kept AS (
            INSERT INTO metering.calls (
                organization_id, id, key_at, occurred_at, received_at, provider, endpoint, method, status_code,
                response_time_us, ttfb_us, request_bytes, response_bytes, model, region, key_id, application, user_ref,
                end_user, session_id, request_id, trace_id, input_tokens, output_tokens, cached_input_tokens,
                cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens,
                image_output_tokens, units, service_variant, cost, currency, price_source, price_id, unpriced_reason,
                tags, metadata, error_type, error_message, user_agent, ip_address, request_headers, response_headers
            )
            SELECT
                s.organization_id, s.id, s.key_at, s.occurred_at, s.received_at, s.provider, s.endpoint, s.method,
                s.status_code, s.response_time_us, s.ttfb_us, s.request_bytes, s.response_bytes, s.model, s.region,
                s.key_id, s.application, s.user_ref, s.end_user, s.session_id, s.request_id, s.trace_id, s.input_tokens,
                s.output_tokens, s.cached_input_tokens, s.cache_write_tokens, s.reasoning_tokens, s.audio_input_tokens,
                s.audio_output_tokens, s.image_input_tokens, s.image_output_tokens, s.units, s.service_variant,
                s.cost_nanos * 0.000000001, s.currency, s.price_source, s.price_id, s.unpriced_reason, s.tags, s.metadata,
                s.error_type, s.error_message, s.user_agent, s.ip_address, s.request_headers, s.response_headers
            FROM pg_temp.staged_calls AS s
            ORDER BY s.organization_id, s.key_at, s.id, s.ordinal
            ON CONFLICT DO NOTHING
            RETURNING organization_id, id
        )
        SELECT count(*), array_agg(k.organization_id), array_agg(k.id)
        INTO stored, stored_organizations, stored_ids FROM kept AS k;
    END;
    IF stored = 0 THEN
        SELECT array_agg(s.ordinal) INTO more FROM pg_temp.staged_calls AS s;
        duplicates := duplicates || more;
    ELSIF stored < remaining THEN
        WITH gone AS (
            DELETE FROM pg_temp.staged_calls AS s
            WHERE s.ordinal NOT IN (
                SELECT min(o.ordinal)
                FROM pg_temp.staged_calls AS o
                JOIN unnest(stored_organizations, stored_ids) AS k (organization_id, id) USING (organization_id, id)
                GROUP BY k.organization_id, k.id
            )
            RETURNING s.ordinal
        )
        SELECT array_agg(g.ordinal) INTO more FROM gone AS g;
        duplicates := duplicates || more;
    END IF;

    -- What is left in the staging table is what was stored.
    IF stored > 0 THEN
        INSERT INTO metering.rollup_journal (
            organization_id, minute, provider, endpoint, method, model, region, status_code, key_id, application,
            user_ref, currency, tags, bin, requests, unpriced, cost, latency_sum_us, request_bytes, response_bytes,
            input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens,
            audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens
        )
        SELECT
            s.organization_id, date_bin('1 minute', s.occurred_at, timestamptz '2000-01-01 00:00:00+00'),
            s.provider, s.endpoint, s.method, s.model, s.region, s.status_code, s.key_id, s.application, s.user_ref,
            s.currency, s.tags,
            metering.latency_bin_v1(s.response_time_us),
            count(*), count(*) FILTER (WHERE s.cost_nanos IS NULL), coalesce(sum(s.cost_nanos), 0) * 0.000000001,
            coalesce(sum(s.response_time_us), 0), sum(s.request_bytes), sum(s.response_bytes),
            sum(s.input_tokens), sum(s.output_tokens), sum(s.cached_input_tokens), sum(s.cache_write_tokens),
            sum(s.reasoning_tokens), sum(s.audio_input_tokens), sum(s.audio_output_tokens), sum(s.image_input_tokens),
            sum(s.image_output_tokens)
        FROM pg_temp.staged_calls AS s
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;
    END IF;
    RETURN duplicates;
END
$$;
REVOKE ALL ON FUNCTION metering.store_calls_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.store_calls_v1() TO nexus_writer;

-- metering.rebuild_days_v1: makes an organization's day rollups again for the days of another zone.
-- requires: metering.rollups_day, metering.rollups_quarter_hour, metering.rollup_horizons, metering.day_zones, metering.day_start_v1, metering.merge_bins_v1, metering.known_zone_v1
-- Days are made from quarters, which fit the days of any zone. Older days than the quarters that are kept stay as they are,
-- in the zone of their time; the first day after them holds what lies between. Readers see the old days or the new ones
-- with their zone, never a mixture, and no folding comes between: the lock is the one of fold_journal_v1.
CREATE FUNCTION metering.rebuild_days_v1(organization uuid, new_zone text) RETURNS bigint
    LANGUAGE plpgsql SECURITY INVOKER
    SET work_mem = '64MB' SET jit = off
    AS $$
DECLARE
    old_zone text;
    since    timestamptz := '-infinity';
    made     bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.metering.rollups', 0));
    new_zone := metering.known_zone_v1(new_zone);
    SELECT z.zone INTO old_zone FROM metering.day_zones AS z WHERE z.organization_id = organization;
    IF old_zone IS NOT DISTINCT FROM new_zone THEN
        RETURN 0;
    END IF;
    SELECT metering.day_start_v1(h.whole_from + interval '26 hours', coalesce(old_zone, 'UTC')) INTO since
    FROM metering.rollup_horizons AS h WHERE h.level = 'quarter_hour';
    since := coalesce(since, '-infinity');
    DELETE FROM metering.rollups_day AS r WHERE r.organization_id = organization AND r.bucket >= since;

    WITH quarters AS MATERIALIZED (
        SELECT * FROM metering.rollups_quarter_hour AS q WHERE q.organization_id = organization AND q.bucket >= since
    ), starts AS MATERIALIZED (
        SELECT s.bucket, greatest(metering.day_start_v1(s.bucket, new_zone), since) AS day
        FROM (SELECT DISTINCT bucket FROM quarters) AS s
    ), days AS (
        SELECT
            q.organization_id, q.dimension_set, s.day AS bucket, q.dims_id, q.provider, q.endpoint, q.method, q.model,
            q.region, q.status_code, q.key_id, q.application, q.user_ref, q.tag_name, q.tag_value, q.currency,
            sum(q.requests) AS requests, sum(q.errors) AS errors, sum(q.unpriced) AS unpriced, sum(q.cost) AS cost,
            sum(q.latency_count) AS latency_count, sum(q.latency_sum_us) AS latency_sum_us,
            sum(q.request_bytes) AS request_bytes, sum(q.response_bytes) AS response_bytes,
            sum(q.input_tokens) AS input_tokens, sum(q.output_tokens) AS output_tokens,
            sum(q.cached_input_tokens) AS cached_input_tokens, sum(q.cache_write_tokens) AS cache_write_tokens,
            sum(q.reasoning_tokens) AS reasoning_tokens, sum(q.audio_input_tokens) AS audio_input_tokens,
            sum(q.audio_output_tokens) AS audio_output_tokens, sum(q.image_input_tokens) AS image_input_tokens,
            sum(q.image_output_tokens) AS image_output_tokens,
            metering.merge_bins_v1(string_agg(q.latency_bins, ''::bytea)) AS latency_bins
        FROM quarters AS q
        JOIN starts AS s USING (bucket)
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
    )
    INSERT INTO metering.rollups_day (
        organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code, key_id,
        application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost, latency_count,
        latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens, cached_input_tokens,
        cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens,
        image_output_tokens, latency_bins
    )
    SELECT * FROM days;
    GET DIAGNOSTICS made = ROW_COUNT;

    INSERT INTO metering.day_zones AS z (organization_id, zone) VALUES (organization, new_zone)
    ON CONFLICT (organization_id) DO UPDATE SET zone = excluded.zone, rebuilt_at = now();
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION metering.rebuild_days_v1(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.rebuild_days_v1(uuid, text) TO nexus_system;

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
-- Its grants are now its new owner's to change. Whoever hangs a trigger on a table must be allowed to run the function.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION platform.audit_row_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.audit_row_v1() TO nexus_owner;
RESET ROLE;

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
-- Its grants are now its new owner's to change.
SET ROLE nexus_system;
REVOKE ALL ON FUNCTION platform.record_action_v1(text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform.record_action_v1(text, text, jsonb) TO nexus_service, nexus_system;
RESET ROLE;

-- catalog.model_routes: where a call of `/gw/v1` goes that names an alias: providers' models by priority, then by weight.
-- requires: platform.current_organization_id, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE catalog.model_routes (
    id               uuid         NOT NULL,
    organization_id  uuid         NOT NULL,
    alias            text         NOT NULL CONSTRAINT model_routes_alias_form CHECK (alias ~ '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$'),
    provider         text         NOT NULL
                                  CONSTRAINT model_routes_provider_form CHECK (provider ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    model            text         NOT NULL CONSTRAINT model_routes_model_length CHECK (length(model) BETWEEN 1 AND 200),
    priority         integer      NOT NULL DEFAULT 0 CONSTRAINT model_routes_priority CHECK (priority BETWEEN 0 AND 1000),
    weight           integer      NOT NULL DEFAULT 1 CONSTRAINT model_routes_weight CHECK (weight BETWEEN 0 AND 1000),
    created_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT model_routes_once UNIQUE (organization_id, alias, provider, model)
);
ALTER TABLE catalog.model_routes ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.model_routes FORCE ROW LEVEL SECURITY;
CREATE POLICY model_routes_tenant ON catalog.model_routes TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY model_routes_system ON catalog.model_routes TO nexus_system USING (true);
GRANT SELECT, INSERT, DELETE ON catalog.model_routes TO nexus_service;
GRANT UPDATE (alias, provider, model, priority, weight) ON catalog.model_routes TO nexus_service;
GRANT SELECT ON catalog.model_routes TO nexus_readonly, nexus_system;
CREATE TRIGGER model_routes_audit AFTER INSERT OR UPDATE OR DELETE ON catalog.model_routes
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER model_routes_version AFTER INSERT OR UPDATE OR DELETE ON catalog.model_routes
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');

-- catalog.providers: who sells APIs. Rows without an organization are shipped and seen by all; others are one tenant's own.
-- requires: platform.current_organization_id, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE catalog.providers (
    id                  uuid         PRIMARY KEY,
    organization_id     uuid,
    slug                text         NOT NULL CONSTRAINT providers_slug_form CHECK (slug ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    name                text         NOT NULL,
    description         text         NOT NULL DEFAULT '',
    category            text         NOT NULL DEFAULT 'other'
                                     CONSTRAINT providers_category CHECK (category IN ('ai', 'communication', 'data', 'search', 'crm', 'other')),
    status              text         NOT NULL DEFAULT 'active'
                                     CONSTRAINT providers_status CHECK (status IN ('active', 'inactive', 'maintenance', 'deprecated')),
    pricing_model       text         NOT NULL DEFAULT 'usage'
                                     CONSTRAINT providers_pricing_model CHECK (pricing_model IN ('usage', 'subscription', 'hybrid')),
    base_url            text,
    docs_url            text,
    status_url          text,
    website_url         text,
    icon                text,
    requests_per_minute integer,
    tokens_per_minute   bigint,
    auth_types          text[]       NOT NULL DEFAULT '{}',
    regions             text[]       NOT NULL DEFAULT '{}',
    aliases             text[]       NOT NULL DEFAULT '{}',
    fallback_providers  text[]       NOT NULL DEFAULT '{}',
    match               jsonb,
    metadata            jsonb        NOT NULL DEFAULT '{}',
    source              text         NOT NULL DEFAULT 'user',
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT providers_slug_unique UNIQUE NULLS NOT DISTINCT (organization_id, slug)
);
ALTER TABLE catalog.providers ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.providers FORCE ROW LEVEL SECURITY;
CREATE POLICY providers_shared ON catalog.providers FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY providers_tenant ON catalog.providers TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY providers_system ON catalog.providers TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON catalog.providers TO nexus_service, nexus_system;
GRANT SELECT ON catalog.providers TO nexus_readonly;
CREATE TRIGGER providers_audit AFTER UPDATE OR DELETE ON catalog.providers
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER providers_version AFTER INSERT OR UPDATE OR DELETE ON catalog.providers
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('prices');
-- The gateway's table is small, so a changed address does not wait for the price book.
CREATE TRIGGER providers_gateway_version AFTER INSERT OR UPDATE OR DELETE ON catalog.providers
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');

-- identity.organizations: the tenants. Every row that belongs to one carries its id as organization_id.
-- requires: platform.current_organization_id, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE identity.organizations (
    id              uuid         PRIMARY KEY,
    name            text         NOT NULL CONSTRAINT organizations_name_length CHECK (length(name) BETWEEN 1 AND 200),
    slug            text         NOT NULL CONSTRAINT organizations_slug_unique UNIQUE
                                 CONSTRAINT organizations_slug_form CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    plan            text         NOT NULL DEFAULT 'free'
                                 CONSTRAINT organizations_plan CHECK (plan IN ('free', 'pro', 'enterprise')),
    tier            text         NOT NULL DEFAULT 'standard'
                                 CONSTRAINT organizations_tier CHECK (tier IN ('standard', 'enterprise', 'academic')),
    currency        text         NOT NULL DEFAULT 'USD' CONSTRAINT organizations_currency CHECK (currency ~ '^[A-Z]{3}$'),
    reporting_zone  text         NOT NULL DEFAULT 'UTC',
    billing_email   text,
    settings        jsonb        NOT NULL DEFAULT '{}',
    is_active       boolean      NOT NULL DEFAULT true,
    created_at      timestamptz  NOT NULL DEFAULT now(),
    updated_at      timestamptz  NOT NULL DEFAULT now()
);
ALTER TABLE identity.organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY organizations_tenant ON identity.organizations TO nexus_service, nexus_readonly
    USING (id = (SELECT platform.current_organization_id()));
CREATE POLICY organizations_system ON identity.organizations TO nexus_system USING (true);
GRANT SELECT, UPDATE ON identity.organizations TO nexus_service;
GRANT SELECT ON identity.organizations TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.organizations TO nexus_system;
CREATE TRIGGER organizations_audit AFTER INSERT OR UPDATE OR DELETE ON identity.organizations
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER organizations_version AFTER INSERT OR UPDATE OR DELETE ON identity.organizations
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('keys');

-- identity.users: people. A user belongs to organizations through memberships; passwords are in a table of their own.
-- requires: platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE identity.users (
    id                 uuid         PRIMARY KEY,
    email              text         NOT NULL CONSTRAINT users_email_form CHECK (email ~ '^[^@\s]+@[^@\s]+$' AND length(email) <= 320),
    username           text         CONSTRAINT users_username_form CHECK (username ~ '^[A-Za-z0-9._-]{2,64}$'),
    name               text         NOT NULL DEFAULT '',
    is_email_verified  boolean      NOT NULL DEFAULT false,
    image_url          text,
    timezone           text         NOT NULL DEFAULT 'UTC',
    locale             text         NOT NULL DEFAULT 'en',
    preferences        jsonb        NOT NULL DEFAULT '{}',
    has_second_factor  boolean      NOT NULL DEFAULT false,
    is_active          boolean      NOT NULL DEFAULT true,
    last_login_at      timestamptz,
    login_count        bigint       NOT NULL DEFAULT 0,
    created_at         timestamptz  NOT NULL DEFAULT now(),
    updated_at         timestamptz  NOT NULL DEFAULT now()
);
-- Sign-in finds a user by address or name in any case, and no two may differ by case only.
CREATE UNIQUE INDEX users_email_idx ON identity.users (lower(email));
CREATE UNIQUE INDEX users_username_idx ON identity.users (lower(username)) WHERE username IS NOT NULL;
ALTER TABLE identity.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.users FORCE ROW LEVEL SECURITY;
CREATE POLICY users_system ON identity.users TO nexus_system USING (true);
GRANT SELECT ON identity.users TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.users TO nexus_system;
CREATE TRIGGER users_audit AFTER INSERT OR UPDATE OF email, username, name, is_email_verified, timezone, locale, preferences, is_active OR DELETE
    ON identity.users FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER users_version AFTER INSERT OR UPDATE OF email, is_active OR DELETE ON identity.users
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('keys');

-- metering.repricings: orders to compute the cost of stored calls again from the price book in force now.
-- requires: platform.current_organization_id, platform.audit_row_v1
--
--   waiting --> running --> done
--                  \-----> failed          (a dry run goes the same way and changes no call)
--
-- The worker goes through the calls in the order of (occurred_at, id). Each chunk's calls, journal and the place reached
-- are written in one transaction, so a worker that dies is continued where it was, and nothing is counted twice.
CREATE TABLE metering.repricings (
    organization_id   uuid         NOT NULL,
    id                uuid         NOT NULL,
    state             text         NOT NULL DEFAULT 'waiting'
                                   CONSTRAINT repricings_state CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    cause             text         NOT NULL DEFAULT 'asked'
                                   CONSTRAINT repricings_cause CHECK (cause IN ('asked', 'prices_changed')),
    starts_at         timestamptz  NOT NULL,
    ends_at           timestamptz  NOT NULL,
    provider          text,
    model             text,
    is_dry            boolean      NOT NULL DEFAULT false,
    only_unpriced     boolean      NOT NULL DEFAULT false,
    include_given     boolean      NOT NULL DEFAULT false,
    requested_by      text         NOT NULL DEFAULT '',
    created_at        timestamptz  NOT NULL DEFAULT now(),
    started_at        timestamptz,
    finished_at       timestamptz,
    reached_at        timestamptz,
    reached_id        uuid,
    examined          bigint       NOT NULL DEFAULT 0,
    changed           bigint       NOT NULL DEFAULT 0,
    totals            jsonb        NOT NULL DEFAULT '[]',
    error             text,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT repricings_range CHECK (starts_at < ends_at)
);
-- Answers: which repricing is next.
CREATE INDEX repricings_open_idx ON metering.repricings (created_at, id) WHERE state IN ('waiting', 'running');

ALTER TABLE metering.repricings ENABLE ROW LEVEL SECURITY;
ALTER TABLE metering.repricings FORCE ROW LEVEL SECURITY;
CREATE POLICY repricings_tenant ON metering.repricings TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY repricings_system ON metering.repricings TO nexus_system USING (true);
GRANT SELECT, INSERT ON metering.repricings TO nexus_service;
GRANT SELECT ON metering.repricings TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON metering.repricings TO nexus_system;
-- Orders and their ends are audited; the steps between would only repeat each other.
CREATE TRIGGER repricings_audit AFTER INSERT ON metering.repricings
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER repricings_end_audit AFTER UPDATE ON metering.repricings
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION platform.audit_row_v1();

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

-- catalog.snapshot_model_routes_v1: every organization's aliases of models, for the gateway's snapshot.
-- requires: catalog.model_routes
CREATE FUNCTION catalog.snapshot_model_routes_v1()
    RETURNS TABLE (organization_id uuid, alias text, provider text, model text, priority integer, weight integer)
    LANGUAGE sql STABLE
    AS $$
    SELECT r.organization_id, r.alias, r.provider, r.model, r.priority, r.weight FROM catalog.model_routes AS r
$$;
REVOKE ALL ON FUNCTION catalog.snapshot_model_routes_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION catalog.snapshot_model_routes_v1() TO nexus_system;

-- catalog.endpoints: the endpoints of a provider, as path templates that calls' paths are matched to.
-- requires: catalog.providers
CREATE TABLE catalog.endpoints (
    id                    uuid         PRIMARY KEY,
    organization_id       uuid,
    provider              text         NOT NULL,
    method                text         NOT NULL DEFAULT '' CONSTRAINT endpoints_method CHECK (method ~ '^[A-Z]{0,10}$'),
    path_template         text         NOT NULL CONSTRAINT endpoints_path CHECK (path_template ~ '^/' AND length(path_template) <= 500),
    name                  text         NOT NULL DEFAULT '',
    category              text         NOT NULL DEFAULT '',
    expected_response_ms  integer,
    requests_per_minute   integer,
    is_deprecated         boolean      NOT NULL DEFAULT false,
    source                text         NOT NULL DEFAULT 'user',
    created_at            timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT endpoints_once UNIQUE NULLS NOT DISTINCT (organization_id, provider, method, path_template)
);
ALTER TABLE catalog.endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.endpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY endpoints_shared ON catalog.endpoints FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY endpoints_tenant ON catalog.endpoints TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY endpoints_system ON catalog.endpoints TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON catalog.endpoints TO nexus_service, nexus_system;
GRANT SELECT ON catalog.endpoints TO nexus_readonly;
CREATE TRIGGER endpoints_audit AFTER UPDATE OR DELETE ON catalog.endpoints
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER endpoints_version AFTER INSERT OR UPDATE OR DELETE ON catalog.endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('prices');

-- catalog.models: what a provider offers to ask, and the rule that tells which names mean it.
-- requires: catalog.providers
CREATE TABLE catalog.models (
    id               uuid         PRIMARY KEY,
    organization_id  uuid,
    provider         text         NOT NULL,
    slug             text         NOT NULL CONSTRAINT models_slug_length CHECK (length(slug) BETWEEN 1 AND 300),
    name             text         NOT NULL DEFAULT '',
    description      text         NOT NULL DEFAULT '',
    match            jsonb        NOT NULL,
    position         integer      NOT NULL DEFAULT 0,
    context_window   bigint,
    max_output       bigint,
    is_deprecated    boolean      NOT NULL DEFAULT false,
    metadata         jsonb        NOT NULL DEFAULT '{}',
    source           text         NOT NULL DEFAULT 'user',
    created_at       timestamptz  NOT NULL DEFAULT now(),
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT models_slug_unique UNIQUE NULLS NOT DISTINCT (organization_id, provider, slug)
);
ALTER TABLE catalog.models ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog.models FORCE ROW LEVEL SECURITY;
CREATE POLICY models_shared ON catalog.models FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY models_tenant ON catalog.models TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY models_system ON catalog.models TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON catalog.models TO nexus_service, nexus_system;
GRANT SELECT ON catalog.models TO nexus_readonly;
CREATE TRIGGER models_audit AFTER UPDATE OR DELETE ON catalog.models
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER models_version AFTER INSERT OR UPDATE OR DELETE ON catalog.models
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('prices');

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

-- catalog.snapshot_providers_v1: how every provider is reached, for the gateway's snapshot.
-- requires: catalog.providers
CREATE FUNCTION catalog.snapshot_providers_v1()
    RETURNS TABLE (organization_id uuid, slug text, aliases text[], base_url text, auth_types text[], is_active boolean,
                   options jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT p.organization_id, p.slug, p.aliases, p.base_url, p.auth_types, p.status <> 'inactive', p.metadata -> 'gateway'
    FROM catalog.providers AS p
$$;
REVOKE ALL ON FUNCTION catalog.snapshot_providers_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION catalog.snapshot_providers_v1() TO nexus_system;

-- admission.clusters: storage clusters that applications use; a limit on a cluster is shared by the organization's applications.
-- requires: identity.organizations, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE admission.clusters (
    organization_id   uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id                uuid         NOT NULL,
    name              text         NOT NULL CONSTRAINT clusters_name_form CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    region            text         NOT NULL DEFAULT '' CONSTRAINT clusters_region_length CHECK (length(region) <= 100),
    endpoint          text         CONSTRAINT clusters_endpoint_length CHECK (length(endpoint) <= 500),
    -- Operations a second the cluster is built for; what it admits is a limit's business.
    max_capacity      bigint       NOT NULL DEFAULT 0 CONSTRAINT clusters_capacity CHECK (max_capacity >= 0),
    health_status     text         NOT NULL DEFAULT 'unknown'
                                   CONSTRAINT clusters_health CHECK (health_status IN ('healthy', 'degraded', 'unhealthy', 'unknown')),
    health_check_url  text         CONSTRAINT clusters_health_url_length CHECK (length(health_check_url) <= 500),
    created_at        timestamptz  NOT NULL DEFAULT now(),
    updated_at        timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT clusters_name_unique UNIQUE (organization_id, name)
);
ALTER TABLE admission.clusters ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.clusters FORCE ROW LEVEL SECURITY;
CREATE POLICY clusters_tenant ON admission.clusters TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY clusters_system ON admission.clusters FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON admission.clusters TO nexus_service;
GRANT SELECT ON admission.clusters TO nexus_readonly, nexus_system;
CREATE TRIGGER clusters_audit AFTER INSERT OR UPDATE OR DELETE ON admission.clusters
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER clusters_version AFTER INSERT OR UPDATE OR DELETE ON admission.clusters
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');

-- admission.operation_types: what operations cost: c_base + size / unit_quantum * c_bw. Rows without an organization are shipped.
-- requires: identity.organizations, platform.audit_row_v1, platform.bump_snapshot_v1
CREATE TABLE admission.operation_types (
    id               uuid           PRIMARY KEY,
    organization_id  uuid,
    name             text           NOT NULL CONSTRAINT operation_types_name_form CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    category         text           NOT NULL CONSTRAINT operation_types_category_length CHECK (length(category) BETWEEN 1 AND 100),
    c_base           numeric(10,4)  NOT NULL DEFAULT 0 CONSTRAINT operation_types_base CHECK (c_base >= 0),
    unit_quantum     bigint         NOT NULL DEFAULT 1 CONSTRAINT operation_types_quantum CHECK (unit_quantum BETWEEN 1 AND 1099511627776),
    c_bw             numeric(10,4)  NOT NULL DEFAULT 0 CONSTRAINT operation_types_bandwidth CHECK (c_bw >= 0),
    -- Begun quanta count as whole ones; otherwise the charge is exact.
    whole_quanta     boolean        NOT NULL DEFAULT false,
    description      text           NOT NULL DEFAULT '' CONSTRAINT operation_types_description_length CHECK (length(description) <= 1000),
    is_active        boolean        NOT NULL DEFAULT true,
    created_at       timestamptz    NOT NULL DEFAULT now(),
    CONSTRAINT operation_types_name_unique UNIQUE NULLS NOT DISTINCT (organization_id, name)
);
ALTER TABLE admission.operation_types ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.operation_types FORCE ROW LEVEL SECURITY;
CREATE POLICY operation_types_shared ON admission.operation_types FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY operation_types_tenant ON admission.operation_types TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY operation_types_system ON admission.operation_types FOR SELECT TO nexus_system USING (true);
CREATE POLICY operation_types_owner ON admission.operation_types TO nexus_owner USING (organization_id IS NULL);
GRANT SELECT, INSERT, UPDATE ON admission.operation_types TO nexus_service;
GRANT SELECT ON admission.operation_types TO nexus_readonly, nexus_system;
INSERT INTO admission.operation_types (id, name, category, c_base, unit_quantum, c_bw, description) VALUES
    ('00000000-0000-8000-8000-000000000101', 'read_small', 'read', 1.0, 4096, 0.0001, 'reads of up to 4 KiB'),
    ('00000000-0000-8000-8000-000000000102', 'read_medium', 'read', 2.0, 65536, 0.0001, 'reads of up to 64 KiB'),
    ('00000000-0000-8000-8000-000000000103', 'read_large', 'read', 5.0, 1048576, 0.0001, 'reads of up to 1 MiB'),
    ('00000000-0000-8000-8000-000000000104', 'write_small', 'write', 2.0, 4096, 0.0002, 'writes of up to 4 KiB'),
    ('00000000-0000-8000-8000-000000000105', 'write_medium', 'write', 4.0, 65536, 0.0002, 'writes of up to 64 KiB'),
    ('00000000-0000-8000-8000-000000000106', 'write_large', 'write', 10.0, 1048576, 0.0002, 'writes of up to 1 MiB'),
    ('00000000-0000-8000-8000-000000000107', 'list', 'metadata', 3.0, 1, 0, 'listing objects'),
    ('00000000-0000-8000-8000-000000000108', 'head', 'metadata', 1.0, 1, 0, 'asking for an object''s metadata'),
    ('00000000-0000-8000-8000-000000000109', 'delete', 'metadata', 5.0, 1, 0, 'deleting an object');
CREATE TRIGGER operation_types_audit AFTER INSERT OR UPDATE OR DELETE ON admission.operation_types
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER operation_types_version AFTER INSERT OR UPDATE OR DELETE ON admission.operation_types
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');

-- admission.quotas: which scope is limited. What the limits are is said by immutable versions.
-- requires: identity.organizations, platform.audit_row_v1
CREATE TABLE admission.quotas (
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id               uuid         NOT NULL,
    name             text         NOT NULL CONSTRAINT quotas_name_form CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    scope            text         NOT NULL CONSTRAINT quotas_scope CHECK (scope IN (
                                      'cluster', 'organization', 'application', 'user', 'key', 'provider', 'model', 'endpoint')),
    -- Which cluster, application, key …; NULL: each of them by itself.
    subject          text         CONSTRAINT quotas_subject_length CHECK (length(subject) BETWEEN 1 AND 500),
    created_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT quotas_name_unique UNIQUE (organization_id, name),
    CONSTRAINT quotas_subject_sense CHECK (scope <> 'organization' OR subject IS NULL)
);
ALTER TABLE admission.quotas ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.quotas FORCE ROW LEVEL SECURITY;
CREATE POLICY quotas_tenant ON admission.quotas TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY quotas_system ON admission.quotas FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT ON admission.quotas TO nexus_service;
GRANT SELECT ON admission.quotas TO nexus_readonly, nexus_system;
CREATE TRIGGER quotas_audit AFTER INSERT OR UPDATE OR DELETE ON admission.quotas
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();

-- dashboards.usage_days: how Nexus's own pages are used: counts per day, event, page and visitor. Nobody else is told.
-- requires: identity.organizations, platform.current_organization_id, platform.partitioned_tables, platform.ensure_partition_v1
-- Events and pages come from closed lists, so a day has a bounded number of rows. A visitor is a keyed hash of the person,
-- another one each month: days can be counted by distinct people, and nobody is followed from month to month.
CREATE TABLE dashboards.usage_days (
    organization_id  uuid         NOT NULL,
    day_at           timestamptz  NOT NULL,
    event            text         NOT NULL,
    page             text         NOT NULL,
    visitor          bytea        NOT NULL CONSTRAINT usage_days_visitor_length CHECK (length(visitor) = 16),
    events           bigint       NOT NULL DEFAULT 0,
    duration_ms      bigint       NOT NULL DEFAULT 0,
    PRIMARY KEY (organization_id, day_at, event, page, visitor)
) PARTITION BY RANGE (day_at);
ALTER TABLE dashboards.usage_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE dashboards.usage_days FORCE ROW LEVEL SECURITY;
CREATE POLICY usage_days_tenant ON dashboards.usage_days TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY usage_days_system ON dashboards.usage_days FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON dashboards.usage_days TO nexus_service;
GRANT SELECT ON dashboards.usage_days TO nexus_readonly, nexus_system;
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days)
VALUES ('dashboards.usage_days', 'month', 3, 365);
SELECT platform.ensure_partition_v1('dashboards.usage_days', now());
SELECT platform.ensure_partition_v1('dashboards.usage_days', now() + interval '1 month');

-- identity.invitations: an address asked to join an organization; accepted once, with a token kept as its SHA-256.
-- requires: identity.organizations
CREATE TABLE identity.invitations (
    id               uuid         NOT NULL,
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    email            text         NOT NULL CONSTRAINT invitations_email_form CHECK (email ~ '^[^@\s]+@[^@\s]+$'),
    role             text         NOT NULL CONSTRAINT invitations_role CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    token_hash       bytea        NOT NULL CONSTRAINT invitations_token_unique UNIQUE,
    invited_by       uuid,
    expires_at       timestamptz  NOT NULL,
    accepted_at      timestamptz,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);
ALTER TABLE identity.invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY invitations_tenant ON identity.invitations TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY invitations_system ON identity.invitations TO nexus_system USING (true);
-- Answers the clean-up.
CREATE INDEX invitations_expires_at_idx ON identity.invitations (expires_at);
GRANT INSERT, DELETE, SELECT (id, organization_id, email, role, invited_by, expires_at, accepted_at, created_at)
    ON identity.invitations TO nexus_service;
GRANT SELECT (id, organization_id, email, role, invited_by, expires_at, accepted_at, created_at)
    ON identity.invitations TO nexus_readonly;
GRANT SELECT, UPDATE, DELETE ON identity.invitations TO nexus_system;
CREATE TRIGGER invitations_audit AFTER INSERT OR UPDATE OR DELETE ON identity.invitations
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('token_hash');

-- identity.provider_credentials: what Nexus sends upstream for an organization. The secret is sealed (platform/sealing.py).
-- requires: identity.organizations
CREATE TABLE identity.provider_credentials (
    id               uuid         NOT NULL,
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    provider         text         NOT NULL
                                  CONSTRAINT provider_credentials_provider_form CHECK (provider ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    name             text         NOT NULL CONSTRAINT provider_credentials_name_length CHECK (length(name) BETWEEN 1 AND 200),
    description      text         NOT NULL DEFAULT ''
                                  CONSTRAINT provider_credentials_description_length CHECK (length(description) <= 1000),
    prefix           text         NOT NULL CONSTRAINT provider_credentials_prefix_length CHECK (length(prefix) <= 16),
    secret_hash      bytea        NOT NULL CONSTRAINT provider_credentials_hash_length CHECK (length(secret_hash) = 32),
    sealed           bytea        NOT NULL,
    auth_form        text         NOT NULL DEFAULT ''
                                  CONSTRAINT provider_credentials_auth_form CHECK (auth_form IN (
                                      '', 'bearer', 'x-api-key', 'api-key', 'x-goog-api-key', 'x-subscription-token',
                                      'query_key', 'basic', 'none')),
    base_url         text         CONSTRAINT provider_credentials_base_url_form
                                  CHECK (base_url ~ '^https?://[^/?#@\s]+(/[^?#\s]*)?$' AND length(base_url) <= 500),
    weight           integer      NOT NULL DEFAULT 1 CONSTRAINT provider_credentials_weight CHECK (weight BETWEEN 0 AND 1000),
    is_active        boolean      NOT NULL DEFAULT true,
    expires_at       timestamptz,
    created_by       uuid,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);
ALTER TABLE identity.provider_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.provider_credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY provider_credentials_tenant ON identity.provider_credentials TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY provider_credentials_system ON identity.provider_credentials TO nexus_system USING (true);
-- The service may write a sealed secret but never reads one back.
GRANT INSERT, DELETE, UPDATE (name, description, prefix, secret_hash, sealed, auth_form, base_url, weight, is_active, expires_at),
    SELECT (id, organization_id, provider, name, description, prefix, secret_hash, auth_form, base_url, weight, is_active,
            expires_at, created_by, created_at)
    ON identity.provider_credentials TO nexus_service;
GRANT SELECT (id, organization_id, provider, name, description, prefix, auth_form, base_url, weight, is_active, expires_at,
              created_by, created_at)
    ON identity.provider_credentials TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.provider_credentials TO nexus_system;
CREATE TRIGGER provider_credentials_audit AFTER INSERT OR UPDATE OR DELETE ON identity.provider_credentials
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('secret_hash', 'sealed');
CREATE TRIGGER provider_credentials_version AFTER INSERT OR UPDATE OR DELETE ON identity.provider_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');

-- identity.roles: named sets of permissions; built-in ones belong to no organization and cannot be changed.
-- requires: identity.organizations, identity.permissions
CREATE TABLE identity.roles (
    id               uuid         PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id  uuid         REFERENCES identity.organizations (id) ON DELETE CASCADE,
    name             text         NOT NULL CONSTRAINT roles_name_form CHECK (name ~ '^[a-z][a-z0-9_-]{1,62}$'),
    description      text         NOT NULL DEFAULT '',
    created_at       timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT roles_name_unique UNIQUE NULLS NOT DISTINCT (organization_id, name)
);
ALTER TABLE identity.roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.roles FORCE ROW LEVEL SECURITY;
CREATE POLICY roles_builtin ON identity.roles FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY roles_tenant ON identity.roles TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY roles_system ON identity.roles TO nexus_system USING (true);
CREATE POLICY roles_owner ON identity.roles TO nexus_owner USING (organization_id IS NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.roles TO nexus_service;
GRANT SELECT ON identity.roles TO nexus_readonly, nexus_system;
CREATE TRIGGER roles_audit AFTER INSERT OR UPDATE OR DELETE ON identity.roles
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
INSERT INTO identity.roles (id, name, description) VALUES
    ('00000000-0000-8000-8000-000000000001', 'system_admin', 'everything, in every organization'),
    ('00000000-0000-8000-8000-000000000002', 'organization_owner', 'everything within the organization'),
    ('00000000-0000-8000-8000-000000000003', 'organization_admin', 'people, keys, prices and figures of the organization'),
    ('00000000-0000-8000-8000-000000000004', 'organization_member', 'sends records and reads figures'),
    ('00000000-0000-8000-8000-000000000005', 'organization_viewer', 'reads figures'),
    ('00000000-0000-8000-8000-000000000006', 'application_admin', 'applications and their quotas'),
    ('00000000-0000-8000-8000-000000000007', 'application_viewer', 'reads applications and quotas'),
    ('00000000-0000-8000-8000-000000000008', 'operations_admin', 'configures and watches the system'),
    ('00000000-0000-8000-8000-000000000009', 'auditor', 'reads and exports audit log and figures');

-- identity.sign_in_providers: OpenID Connect providers people may sign in by. They hold for the installation.
-- requires: identity.organizations, platform.audit_row_v1
-- New people get an account only with an address of an allowed domain that the provider has verified; they then join the
-- default organization as viewer or member. The client's secret is sealed.
CREATE TABLE identity.sign_in_providers (
    id                        uuid         PRIMARY KEY,
    slug                      text         NOT NULL CONSTRAINT sign_in_providers_slug_unique UNIQUE
                                           CONSTRAINT sign_in_providers_slug_form CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    name                      text         NOT NULL CONSTRAINT sign_in_providers_name_length CHECK (length(name) BETWEEN 1 AND 200),
    issuer                    text         NOT NULL CONSTRAINT sign_in_providers_issuer_form CHECK (issuer ~ '^https?://'),
    client_id                 text         NOT NULL,
    client_secret_sealed      bytea,
    allowed_domains           text[]       NOT NULL DEFAULT '{}',
    default_organization      uuid         REFERENCES identity.organizations (id) ON DELETE SET NULL,
    default_role              text         NOT NULL DEFAULT 'viewer'
                                           CONSTRAINT sign_in_providers_role CHECK (default_role IN ('member', 'viewer')),
    allows_private_addresses  boolean      NOT NULL DEFAULT false,
    is_active                 boolean      NOT NULL DEFAULT true,
    created_at                timestamptz  NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sign_in_providers TO nexus_system;
CREATE TRIGGER sign_in_providers_audit AFTER INSERT OR UPDATE OR DELETE ON identity.sign_in_providers
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('client_secret_sealed');

-- identity.snapshot_organizations_v1: every organization, for the data plane's snapshot.
-- requires: identity.organizations
CREATE FUNCTION identity.snapshot_organizations_v1()
    RETURNS TABLE (id uuid, slug text, currency text, tier text, reporting_zone text, is_active boolean)
    LANGUAGE sql STABLE
    AS $$
    SELECT o.id, o.slug, o.currency, o.tier, o.reporting_zone, o.is_active
    FROM identity.organizations AS o
$$;
REVOKE ALL ON FUNCTION identity.snapshot_organizations_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_organizations_v1() TO nexus_system;

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

-- metering.fold_journal_v1: moves up to so many journal rows into the rollups of all levels; tells how many it moved.
-- requires: metering.rollup_journal, metering.rollups_minute, metering.rollups_quarter_hour, metering.rollups_hour, metering.rollups_day, metering.day_zones, metering.rollup_horizons, metering.day_start_v1, metering.merge_bins_v1, metering.dims_id_v1, metering.known_zone_v1, metering.sum_bigint_v1, identity.organizations, platform.ensure_partition_v1
-- -1 when another node is folding. Runs as nexus_system. One statement takes rows out of the journal and adds them to the
-- rollups, so whoever reads both in one snapshot always sees each record once. One folder at a time holds the lock
-- nexus.metering.rollups (rebuilding of days and retention take it too), so row locks never meet in two orders.
-- Smaller sets are made from larger ones, and coarser levels from finer, so most work is done once.
CREATE FUNCTION metering.fold_journal_v1(max_rows integer) RETURNS integer
    LANGUAGE plpgsql SECURITY INVOKER
    -- Groups must be hashed: sorting rows of twelve texts costs several times as much.
    SET work_mem = '64MB' SET jit = off
    AS $$
DECLARE
    places  tid[];
    months  timestamptz[];
    item    timestamptz;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('nexus.metering.rollups', 0)) THEN
        RETURN -1;
    END IF;
    SELECT array_agg(j.place), array_agg(DISTINCT date_trunc('month', j.minute, 'UTC'))
    INTO places, months
    FROM (SELECT ctid AS place, minute FROM metering.rollup_journal LIMIT max_rows) AS j;
    IF places IS NULL THEN
        RETURN 0;
    END IF;
    FOREACH item IN ARRAY months LOOP
        PERFORM platform.ensure_partition_v1('metering.rollups_minute', item),
                platform.ensure_partition_v1('metering.rollups_quarter_hour', item),
                platform.ensure_partition_v1('metering.rollups_hour', item);
    END LOOP;
    INSERT INTO metering.day_zones (organization_id, zone)
    SELECT o.id, metering.known_zone_v1(o.reporting_zone)
    FROM identity.organizations AS o
    WHERE o.id IN (SELECT j.organization_id FROM metering.rollup_journal AS j WHERE j.ctid = ANY (places))
      AND NOT EXISTS (SELECT FROM metering.day_zones AS z WHERE z.organization_id = o.id)
    ORDER BY o.id
    ON CONFLICT DO NOTHING;

    WITH
    taken AS MATERIALIZED (
        DELETE FROM metering.rollup_journal AS j
        WHERE j.ctid = ANY (places)
        RETURNING *, CASE WHEN status_code >= 400 OR status_code = 0 THEN requests ELSE 0 END AS errors,
                  CASE WHEN bin IS NOT NULL THEN requests ELSE 0 END AS latency_count
    ),
    of_endpoints AS MATERIALIZED (
        SELECT organization_id, 2::smallint AS dimension_set, minute,
               provider, endpoint, method, model, region, status_code, NULL::uuid AS key_id, '' AS application, '' AS
               user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM taken
        GROUP BY organization_id, minute, provider, endpoint, method, model, region, status_code, currency, bin
    ),
    of_models AS MATERIALIZED (
        SELECT organization_id, 1::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, model, '' AS region, NULL::smallint AS status_code, NULL::uuid
               AS key_id, '' AS application, '' AS user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM of_endpoints
        GROUP BY organization_id, minute, provider, model, currency, bin
    ),
    of_users AS MATERIALIZED (
        SELECT organization_id, 4::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, model, '' AS region, NULL::smallint AS status_code, NULL::uuid
               AS key_id, '' AS application, user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM taken
        GROUP BY organization_id, minute, provider, model, user_ref, currency, bin
    ),
    binned AS (
        SELECT * FROM of_endpoints
        UNION ALL
        SELECT * FROM of_models
        UNION ALL
        SELECT organization_id, 0::smallint AS dimension_set, minute,
               '' AS provider, '' AS endpoint, '' AS method, '' AS model, '' AS region, NULL::smallint AS status_code,
               NULL::uuid AS key_id, '' AS application, '' AS user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM of_models
        GROUP BY organization_id, minute, currency, bin
        UNION ALL
        SELECT organization_id, 3::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, model, '' AS region, NULL::smallint AS status_code, key_id,
               application, '' AS user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM taken
        GROUP BY organization_id, minute, provider, model, key_id, application, currency, bin
        UNION ALL
        SELECT * FROM of_users
        UNION ALL
        SELECT organization_id, 6::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, '' AS model, '' AS region, NULL::smallint AS status_code, NULL::uuid
               AS key_id, '' AS application, user_ref, '' AS tag_name, '' AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM of_users
        GROUP BY organization_id, minute, provider, user_ref, currency, bin
        UNION ALL
        SELECT organization_id, 5::smallint AS dimension_set, minute,
               provider, '' AS endpoint, '' AS method, model, '' AS region, NULL::smallint AS status_code, NULL::uuid
               AS key_id, '' AS application, '' AS user_ref, g.key AS tag_name, g.value AS tag_value, currency,
               bin,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens
        FROM taken CROSS JOIN LATERAL jsonb_each_text(tags) AS g
        GROUP BY organization_id, minute, provider, model, g.key, g.value, currency, bin
    ),
    minutes AS MATERIALIZED (
        SELECT organization_id, dimension_set, minute AS bucket,
               metering.dims_id_v1(ROW(provider, endpoint, method, model, region, status_code, key_id, application, user_ref, tag_name, tag_value, currency)::text) AS dims_id,
               provider, endpoint, method, model, region, status_code, key_id, application, user_ref, tag_name,
               tag_value, currency,
               metering.sum_bigint_v1(requests) AS requests, metering.sum_bigint_v1(errors) AS errors, metering.sum_bigint_v1(unpriced) AS unpriced, sum(cost) AS cost,
               metering.sum_bigint_v1(latency_count) AS latency_count, sum(latency_sum_us) AS latency_sum_us, sum(request_bytes) AS
               request_bytes, sum(response_bytes) AS response_bytes, metering.sum_bigint_v1(input_tokens) AS input_tokens,
               metering.sum_bigint_v1(output_tokens) AS output_tokens, metering.sum_bigint_v1(cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(image_output_tokens) AS image_output_tokens,
               coalesce(string_agg(int2send(bin) || int8send(latency_count::bigint), ''::bytea) FILTER (WHERE latency_count <> 0), '') AS latency_bins
        FROM binned
        GROUP BY organization_id, dimension_set, minute, provider, endpoint, method, model, region, status_code, key_id, application, user_ref, tag_name, tag_value, currency
    ),
    quarters AS MATERIALIZED (
        SELECT m.organization_id, m.dimension_set, date_bin('15 minutes', m.bucket, timestamptz '2000-01-01 00:00:00+00') AS bucket, m.dims_id,
               m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
               m.user_ref, m.tag_name, m.tag_value, m.currency,
               metering.sum_bigint_v1(m.requests) AS requests, metering.sum_bigint_v1(m.errors) AS errors, metering.sum_bigint_v1(m.unpriced) AS unpriced, sum(m.cost) AS cost,
               metering.sum_bigint_v1(m.latency_count) AS latency_count, sum(m.latency_sum_us) AS latency_sum_us, sum(m.request_bytes) AS
               request_bytes, sum(m.response_bytes) AS response_bytes, metering.sum_bigint_v1(m.input_tokens) AS input_tokens,
               metering.sum_bigint_v1(m.output_tokens) AS output_tokens, metering.sum_bigint_v1(m.cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(m.cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(m.reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(m.audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(m.audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(m.image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(m.image_output_tokens) AS image_output_tokens,
               string_agg(m.latency_bins, ''::bytea) AS latency_bins
        FROM minutes AS m
        GROUP BY m.organization_id, m.dimension_set, date_bin('15 minutes', m.bucket, timestamptz '2000-01-01 00:00:00+00'), m.dims_id,
                 m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
                 m.user_ref, m.tag_name, m.tag_value, m.currency
    ),
    hours AS MATERIALIZED (
        SELECT m.organization_id, m.dimension_set, date_bin('1 hour', m.bucket, timestamptz '2000-01-01 00:00:00+00') AS bucket, m.dims_id,
               m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
               m.user_ref, m.tag_name, m.tag_value, m.currency,
               metering.sum_bigint_v1(m.requests) AS requests, metering.sum_bigint_v1(m.errors) AS errors, metering.sum_bigint_v1(m.unpriced) AS unpriced, sum(m.cost) AS cost,
               metering.sum_bigint_v1(m.latency_count) AS latency_count, sum(m.latency_sum_us) AS latency_sum_us, sum(m.request_bytes) AS
               request_bytes, sum(m.response_bytes) AS response_bytes, metering.sum_bigint_v1(m.input_tokens) AS input_tokens,
               metering.sum_bigint_v1(m.output_tokens) AS output_tokens, metering.sum_bigint_v1(m.cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(m.cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(m.reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(m.audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(m.audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(m.image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(m.image_output_tokens) AS image_output_tokens,
               string_agg(m.latency_bins, ''::bytea) AS latency_bins
        FROM quarters AS m
        GROUP BY m.organization_id, m.dimension_set, date_bin('1 hour', m.bucket, timestamptz '2000-01-01 00:00:00+00'), m.dims_id,
                 m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
                 m.user_ref, m.tag_name, m.tag_value, m.currency
    ),
    day_starts AS MATERIALIZED (
        SELECT q.organization_id, q.bucket, metering.day_start_v1(q.bucket, coalesce(z.zone, 'UTC')) AS day
        FROM (SELECT DISTINCT organization_id, bucket FROM quarters) AS q
        LEFT JOIN metering.day_zones AS z USING (organization_id)
    ),
    days AS MATERIALIZED (
        SELECT m.organization_id, m.dimension_set, d.day AS bucket, m.dims_id,
               m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
               m.user_ref, m.tag_name, m.tag_value, m.currency,
               metering.sum_bigint_v1(m.requests) AS requests, metering.sum_bigint_v1(m.errors) AS errors, metering.sum_bigint_v1(m.unpriced) AS unpriced, sum(m.cost) AS cost,
               metering.sum_bigint_v1(m.latency_count) AS latency_count, sum(m.latency_sum_us) AS latency_sum_us, sum(m.request_bytes) AS
               request_bytes, sum(m.response_bytes) AS response_bytes, metering.sum_bigint_v1(m.input_tokens) AS input_tokens,
               metering.sum_bigint_v1(m.output_tokens) AS output_tokens, metering.sum_bigint_v1(m.cached_input_tokens) AS cached_input_tokens,
               metering.sum_bigint_v1(m.cache_write_tokens) AS cache_write_tokens, metering.sum_bigint_v1(m.reasoning_tokens) AS reasoning_tokens,
               metering.sum_bigint_v1(m.audio_input_tokens) AS audio_input_tokens, metering.sum_bigint_v1(m.audio_output_tokens) AS audio_output_tokens,
               metering.sum_bigint_v1(m.image_input_tokens) AS image_input_tokens, metering.sum_bigint_v1(m.image_output_tokens) AS image_output_tokens,
               string_agg(m.latency_bins, ''::bytea) AS latency_bins
        FROM quarters AS m
        JOIN day_starts AS d USING (organization_id, bucket)
        GROUP BY m.organization_id, m.dimension_set, d.day, m.dims_id,
                 m.provider, m.endpoint, m.method, m.model, m.region, m.status_code, m.key_id, m.application,
                 m.user_ref, m.tag_name, m.tag_value, m.currency
    ),
    into_minute AS (
        INSERT INTO metering.rollups_minute AS r (
            organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code,
            key_id, application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost,
            latency_count, latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens,
            cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
            image_input_tokens, image_output_tokens, latency_bins
        )
        SELECT
            m.organization_id, m.dimension_set, m.bucket, m.dims_id, m.provider, m.endpoint, m.method, m.model,
            m.region, m.status_code, m.key_id, m.application, m.user_ref, m.tag_name, m.tag_value, m.currency,
            m.requests, m.errors, m.unpriced, m.cost, m.latency_count, m.latency_sum_us, m.request_bytes,
            m.response_bytes, m.input_tokens, m.output_tokens, m.cached_input_tokens, m.cache_write_tokens,
            m.reasoning_tokens, m.audio_input_tokens, m.audio_output_tokens, m.image_input_tokens,
            m.image_output_tokens,
            CASE WHEN length(m.latency_bins) > 1200 THEN metering.merge_bins_v1(m.latency_bins) ELSE m.latency_bins END
        FROM minutes AS m
        WHERE m.bucket >= coalesce((SELECT h.whole_from FROM metering.rollup_horizons AS h WHERE h.level = 'minute'), '-infinity')
        ORDER BY m.organization_id, m.dimension_set, m.bucket, m.dims_id
        ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
            requests = r.requests + excluded.requests,
            errors = r.errors + excluded.errors,
            unpriced = r.unpriced + excluded.unpriced,
            cost = r.cost + excluded.cost,
            latency_count = r.latency_count + excluded.latency_count,
            latency_sum_us = r.latency_sum_us + excluded.latency_sum_us,
            request_bytes = r.request_bytes + excluded.request_bytes,
            response_bytes = r.response_bytes + excluded.response_bytes,
            input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
            cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
            audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = r.image_input_tokens + excluded.image_input_tokens,
            image_output_tokens = r.image_output_tokens + excluded.image_output_tokens,
            latency_bins = CASE
                WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                ELSE r.latency_bins || excluded.latency_bins
            END,
            touched_at = now()
    ),
    into_quarter_hour AS (
        INSERT INTO metering.rollups_quarter_hour AS r (
            organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code,
            key_id, application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost,
            latency_count, latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens,
            cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
            image_input_tokens, image_output_tokens, latency_bins
        )
        SELECT
            m.organization_id, m.dimension_set, m.bucket, m.dims_id, m.provider, m.endpoint, m.method, m.model,
            m.region, m.status_code, m.key_id, m.application, m.user_ref, m.tag_name, m.tag_value, m.currency,
            m.requests, m.errors, m.unpriced, m.cost, m.latency_count, m.latency_sum_us, m.request_bytes,
            m.response_bytes, m.input_tokens, m.output_tokens, m.cached_input_tokens, m.cache_write_tokens,
            m.reasoning_tokens, m.audio_input_tokens, m.audio_output_tokens, m.image_input_tokens,
            m.image_output_tokens,
            CASE WHEN length(m.latency_bins) > 1200 THEN metering.merge_bins_v1(m.latency_bins) ELSE m.latency_bins END
        FROM quarters AS m
        WHERE m.bucket >= coalesce((SELECT h.whole_from FROM metering.rollup_horizons AS h WHERE h.level = 'quarter_hour'), '-infinity')
        ORDER BY m.organization_id, m.dimension_set, m.bucket, m.dims_id
        ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
            requests = r.requests + excluded.requests,
            errors = r.errors + excluded.errors,
            unpriced = r.unpriced + excluded.unpriced,
            cost = r.cost + excluded.cost,
            latency_count = r.latency_count + excluded.latency_count,
            latency_sum_us = r.latency_sum_us + excluded.latency_sum_us,
            request_bytes = r.request_bytes + excluded.request_bytes,
            response_bytes = r.response_bytes + excluded.response_bytes,
            input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
            cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
            audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = r.image_input_tokens + excluded.image_input_tokens,
            image_output_tokens = r.image_output_tokens + excluded.image_output_tokens,
            latency_bins = CASE
                WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                ELSE r.latency_bins || excluded.latency_bins
            END,
            touched_at = now()
    ),
    into_hour AS (
        INSERT INTO metering.rollups_hour AS r (
            organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code,
            key_id, application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost,
            latency_count, latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens,
            cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
            image_input_tokens, image_output_tokens, latency_bins
        )
        SELECT
            m.organization_id, m.dimension_set, m.bucket, m.dims_id, m.provider, m.endpoint, m.method, m.model,
            m.region, m.status_code, m.key_id, m.application, m.user_ref, m.tag_name, m.tag_value, m.currency,
            m.requests, m.errors, m.unpriced, m.cost, m.latency_count, m.latency_sum_us, m.request_bytes,
            m.response_bytes, m.input_tokens, m.output_tokens, m.cached_input_tokens, m.cache_write_tokens,
            m.reasoning_tokens, m.audio_input_tokens, m.audio_output_tokens, m.image_input_tokens,
            m.image_output_tokens,
            CASE WHEN length(m.latency_bins) > 1200 THEN metering.merge_bins_v1(m.latency_bins) ELSE m.latency_bins END
        FROM hours AS m
        WHERE m.bucket >= coalesce((SELECT h.whole_from FROM metering.rollup_horizons AS h WHERE h.level = 'hour'), '-infinity')
        ORDER BY m.organization_id, m.dimension_set, m.bucket, m.dims_id
        ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
            requests = r.requests + excluded.requests,
            errors = r.errors + excluded.errors,
            unpriced = r.unpriced + excluded.unpriced,
            cost = r.cost + excluded.cost,
            latency_count = r.latency_count + excluded.latency_count,
            latency_sum_us = r.latency_sum_us + excluded.latency_sum_us,
            request_bytes = r.request_bytes + excluded.request_bytes,
            response_bytes = r.response_bytes + excluded.response_bytes,
            input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
            cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
            audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = r.image_input_tokens + excluded.image_input_tokens,
            image_output_tokens = r.image_output_tokens + excluded.image_output_tokens,
            latency_bins = CASE
                WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                ELSE r.latency_bins || excluded.latency_bins
            END,
            touched_at = now()
    ),
    into_day AS (
        INSERT INTO metering.rollups_day AS r (
            organization_id, dimension_set, bucket, dims_id, provider, endpoint, method, model, region, status_code,
            key_id, application, user_ref, tag_name, tag_value, currency, requests, errors, unpriced, cost,
            latency_count, latency_sum_us, request_bytes, response_bytes, input_tokens, output_tokens,
            cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
            image_input_tokens, image_output_tokens, latency_bins
        )
        SELECT
            m.organization_id, m.dimension_set, m.bucket, m.dims_id, m.provider, m.endpoint, m.method, m.model,
            m.region, m.status_code, m.key_id, m.application, m.user_ref, m.tag_name, m.tag_value, m.currency,
            m.requests, m.errors, m.unpriced, m.cost, m.latency_count, m.latency_sum_us, m.request_bytes,
            m.response_bytes, m.input_tokens, m.output_tokens, m.cached_input_tokens, m.cache_write_tokens,
            m.reasoning_tokens, m.audio_input_tokens, m.audio_output_tokens, m.image_input_tokens,
            m.image_output_tokens,
            CASE WHEN length(m.latency_bins) > 1200 THEN metering.merge_bins_v1(m.latency_bins) ELSE m.latency_bins END
        FROM days AS m
        ORDER BY m.organization_id, m.dimension_set, m.bucket, m.dims_id
        ON CONFLICT (organization_id, dimension_set, bucket, dims_id) DO UPDATE SET
            requests = r.requests + excluded.requests,
            errors = r.errors + excluded.errors,
            unpriced = r.unpriced + excluded.unpriced,
            cost = r.cost + excluded.cost,
            latency_count = r.latency_count + excluded.latency_count,
            latency_sum_us = r.latency_sum_us + excluded.latency_sum_us,
            request_bytes = r.request_bytes + excluded.request_bytes,
            response_bytes = r.response_bytes + excluded.response_bytes,
            input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
            cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens,
            audio_input_tokens = r.audio_input_tokens + excluded.audio_input_tokens,
            audio_output_tokens = r.audio_output_tokens + excluded.audio_output_tokens,
            image_input_tokens = r.image_input_tokens + excluded.image_input_tokens,
            image_output_tokens = r.image_output_tokens + excluded.image_output_tokens,
            latency_bins = CASE
                WHEN length(r.latency_bins) + length(excluded.latency_bins) > 1600
                THEN metering.merge_bins_v1(r.latency_bins || excluded.latency_bins)
                ELSE r.latency_bins || excluded.latency_bins
            END,
            touched_at = now()
    )
    SELECT count(*) INTO max_rows FROM taken;
    RETURN max_rows;
END
$$;
REVOKE ALL ON FUNCTION metering.fold_journal_v1(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.fold_journal_v1(integer) TO nexus_system;

-- identity.access_keys: what clients of Nexus send. The key itself is shown once; its SHA-256 and its prefix are kept.
-- requires: identity.organizations, identity.users
CREATE TABLE identity.access_keys (
    id                     uuid         NOT NULL,
    organization_id        uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    name                   text         NOT NULL CONSTRAINT access_keys_name_length CHECK (length(name) BETWEEN 1 AND 200),
    prefix                 text         NOT NULL,
    key_hash               bytea        NOT NULL CONSTRAINT access_keys_hash_unique UNIQUE
                                        CONSTRAINT access_keys_hash_length CHECK (length(key_hash) = 32),
    scopes                 text[]       NOT NULL CONSTRAINT access_keys_scopes_some CHECK (cardinality(scopes) > 0),
    application            text         NOT NULL DEFAULT '',
    user_id                uuid         REFERENCES identity.users (id) ON DELETE SET NULL,
    rate_limit_per_minute  integer      CONSTRAINT access_keys_rate_positive CHECK (rate_limit_per_minute > 0),
    not_before             timestamptz,
    expires_at             timestamptz,
    revoked_at             timestamptz,
    last_used_at           timestamptz,
    rotated_from           uuid,
    created_by             uuid,
    created_at             timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);
ALTER TABLE identity.access_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.access_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY access_keys_tenant ON identity.access_keys TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY access_keys_system ON identity.access_keys TO nexus_system USING (true);
GRANT INSERT, UPDATE (name, expires_at, revoked_at, last_used_at), SELECT (
    id, organization_id, name, prefix, scopes, application, user_id, rate_limit_per_minute, not_before, expires_at,
    revoked_at, last_used_at, rotated_from, created_by, created_at
) ON identity.access_keys TO nexus_service;
GRANT SELECT (
    id, organization_id, name, prefix, scopes, application, user_id, rate_limit_per_minute, not_before, expires_at,
    revoked_at, last_used_at, rotated_from, created_by, created_at
) ON identity.access_keys TO nexus_readonly;
GRANT SELECT, INSERT, UPDATE ON identity.access_keys TO nexus_system;
CREATE TRIGGER access_keys_audit
    AFTER INSERT OR UPDATE OF name, scopes, application, expires_at, revoked_at OR DELETE ON identity.access_keys
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('key_hash');
CREATE TRIGGER access_keys_version
    AFTER INSERT OR UPDATE OF scopes, application, user_id, not_before, expires_at, revoked_at OR DELETE ON identity.access_keys
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('keys');

-- identity.known_devices: browsers from which a person has signed in; somebody else's failures do not lock these out.
-- requires: identity.users
-- The cookie's token is kept as its SHA-256; several people may share a browser, hence the pair.
CREATE TABLE identity.known_devices (
    id            uuid         NOT NULL CONSTRAINT known_devices_id_unique UNIQUE,
    token_hash    bytea        NOT NULL CONSTRAINT known_devices_token_length CHECK (length(token_hash) = 32),
    user_id       uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    created_at    timestamptz  NOT NULL DEFAULT now(),
    last_used_at  timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (token_hash, user_id)
);
-- Answers "forget all devices of a person".
CREATE INDEX known_devices_user_id_idx ON identity.known_devices (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.known_devices TO nexus_system;

-- identity.memberships: who belongs to an organization, as what, with which permissions on top of the role's.
-- requires: identity.organizations, identity.users
CREATE TABLE identity.memberships (
    organization_id    uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    user_id            uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    role               text         NOT NULL CONSTRAINT memberships_role CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    extra_permissions  text[]       NOT NULL DEFAULT '{}',
    invited_by         uuid,
    created_at         timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
-- Answers which organizations a person may enter, at sign-in.
CREATE INDEX memberships_user_id_idx ON identity.memberships (user_id);
ALTER TABLE identity.memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.memberships FORCE ROW LEVEL SECURITY;
CREATE POLICY memberships_tenant ON identity.memberships TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY memberships_system ON identity.memberships TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.memberships TO nexus_service, nexus_system;
GRANT SELECT ON identity.memberships TO nexus_readonly;
CREATE TRIGGER memberships_audit AFTER INSERT OR UPDATE OR DELETE ON identity.memberships
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER memberships_version AFTER INSERT OR UPDATE OR DELETE ON identity.memberships
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('keys');
-- A person is visible to the organizations they belong to, and to no other.
CREATE POLICY users_members ON identity.users FOR SELECT TO nexus_service, nexus_readonly
    USING (EXISTS (
        SELECT FROM identity.memberships AS m
        WHERE m.user_id = users.id AND m.organization_id = (SELECT platform.current_organization_id())
    ));

-- identity.password_links: one-time links by which a person sets a new password; the token is kept as its SHA-256.
-- requires: identity.users, platform.audit_row_v1
CREATE TABLE identity.password_links (
    id          uuid         PRIMARY KEY,
    token_hash  bytea        NOT NULL CONSTRAINT password_links_token_unique UNIQUE
                             CONSTRAINT password_links_token_length CHECK (length(token_hash) = 32),
    user_id     uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    made_by     uuid,
    created_at  timestamptz  NOT NULL DEFAULT now(),
    expires_at  timestamptz  NOT NULL,
    used_at     timestamptz
);
-- Answers "none is left once one is used", and the clean-up.
CREATE INDEX password_links_user_id_idx ON identity.password_links (user_id);
CREATE INDEX password_links_expires_at_idx ON identity.password_links (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.password_links TO nexus_system;
CREATE TRIGGER password_links_audit AFTER INSERT OR UPDATE OR DELETE ON identity.password_links
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('token_hash');

-- identity.passwords: password hashes (argon2id); no login but nexus_system reads them.
-- requires: identity.users, platform.audit_row_v1
CREATE TABLE identity.passwords (
    user_id         uuid         PRIMARY KEY REFERENCES identity.users (id) ON DELETE CASCADE,
    password_hash   text         NOT NULL,
    changed_at      timestamptz  NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.passwords TO nexus_system;
CREATE TRIGGER passwords_audit AFTER INSERT OR UPDATE OF password_hash OR DELETE ON identity.passwords
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('password_hash');

-- identity.second_factors: a person's TOTP secret, sealed; it counts once it is confirmed by a first code.
-- requires: identity.users, platform.audit_row_v1
-- `last_step` is the 30-second step of the last code that was taken: no code is taken twice, nor one before it.
CREATE TABLE identity.second_factors (
    user_id        uuid         PRIMARY KEY REFERENCES identity.users (id) ON DELETE CASCADE,
    secret_sealed  bytea        NOT NULL,
    created_at     timestamptz  NOT NULL DEFAULT now(),
    confirmed_at   timestamptz,
    last_step      bigint       NOT NULL DEFAULT 0
);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.second_factors TO nexus_system;
CREATE TRIGGER second_factors_audit AFTER INSERT OR UPDATE OF secret_sealed, confirmed_at OR DELETE ON identity.second_factors
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('secret_sealed');

-- identity.sessions: sign-in sessions. The cookie's token is kept as its SHA-256; a person's, so of no organization.
-- requires: identity.users
-- `authenticated_at` is when the person last proved who they are: sensitive changes ask that it is recent.
CREATE TABLE identity.sessions (
    id                uuid         PRIMARY KEY,
    user_id           uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    token_hash        bytea        NOT NULL CONSTRAINT sessions_token_unique UNIQUE
                                   CONSTRAINT sessions_token_length CHECK (length(token_hash) = 32),
    created_at        timestamptz  NOT NULL DEFAULT now(),
    expires_at        timestamptz  NOT NULL,
    last_accessed_at  timestamptz  NOT NULL DEFAULT now(),
    authenticated_at  timestamptz  NOT NULL DEFAULT now(),
    idle_seconds      integer      NOT NULL DEFAULT 43200 CONSTRAINT sessions_idle_positive CHECK (idle_seconds > 0),
    revoked_at        timestamptz,
    ip_address        text,
    user_agent        text,
    login_method      text         NOT NULL DEFAULT 'password'
                                   CONSTRAINT sessions_login_method CHECK (login_method IN ('password', 'single_sign_on')),
    is_mfa_verified   boolean      NOT NULL DEFAULT false,
    data              jsonb        NOT NULL DEFAULT '{}'
);
-- Answers the list of a person's sessions.
CREATE INDEX sessions_user_id_idx ON identity.sessions (user_id);
-- Answers the clean-up of expired ones.
CREATE INDEX sessions_expires_at_idx ON identity.sessions (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sessions TO nexus_system;

-- identity.sign_in_challenges: sign-ins whose password was right and whose second factor is due; kept for minutes.
-- requires: identity.users
CREATE TABLE identity.sign_in_challenges (
    token_hash  bytea        PRIMARY KEY CONSTRAINT sign_in_challenges_token_length CHECK (length(token_hash) = 32),
    user_id     uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    expires_at  timestamptz  NOT NULL,
    method      text         NOT NULL DEFAULT 'password'
                             CONSTRAINT sign_in_challenges_method CHECK (method IN ('password', 'single_sign_on'))
);
-- Answers the clean-up, and "none is left once the password changes".
CREATE INDEX sign_in_challenges_expires_at_idx ON identity.sign_in_challenges (expires_at);
CREATE INDEX sign_in_challenges_user_id_idx ON identity.sign_in_challenges (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sign_in_challenges TO nexus_system;

-- catalog.snapshot_endpoints_v1: the shared endpoints, for the data plane to find a path's template.
-- requires: catalog.endpoints
CREATE FUNCTION catalog.snapshot_endpoints_v1() RETURNS TABLE (provider text, method text, path_template text)
    LANGUAGE sql STABLE
    AS $$
    SELECT e.provider, e.method, e.path_template FROM catalog.endpoints AS e WHERE e.organization_id IS NULL
$$;
REVOKE ALL ON FUNCTION catalog.snapshot_endpoints_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION catalog.snapshot_endpoints_v1() TO nexus_system;

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

-- admission.applications: who shares an organization's capacity. Access keys and records name them.
-- requires: admission.clusters
CREATE TABLE admission.applications (
    organization_id  uuid         NOT NULL REFERENCES identity.organizations (id) ON DELETE CASCADE,
    id               uuid         NOT NULL,
    cluster_id       uuid,
    name             text         NOT NULL CONSTRAINT applications_name_length CHECK (length(name) BETWEEN 1 AND 200),
    metadata         jsonb        NOT NULL DEFAULT '{}',
    is_active        boolean      NOT NULL DEFAULT true,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT applications_name_unique UNIQUE (organization_id, name),
    CONSTRAINT applications_cluster_fkey FOREIGN KEY (organization_id, cluster_id)
        REFERENCES admission.clusters (organization_id, id)
);
ALTER TABLE admission.applications ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.applications FORCE ROW LEVEL SECURITY;
CREATE POLICY applications_tenant ON admission.applications TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY applications_system ON admission.applications FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE ON admission.applications TO nexus_service;
GRANT SELECT ON admission.applications TO nexus_readonly, nexus_system;
CREATE TRIGGER applications_audit AFTER INSERT OR UPDATE OR DELETE ON admission.applications
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER applications_version AFTER INSERT OR UPDATE OR DELETE ON admission.applications
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');

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

-- identity.snapshot_provider_credentials_v1: every provider credential that may be used, sealed, for the gateway's snapshot.
-- requires: identity.provider_credentials
CREATE FUNCTION identity.snapshot_provider_credentials_v1()
    RETURNS TABLE (id uuid, organization_id uuid, provider text, sealed bytea, auth_form text, base_url text, weight integer,
                   expires_at timestamptz)
    LANGUAGE sql STABLE
    AS $$
    SELECT c.id, c.organization_id, c.provider, c.sealed, c.auth_form, c.base_url, c.weight, c.expires_at
    FROM identity.provider_credentials AS c
    JOIN identity.organizations AS o ON o.id = c.organization_id AND o.is_active
    WHERE c.is_active AND (c.expires_at IS NULL OR c.expires_at > now())
$$;
REVOKE ALL ON FUNCTION identity.snapshot_provider_credentials_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_provider_credentials_v1() TO nexus_system;

-- identity.role_permissions: which permissions a role holds; `*` holds all.
-- requires: identity.roles
CREATE TABLE identity.role_permissions (
    role_id          uuid  NOT NULL REFERENCES identity.roles (id) ON DELETE CASCADE,
    organization_id  uuid,
    permission       text  NOT NULL,
    PRIMARY KEY (role_id, permission)
);
ALTER TABLE identity.role_permissions ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.role_permissions FORCE ROW LEVEL SECURITY;
CREATE POLICY role_permissions_builtin ON identity.role_permissions FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id IS NULL AND (SELECT platform.current_organization_id()) IS NOT NULL);
CREATE POLICY role_permissions_tenant ON identity.role_permissions TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY role_permissions_system ON identity.role_permissions TO nexus_system USING (true);
CREATE POLICY role_permissions_owner ON identity.role_permissions TO nexus_owner USING (organization_id IS NULL);
GRANT SELECT, INSERT, DELETE ON identity.role_permissions TO nexus_service;
GRANT SELECT ON identity.role_permissions TO nexus_readonly, nexus_system;
CREATE TRIGGER role_permissions_audit AFTER INSERT OR UPDATE OR DELETE ON identity.role_permissions
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
INSERT INTO identity.role_permissions (role_id, permission)
SELECT r.id, p.permission
FROM identity.roles AS r
JOIN (
    VALUES
        ('system_admin', ARRAY['*']),
        ('organization_owner', ARRAY[
            'organization:read', 'organization:update', 'user:read', 'user:create', 'user:update', 'member:manage',
            'role:read', 'role:manage', 'key:read', 'key:create', 'key:revoke', 'events:write', 'gateway:call',
            'credential:read', 'credential:manage', 'metrics:read', 'metrics:export', 'metering:reprice', 'bodies:read',
            'bodies:manage', 'catalog:read', 'catalog:write', 'audit:read', 'audit:export',
            'application:create', 'application:read', 'application:update', 'application:delete',
            'calls:admit', 'quota:create', 'quota:read', 'quota:update', 'quota:delete', 'token:borrow', 'token:adjust']),
        ('organization_admin', ARRAY[
            'organization:read', 'organization:update', 'user:read', 'user:create', 'user:update', 'member:manage',
            'role:read', 'role:manage', 'key:read', 'key:create', 'key:revoke', 'events:write', 'gateway:call',
            'credential:read', 'credential:manage', 'metrics:read', 'metrics:export', 'metering:reprice', 'bodies:read',
            'bodies:manage', 'catalog:read', 'catalog:write', 'audit:read',
            'application:create', 'application:read', 'application:update', 'application:delete',
            'calls:admit', 'quota:create', 'quota:read', 'quota:update', 'quota:delete', 'token:borrow']),
        ('organization_member', ARRAY[
            'organization:read', 'user:read', 'role:read', 'key:read', 'key:create', 'events:write', 'gateway:call',
            'credential:read', 'metrics:read', 'metrics:export', 'catalog:read', 'application:read', 'quota:read', 'calls:admit']),
        ('organization_viewer', ARRAY[
            'organization:read', 'metrics:read', 'catalog:read', 'application:read', 'quota:read']),
        ('application_admin', ARRAY[
            'application:create', 'application:read', 'application:update', 'application:delete', 'calls:admit', 'quota:create',
            'quota:read', 'quota:update', 'quota:delete', 'token:borrow', 'metrics:read', 'catalog:read']),
        ('application_viewer', ARRAY['application:read', 'quota:read', 'metrics:read', 'catalog:read']),
        ('operations_admin', ARRAY[
            'system:configure', 'system:monitor', 'configuration:read', 'configuration:write', 'metrics:read', 'catalog:read']),
        ('auditor', ARRAY['audit:read', 'audit:export', 'metrics:read', 'metrics:export', 'organization:read', 'user:read'])
) AS grants (role, permissions) ON grants.role = r.name
CROSS JOIN LATERAL unnest(grants.permissions) AS p (permission)
WHERE r.organization_id IS NULL;

-- identity.user_roles: roles granted to people beyond their membership's, until an instant if one is given.
-- requires: identity.roles, identity.users, identity.organizations, platform.bump_snapshot_v1
-- A grant without an organization holds in all of them; only nexus_system makes such a one.
CREATE TABLE identity.user_roles (
    id               uuid         PRIMARY KEY,
    organization_id  uuid         REFERENCES identity.organizations (id) ON DELETE CASCADE,
    user_id          uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    role_id          uuid         NOT NULL REFERENCES identity.roles (id) ON DELETE CASCADE,
    granted_by       uuid,
    expires_at       timestamptz,
    created_at       timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT user_roles_once UNIQUE NULLS NOT DISTINCT (organization_id, user_id, role_id)
);
-- Answers which grants have expired.
CREATE INDEX user_roles_expires_at_idx ON identity.user_roles (expires_at) WHERE expires_at IS NOT NULL;
-- Answers what a person may do.
CREATE INDEX user_roles_user_id_idx ON identity.user_roles (user_id);
ALTER TABLE identity.user_roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.user_roles FORCE ROW LEVEL SECURITY;
CREATE POLICY user_roles_tenant ON identity.user_roles TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY user_roles_system ON identity.user_roles TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.user_roles TO nexus_service, nexus_system;
GRANT SELECT ON identity.user_roles TO nexus_readonly;
CREATE TRIGGER user_roles_audit AFTER INSERT OR UPDATE OR DELETE ON identity.user_roles
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
-- Row by row: the clean-up of expired grants mostly finds none, and must not make every process read its keys again.
CREATE TRIGGER user_roles_version AFTER INSERT OR UPDATE OR DELETE ON identity.user_roles
    FOR EACH ROW EXECUTE FUNCTION platform.bump_snapshot_v1('keys');

-- identity.linked_identities: whom a provider's subject is here. The subject decides, never the address it comes with.
-- requires: identity.sign_in_providers, identity.users
CREATE TABLE identity.linked_identities (
    provider_id   uuid         NOT NULL REFERENCES identity.sign_in_providers (id) ON DELETE CASCADE,
    subject       text         NOT NULL CONSTRAINT linked_identities_subject_length CHECK (length(subject) BETWEEN 1 AND 255),
    user_id       uuid         NOT NULL REFERENCES identity.users (id) ON DELETE CASCADE,
    email         text,
    created_at    timestamptz  NOT NULL DEFAULT now(),
    last_used_at  timestamptz,
    PRIMARY KEY (provider_id, subject),
    CONSTRAINT linked_identities_once UNIQUE (provider_id, user_id)
);
-- Answers the list of a person's linked identities.
CREATE INDEX linked_identities_user_id_idx ON identity.linked_identities (user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.linked_identities TO nexus_system;
CREATE TRIGGER linked_identities_audit AFTER INSERT OR DELETE ON identity.linked_identities
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();

-- identity.sign_in_flows: sign-ins that are at a provider just now; each comes back once, to the browser it left from.
-- requires: identity.sign_in_providers, identity.users
CREATE TABLE identity.sign_in_flows (
    state_hash       bytea        PRIMARY KEY CONSTRAINT sign_in_flows_state_length CHECK (length(state_hash) = 32),
    browser_hash     bytea        NOT NULL CONSTRAINT sign_in_flows_browser_length CHECK (length(browser_hash) = 32),
    provider_id      uuid         NOT NULL REFERENCES identity.sign_in_providers (id) ON DELETE CASCADE,
    nonce            text         NOT NULL,
    verifier_sealed  bytea        NOT NULL,
    next_path        text         NOT NULL,
    link_user_id     uuid         REFERENCES identity.users (id) ON DELETE CASCADE,
    expires_at       timestamptz  NOT NULL
);
-- Answers the clean-up.
CREATE INDEX sign_in_flows_expires_at_idx ON identity.sign_in_flows (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.sign_in_flows TO nexus_system;

-- metering.snapshot_body_settings_v1: what organizations that turned it on want kept of bodies, for the gateway's snapshot.
-- requires: metering.body_settings
CREATE FUNCTION metering.snapshot_body_settings_v1()
    RETURNS TABLE (organization_id uuid, share double precision, max_body_bytes integer, only_failed boolean, providers text[],
                   masks text[], fields text[], words text[])
    LANGUAGE sql STABLE
    AS $$
    SELECT s.organization_id, s.share, s.max_body_bytes, s.only_failed, s.providers, s.masks, s.fields, s.words
    FROM metering.body_settings AS s
    JOIN identity.organizations AS o ON o.id = s.organization_id AND o.is_active
    WHERE s.is_on
$$;
REVOKE ALL ON FUNCTION metering.snapshot_body_settings_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.snapshot_body_settings_v1() TO nexus_system;

-- identity.key_reaches: which providers, models and endpoints an access key may use through the gateway; no row: all.
-- requires: identity.access_keys
CREATE TABLE identity.key_reaches (
    organization_id  uuid         NOT NULL,
    key_id           uuid         NOT NULL,
    providers        text[],
    models           text[],
    endpoints        text[],
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, key_id),
    CONSTRAINT key_reaches_key FOREIGN KEY (organization_id, key_id)
        REFERENCES identity.access_keys (organization_id, id) ON DELETE CASCADE
);
ALTER TABLE identity.key_reaches ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity.key_reaches FORCE ROW LEVEL SECURITY;
CREATE POLICY key_reaches_tenant ON identity.key_reaches TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY key_reaches_system ON identity.key_reaches TO nexus_system USING (true);
GRANT SELECT, INSERT, DELETE, UPDATE (providers, models, endpoints, updated_at) ON identity.key_reaches TO nexus_service;
GRANT SELECT ON identity.key_reaches TO nexus_readonly, nexus_system;
CREATE TRIGGER key_reaches_audit AFTER INSERT OR UPDATE OR DELETE ON identity.key_reaches
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER key_reaches_version AFTER INSERT OR UPDATE OR DELETE ON identity.key_reaches
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('gateway');

-- identity.keys_used_v1: notes when access keys were last used, told by the data plane now and then for many at once.
-- requires: identity.access_keys
-- Rows are locked in one order, so that processes which tell of the same keys do not wait for each other in a circle; what
-- another told a moment ago is left alone. Runs as its caller: nexus_system sees all keys through its policy.
CREATE FUNCTION identity.keys_used_v1(organization_ids uuid[], key_ids uuid[], used_at timestamptz[], apart interval)
    RETURNS integer
    LANGUAGE sql VOLATILE
    AS $$
    WITH told AS (
        SELECT k.organization_id, k.id, t.at
        FROM unnest(organization_ids, key_ids, used_at) AS t (organization_id, id, at)
        JOIN identity.access_keys AS k USING (organization_id, id)
        WHERE k.last_used_at IS NULL OR k.last_used_at < t.at - apart
        ORDER BY k.organization_id, k.id
        FOR NO KEY UPDATE OF k
    ), changed AS (
        UPDATE identity.access_keys AS k SET last_used_at = told.at
        FROM told WHERE k.organization_id = told.organization_id AND k.id = told.id
        RETURNING 1
    )
    SELECT count(*)::integer FROM changed
$$;
REVOKE ALL ON FUNCTION identity.keys_used_v1(uuid[], uuid[], timestamptz[], interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.keys_used_v1(uuid[], uuid[], timestamptz[], interval) TO nexus_system;

-- identity.snapshot_members_v1: every membership with the person's address, for the data plane's snapshot.
-- requires: identity.memberships
CREATE FUNCTION identity.snapshot_members_v1()
    RETURNS TABLE (organization_id uuid, user_id uuid, email text)
    LANGUAGE sql STABLE
    AS $$
    SELECT m.organization_id, m.user_id, u.email
    FROM identity.memberships AS m
    JOIN identity.users AS u ON u.id = m.user_id
$$;
REVOKE ALL ON FUNCTION identity.snapshot_members_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_members_v1() TO nexus_system;

-- identity.recovery_codes: codes that each stand in for the second factor once; 120 random bits, kept as their SHA-256.
-- requires: identity.second_factors
CREATE TABLE identity.recovery_codes (
    user_id     uuid         NOT NULL REFERENCES identity.second_factors (user_id) ON DELETE CASCADE,
    code_hash   bytea        NOT NULL CONSTRAINT recovery_codes_hash_length CHECK (length(code_hash) = 32),
    created_at  timestamptz  NOT NULL DEFAULT now(),
    used_at     timestamptz,
    PRIMARY KEY (user_id, code_hash)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.recovery_codes TO nexus_system;

-- catalog.snapshot_prices_v1: the whole price book as documents, for the data plane's snapshot (contracts/prices.py).
-- requires: catalog.price_components, catalog.models, catalog.providers
CREATE FUNCTION catalog.snapshot_prices_v1() RETURNS TABLE (document jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT jsonb_build_object(
        'kind', 'provider', 'provider', p.slug, 'aliases', to_jsonb(p.aliases), 'fallback', to_jsonb(p.fallback_providers),
        'match', p.match)
    FROM catalog.providers AS p
    WHERE p.organization_id IS NULL
    UNION ALL
    -- A tenant's own provider lends its name only, and to that tenant only: it must not catch another's calls.
    SELECT jsonb_build_object('kind', 'provider', 'provider', p.slug, 'organization_id', p.organization_id)
    FROM catalog.providers AS p
    WHERE p.organization_id IS NOT NULL
    UNION ALL
    SELECT jsonb_build_object(
        'kind', 'model', 'provider', m.provider, 'model', m.slug, 'match', m.match, 'organization_id', m.organization_id,
        'position', m.position)
    FROM catalog.models AS m
    UNION ALL
    SELECT jsonb_build_object(
        'kind', 'price', 'id', p.id, 'organization_id', p.organization_id, 'provider', p.provider, 'model', p.model,
        'endpoint', p.endpoint, 'method', p.method, 'tier', p.tier, 'region', p.region, 'currency', p.currency,
        'variant', p.variant, 'position', p.position, 'daily_from', p.daily_from, 'daily_to', p.daily_to,
        'valid_from', lower(p.validity), 'valid_to', upper(p.validity), 'source', p.source,
        'components', c.components)
    FROM catalog.prices AS p
    JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
            'unit', c.unit, 'above', c.context_above, 'amount', c.amount::text, 'per', c.per)) AS components
        FROM catalog.price_components AS c
        WHERE c.price_id = p.id AND c.organization_id IS NOT DISTINCT FROM p.organization_id
    ) AS c ON c.components IS NOT NULL
    WHERE p.superseded_at IS NULL
$$;
REVOKE ALL ON FUNCTION catalog.snapshot_prices_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION catalog.snapshot_prices_v1() TO nexus_system, nexus_service;

-- admission.cost_rules: what an operation costs one application, for a time. The database refuses two at one time.
-- requires: admission.applications, admission.operation_types, admission.uuid_range
CREATE TABLE admission.cost_rules (
    organization_id  uuid           NOT NULL,
    id               uuid           NOT NULL,
    application_id   uuid           NOT NULL,
    operation        text           NOT NULL,
    c_base           numeric(10,4)  CONSTRAINT cost_rules_base CHECK (c_base >= 0),
    c_bw             numeric(10,4)  CONSTRAINT cost_rules_bandwidth CHECK (c_bw >= 0),
    validity         tstzrange      NOT NULL CONSTRAINT cost_rules_validity_some CHECK (NOT isempty(validity)),
    created_at       timestamptz    NOT NULL DEFAULT now(),
    subject_id       uuid           NOT NULL GENERATED ALWAYS AS (
        md5(organization_id::text || chr(31) || application_id::text || chr(31) || operation)::uuid) STORED,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT cost_rules_something CHECK (c_base IS NOT NULL OR c_bw IS NOT NULL),
    CONSTRAINT cost_rules_application_fkey FOREIGN KEY (organization_id, application_id)
        REFERENCES admission.applications (organization_id, id),
    CONSTRAINT cost_rules_no_overlap EXCLUDE USING gist (
        admission.uuid_range(subject_id, subject_id, '[]') WITH &&, validity WITH &&
    )
);
ALTER TABLE admission.cost_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.cost_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY cost_rules_tenant ON admission.cost_rules TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY cost_rules_system ON admission.cost_rules FOR SELECT TO nexus_system USING (true);
GRANT SELECT, INSERT, UPDATE (validity) ON admission.cost_rules TO nexus_service;
GRANT SELECT ON admission.cost_rules TO nexus_readonly, nexus_system;
CREATE TRIGGER cost_rules_audit AFTER INSERT OR UPDATE OR DELETE ON admission.cost_rules
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1();
CREATE TRIGGER cost_rules_version AFTER INSERT OR UPDATE OR DELETE ON admission.cost_rules
    FOR EACH STATEMENT EXECUTE FUNCTION platform.bump_snapshot_v1('limits');

-- identity.permissions_of_v1: what a person may do in an organization at an instant; the one place that decides it.
-- requires: identity.memberships, identity.user_roles, identity.role_permissions
-- By membership, by granted roles still in force, by grants that hold everywhere; without an organization by these alone.
-- Runs as its caller: nexus_system sees all of it through its policies.
CREATE FUNCTION identity.permissions_of_v1(person uuid, organization uuid, at timestamptz) RETURNS SETOF text
    LANGUAGE sql STABLE
    AS $$
    SELECT rp.permission
    FROM identity.memberships AS m
    JOIN identity.roles AS r ON r.organization_id IS NULL AND r.name = 'organization_' || m.role
    JOIN identity.role_permissions AS rp ON rp.role_id = r.id AND rp.organization_id IS NULL
    WHERE m.user_id = person AND m.organization_id = organization
    UNION
    SELECT rp.permission
    FROM identity.user_roles AS ur
    JOIN identity.roles AS r ON r.id = ur.role_id AND (r.organization_id IS NULL OR r.organization_id = ur.organization_id)
    JOIN identity.role_permissions AS rp ON rp.role_id = r.id AND rp.organization_id IS NOT DISTINCT FROM r.organization_id
    WHERE ur.user_id = person
      AND (ur.organization_id IS NULL OR ur.organization_id = organization)
      AND (ur.expires_at IS NULL OR ur.expires_at > at)
    UNION
    SELECT unnest(m.extra_permissions)
    FROM identity.memberships AS m
    WHERE m.user_id = person AND m.organization_id = organization
$$;
REVOKE ALL ON FUNCTION identity.permissions_of_v1(uuid, uuid, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.permissions_of_v1(uuid, uuid, timestamptz) TO nexus_system;

-- identity.snapshot_key_reaches_v1: what each access key may use through the gateway, for its snapshot.
-- requires: identity.key_reaches
-- A rotated key has the reach of the nearest key before it that has one, unless it has its own.
CREATE FUNCTION identity.snapshot_key_reaches_v1()
    RETURNS TABLE (key_id uuid, providers text[], models text[], endpoints text[])
    LANGUAGE sql STABLE
    AS $$
    WITH RECURSIVE lineage AS (
        SELECT r.organization_id, r.key_id, r.providers, r.models, r.endpoints, 0 AS distance
        FROM identity.key_reaches AS r
        UNION ALL
        SELECT l.organization_id, k.id, l.providers, l.models, l.endpoints, l.distance + 1
        FROM lineage AS l
        JOIN identity.access_keys AS k ON k.organization_id = l.organization_id AND k.rotated_from = l.key_id
        WHERE l.distance < 1000
    )
    SELECT DISTINCT ON (l.key_id) l.key_id, l.providers, l.models, l.endpoints
    FROM lineage AS l
    ORDER BY l.key_id, l.distance
$$;
REVOKE ALL ON FUNCTION identity.snapshot_key_reaches_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_key_reaches_v1() TO nexus_system;

-- admission.snapshot_limits_v1: all that limits and costs are made of, now and as scheduled, for the data plane's snapshot.
-- requires: admission.quota_versions, admission.cost_rules, identity.access_keys
-- Runs as its caller: nexus_system sees all through its policies. What ended a minute ago is still given, for clocks that lag.
CREATE FUNCTION admission.snapshot_limits_v1() RETURNS TABLE (kind text, document jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT 'quota', jsonb_build_object(
        'organization_id', q.organization_id, 'quota_id', q.id, 'name', q.name, 'scope', q.scope, 'subject', q.subject,
        'version', v.version, 'limits', v.limits,
        'from', extract(epoch FROM lower(v.validity)), 'to', extract(epoch FROM upper(v.validity)))
    FROM admission.quota_versions AS v
    JOIN admission.quotas AS q ON q.organization_id = v.organization_id AND q.id = v.quota_id
    WHERE NOT isempty(v.validity) AND coalesce(upper(v.validity) > now() - interval '1 minute', true)
    UNION ALL
    SELECT 'key', jsonb_build_object('organization_id', k.organization_id, 'key_id', k.id, 'per_minute', k.rate_limit_per_minute)
    FROM identity.access_keys AS k
    WHERE k.rate_limit_per_minute IS NOT NULL AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), true)
    UNION ALL
    SELECT 'application', jsonb_build_object('organization_id', a.organization_id, 'name', a.name, 'cluster', c.name)
    FROM admission.applications AS a
    JOIN admission.clusters AS c ON c.organization_id = a.organization_id AND c.id = a.cluster_id
    WHERE a.is_active
    UNION ALL
    SELECT 'operation', jsonb_build_object(
        'organization_id', t.organization_id, 'name', t.name, 'base', t.c_base::text, 'quantum', t.unit_quantum,
        'bandwidth', t.c_bw::text, 'whole_quanta', t.whole_quanta)
    FROM admission.operation_types AS t
    WHERE t.is_active
    UNION ALL
    SELECT 'cost_rule', jsonb_build_object(
        'organization_id', r.organization_id, 'application', a.name, 'name', r.operation, 'base', r.c_base::text,
        'bandwidth', r.c_bw::text, 'from', extract(epoch FROM lower(r.validity)), 'to', extract(epoch FROM upper(r.validity)))
    FROM admission.cost_rules AS r
    JOIN admission.applications AS a ON a.organization_id = r.organization_id AND a.id = r.application_id
    WHERE coalesce(upper(r.validity) > now() - interval '1 minute', true)
$$;
REVOKE ALL ON FUNCTION admission.snapshot_limits_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admission.snapshot_limits_v1() TO nexus_system;

-- identity.snapshot_keys_v1: every access key that may still be used, for the data plane's snapshot.
-- requires: identity.access_keys, identity.permissions_of_v1, identity.narrowed_scopes_v1
-- A person's key does what its scopes say and the person may still do: who left, or lost a role, takes it along.
-- Runs as its caller: nexus_system sees all keys through its policy.
CREATE FUNCTION identity.snapshot_keys_v1()
    RETURNS TABLE (id uuid, organization_id uuid, key_hash bytea, scopes text[], application text, user_id uuid,
                   not_before timestamptz, expires_at timestamptz)
    LANGUAGE sql STABLE
    AS $$
    WITH live AS MATERIALIZED (
        SELECT k.id, k.organization_id, k.key_hash, k.scopes, k.application, k.user_id, k.not_before, k.expires_at
        FROM identity.access_keys AS k
        JOIN identity.organizations AS o ON o.id = k.organization_id AND o.is_active
        LEFT JOIN identity.users AS u ON u.id = k.user_id
        WHERE k.revoked_at IS NULL
          AND (k.expires_at IS NULL OR k.expires_at > now())
          AND (k.user_id IS NULL OR u.is_active)
    ), owners AS MATERIALIZED (
        -- Decided once for each owner, however many keys they have.
        SELECT d.user_id, d.organization_id,
               ARRAY(SELECT identity.permissions_of_v1(d.user_id, d.organization_id, now())) AS held
        FROM (SELECT DISTINCT l.user_id, l.organization_id FROM live AS l WHERE l.user_id IS NOT NULL) AS d
    )
    SELECT l.id, l.organization_id, l.key_hash, n.scopes, l.application, l.user_id, l.not_before, l.expires_at
    FROM live AS l
    LEFT JOIN owners AS w ON w.user_id = l.user_id AND w.organization_id = l.organization_id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN l.user_id IS NULL THEN l.scopes ELSE identity.narrowed_scopes_v1(l.scopes, w.held) END AS scopes
    ) AS n
    WHERE cardinality(n.scopes) > 0
$$;
REVOKE ALL ON FUNCTION identity.snapshot_keys_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION identity.snapshot_keys_v1() TO nexus_system;

REVOKE CREATE ON SCHEMA admission FROM nexus_system;

REVOKE CREATE ON SCHEMA catalog FROM nexus_system;

REVOKE CREATE ON SCHEMA dashboards FROM nexus_system;

REVOKE CREATE ON SCHEMA identity FROM nexus_system;

REVOKE CREATE ON SCHEMA metering FROM nexus_system;

REVOKE CREATE ON SCHEMA platform FROM nexus_system;
