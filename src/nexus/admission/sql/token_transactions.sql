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
                                  CHECK (kind IN ('charge', 'settle', 'release', 'reap', 'adjust', 'lease', 'return', 'borrow', 'repay', 'interest',
                                                  'default', 'cancel', 'write_off', 'restore')),
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
    -- 'liquid': the bucket's level. Loans are posted to other accounts too; of those only opened, changed and level, which is
    -- the balance, say something. All that a loan's transaction changed sums to zero.
    account          text         NOT NULL DEFAULT 'liquid' CONSTRAINT token_transactions_account
                                  CHECK (account IN ('liquid', 'debt', 'receivable', 'interest')),
    PRIMARY KEY (organization_id, at, sequence, leg)
) PARTITION BY RANGE (at);
-- Answers a bucket's history and its last state, for rebuilding what Redis lost.
CREATE INDEX token_transactions_organization_id_bucket_at_idx
    ON admission.token_transactions (organization_id, bucket, at DESC, sequence DESC);
-- Answers what became of a hold. Most transactions are of none, and not in it.
CREATE INDEX token_transactions_hold_idx ON admission.token_transactions (organization_id, reference)
    WHERE kind IN ('charge', 'settle', 'release', 'reap') AND reference <> '';
INSERT INTO platform.partitioned_tables (table_name, width, months_ahead, keep_days)
VALUES ('admission.token_transactions', 'month', 3, 365);
ALTER TABLE admission.token_transactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE admission.token_transactions FORCE ROW LEVEL SECURITY;
CREATE POLICY token_transactions_tenant ON admission.token_transactions FOR SELECT TO nexus_service, nexus_readonly
    USING (organization_id = (SELECT platform.current_organization_id()));
CREATE POLICY token_transactions_system ON admission.token_transactions TO nexus_system USING (true);
GRANT SELECT ON admission.token_transactions TO nexus_service, nexus_readonly;
GRANT SELECT, INSERT ON admission.token_transactions TO nexus_system;
