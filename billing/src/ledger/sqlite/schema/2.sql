-- Schema version 2. Amounts are nano-credits, times are milliseconds since 1970, days are days
-- since 1970-01-01, calls are UUIDs. Numbers of accounts, transfers, entries and names count from
-- 1 without gaps.
--
-- The tables of version 1 are set aside as v1_*; the program converts them and drops them in the
-- same transaction. Price books stay as they are.

DROP TRIGGER IF EXISTS transfers_keep_update;
DROP TRIGGER IF EXISTS transfers_keep_delete;
DROP TRIGGER IF EXISTS receipts_keep_update;
DROP TRIGGER IF EXISTS receipts_keep_delete;
DROP TRIGGER IF EXISTS operations_keep_update;
DROP TRIGGER IF EXISTS operations_keep_delete;
DROP INDEX IF EXISTS holds_open;
DROP INDEX IF EXISTS receipts_by_org;
ALTER TABLE accounts RENAME TO v1_accounts;
ALTER TABLE transfers RENAME TO v1_transfers;
ALTER TABLE holds RENAME TO v1_holds;
ALTER TABLE receipts RENAME TO v1_receipts;
ALTER TABLE top_ups RENAME TO v1_top_ups;
ALTER TABLE operations RENAME TO v1_operations;

-- Every organisation, key, model, subject (as JSON) and pinned terms (as JSON), once. Other
-- tables have the number; 0 stands for none.
CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Four counters per account. The last CHECK is the promise that nothing limited is overdrawn.
CREATE TABLE accounts (
    number         INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    asset          TEXT NOT NULL CHECK (asset IN ('credit', 'budget')),
    debits_must_not_exceed_credits INTEGER NOT NULL
                   CHECK (debits_must_not_exceed_credits IN (0, 1)),
    debits_posted  INTEGER NOT NULL CHECK (debits_posted  >= 0),
    credits_posted INTEGER NOT NULL CHECK (credits_posted >= 0),
    debits_held    INTEGER NOT NULL CHECK (debits_held    >= 0),
    credits_held   INTEGER NOT NULL CHECK (credits_held   >= 0),
    CHECK (debits_must_not_exceed_credits = 0
           OR debits_posted + debits_held <= credits_posted)
) STRICT;

-- The journal. Each transfer belongs to one captured call or one entry.
CREATE TABLE transfers (
    number  INTEGER PRIMARY KEY CHECK (number > 0),
    purpose INTEGER NOT NULL CHECK (purpose > 0),
    debit   INTEGER NOT NULL,
    credit  INTEGER NOT NULL CHECK (credit <> debit),
    amount  INTEGER NOT NULL CHECK (amount > 0)
) STRICT;

-- The time of each batch that had transfers, by its first one, and of the last batch, whatever it
-- had, by the number that the next transfer gets.
CREATE TABLE batches (
    first_transfer INTEGER PRIMARY KEY,
    at_ms          INTEGER NOT NULL
) STRICT;

-- Open holds only: a row goes when its hold ends. Lots are [[lot, amount], …] as JSON; what is
-- missing to the amount is held in the wallet.
CREATE TABLE holds (
    org           INTEGER NOT NULL,
    call          BLOB NOT NULL CHECK (length(call) = 16),
    key           INTEGER NOT NULL,
    subject       INTEGER NOT NULL,
    amount        INTEGER NOT NULL CHECK (amount >= 0),
    price_version INTEGER NOT NULL,
    pinned        INTEGER NOT NULL,
    lots          TEXT,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (org, call)
) STRICT, WITHOUT ROWID;

-- Calls that ended: 1 captured, 2 voided, 3 expired, 4 voided with its process, 5 refused,
-- 7 captured late. Usage is [[model or 0, meter, quantity], …] as JSON. Meters: 1 input tokens,
-- 2 cached input tokens, 3 output tokens, 4 calls, 5 compute microseconds, 6 fuel, 7 egress bytes.
-- Endings: 1 normal, 2 client left, 3 deadline, 4 budget, 5 guest trap, 6 platform fault.
CREATE TABLE calls (
    org            INTEGER NOT NULL,
    call           BLOB NOT NULL CHECK (length(call) = 16),
    end            INTEGER NOT NULL CHECK (end IN (1, 2, 3, 4, 5, 7)),
    key            INTEGER NOT NULL,
    subject        INTEGER NOT NULL,
    held           INTEGER NOT NULL CHECK (held >= 0),
    amount         INTEGER,
    price_version  INTEGER NOT NULL,
    pinned         INTEGER NOT NULL,
    usage          TEXT,
    ending         INTEGER,
    refusal        TEXT,
    held_at_ms     INTEGER NOT NULL,
    ttl_ms         INTEGER NOT NULL,
    ended_at_ms    INTEGER NOT NULL,
    first_transfer INTEGER NOT NULL,
    transfers      INTEGER NOT NULL CHECK (transfers >= 0),
    PRIMARY KEY (org, call),
    CHECK ((end IN (1, 7)) = (amount IS NOT NULL AND usage IS NOT NULL AND ending IS NOT NULL)),
    CHECK ((end = 5) = (refusal IS NOT NULL)),
    CHECK (amount IS NULL OR amount BETWEEN 0 AND held),
    CHECK (end IN (1, 7) OR transfers = 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX calls_by_time ON calls (org, ended_at_ms);

-- The audit log: orders, and acts of the ledger's own. The digest is a SHA-256 of what was asked.
CREATE TABLE entries (
    number         INTEGER PRIMARY KEY CHECK (number > 0),
    op             TEXT NOT NULL UNIQUE,
    "by"           TEXT NOT NULL,
    org            INTEGER NOT NULL,
    act            TEXT NOT NULL,
    digest         BLOB NOT NULL CHECK (length(digest) = 32),
    answer         TEXT NOT NULL,
    at_ms          INTEGER NOT NULL,
    first_transfer INTEGER NOT NULL,
    transfers      INTEGER NOT NULL CHECK (transfers >= 0)
) STRICT;

CREATE INDEX entries_by_org ON entries (org, number);
CREATE INDEX entries_by_time ON entries (at_ms);

-- Lots, budgets, settings, gateways, messages, closed months, refunds.
CREATE TABLE documents (
    kind TEXT NOT NULL,
    id   TEXT NOT NULL,
    live INTEGER NOT NULL CHECK (live IN (0, 1)),
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX documents_live ON documents (kind) WHERE live = 1;

-- Sums of captured calls by day. Calls and cost stand in the row of the subject's own model, or
-- of no model for a function.
CREATE TABLE usage_days (
    org                 INTEGER NOT NULL,
    day                 INTEGER NOT NULL,
    key                 INTEGER NOT NULL,
    subject             INTEGER NOT NULL,
    model               INTEGER NOT NULL,
    calls               INTEGER NOT NULL CHECK (calls >= 0),
    input_tokens        INTEGER NOT NULL CHECK (input_tokens >= 0),
    cached_input_tokens INTEGER NOT NULL CHECK (cached_input_tokens >= 0),
    output_tokens       INTEGER NOT NULL CHECK (output_tokens >= 0),
    compute_micros      INTEGER NOT NULL CHECK (compute_micros >= 0),
    fuel                INTEGER NOT NULL CHECK (fuel >= 0),
    egress_bytes        INTEGER NOT NULL CHECK (egress_bytes >= 0),
    cost                INTEGER NOT NULL CHECK (cost >= 0),
    PRIMARY KEY (org, day, key, subject, model)
) STRICT, WITHOUT ROWID;

-- What calls earned by the day of the charge, refunds taken off. Roles: 1 author, 2 model owner,
-- 3 provider.
CREATE TABLE earnings_days (
    org     INTEGER NOT NULL,
    day     INTEGER NOT NULL,
    role    INTEGER NOT NULL CHECK (role IN (1, 2, 3)),
    subject INTEGER NOT NULL,
    calls   INTEGER NOT NULL,
    amount  INTEGER NOT NULL,
    PRIMARY KEY (org, day, role, subject)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER transfers_keep_update BEFORE UPDATE ON transfers
BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END;
CREATE TRIGGER transfers_keep_delete BEFORE DELETE ON transfers
BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END;
CREATE TRIGGER calls_keep_update BEFORE UPDATE ON calls
WHEN NOT (old.end IN (3, 4) AND new.end = 7
          AND new.org = old.org AND new.call = old.call AND new.key = old.key
          AND new.subject = old.subject AND new.held = old.held
          AND new.price_version = old.price_version AND new.pinned = old.pinned
          AND new.held_at_ms = old.held_at_ms AND new.ttl_ms = old.ttl_ms)
BEGIN SELECT RAISE(ABORT, 'ended calls are append-only, except for a late capture'); END;
CREATE TRIGGER calls_keep_delete BEFORE DELETE ON calls
BEGIN SELECT RAISE(ABORT, 'ended calls are append-only'); END;
CREATE TRIGGER entries_keep_update BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER entries_keep_delete BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER names_keep_update BEFORE UPDATE ON names
BEGIN SELECT RAISE(ABORT, 'names are append-only'); END;
CREATE TRIGGER names_keep_delete BEFORE DELETE ON names
BEGIN SELECT RAISE(ABORT, 'names are append-only'); END;
