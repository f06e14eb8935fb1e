-- Schema version 1. Amounts are nano-credits, times are milliseconds since 1970, ids are UUIDv7.

CREATE TABLE schema_migrations (
    version       INTEGER PRIMARY KEY,
    applied_at_ms INTEGER NOT NULL
) STRICT;

-- Four counters per account. The last CHECK is the promise that no wallet is overdrawn.
CREATE TABLE accounts (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    asset          TEXT NOT NULL DEFAULT 'credit',
    debits_must_not_exceed_credits INTEGER NOT NULL
                   CHECK (debits_must_not_exceed_credits IN (0, 1)),
    debits_posted  INTEGER NOT NULL DEFAULT 0 CHECK (debits_posted  >= 0),
    credits_posted INTEGER NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
    debits_held    INTEGER NOT NULL DEFAULT 0 CHECK (debits_held    >= 0),
    credits_held   INTEGER NOT NULL DEFAULT 0 CHECK (credits_held   >= 0),
    CHECK (debits_must_not_exceed_credits = 0
           OR debits_posted + debits_held <= credits_posted)
) STRICT;

-- The journal: kind 1 holds, 2 releases what was held, 3 posts.
CREATE TABLE transfers (
    id     INTEGER PRIMARY KEY,
    kind   INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),
    debit  INTEGER NOT NULL REFERENCES accounts (id),
    credit INTEGER NOT NULL REFERENCES accounts (id),
    amount INTEGER NOT NULL CHECK (amount > 0),
    hold   BLOB,
    at_ms  INTEGER NOT NULL,
    CHECK (debit <> credit),
    CHECK (kind = 3 OR hold IS NOT NULL)
) STRICT;

CREATE TABLE price_books (
    version         INTEGER PRIMARY KEY,
    effective_at_ms INTEGER NOT NULL,
    book            TEXT NOT NULL
) STRICT;

-- State 0 is open, 1 captured, 2 voided, 3 expired, 4 voided when the ledger was opened again.
CREATE TABLE holds (
    id            BLOB PRIMARY KEY CHECK (length(id) = 16),
    org           TEXT NOT NULL,
    key           TEXT NOT NULL,
    amount        INTEGER NOT NULL CHECK (amount >= 0),
    price_version INTEGER NOT NULL REFERENCES price_books (version),
    subject       TEXT NOT NULL,
    author        TEXT,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    state         INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1, 2, 3, 4)),
    ended_at_ms   INTEGER,
    CHECK ((state = 0) = (ended_at_ms IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX holds_open ON holds (expires_at_ms) WHERE state = 0;

CREATE TABLE receipts (
    id            BLOB PRIMARY KEY CHECK (length(id) = 16),
    org           TEXT NOT NULL,
    key           TEXT NOT NULL,
    subject       TEXT NOT NULL,
    hold          BLOB NOT NULL REFERENCES holds (id),
    amount        INTEGER NOT NULL CHECK (amount >= 0),
    held          INTEGER NOT NULL,
    usage         TEXT NOT NULL,
    ending        TEXT NOT NULL,
    price_version INTEGER NOT NULL REFERENCES price_books (version),
    created_at_ms INTEGER NOT NULL,
    parts         TEXT NOT NULL,
    CHECK (amount <= held)
) STRICT, WITHOUT ROWID;

CREATE INDEX receipts_by_org ON receipts (org, id);

CREATE TABLE top_ups (
    id     BLOB PRIMARY KEY CHECK (length(id) = 16),
    org    TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    note   TEXT NOT NULL,
    at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What each operation id was answered, for ever. `payload` is a SHA-256.
CREATE TABLE operations (
    op      TEXT PRIMARY KEY,
    payload BLOB NOT NULL,
    answer  TEXT NOT NULL,
    at_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER transfers_keep_update BEFORE UPDATE ON transfers
BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END;
CREATE TRIGGER transfers_keep_delete BEFORE DELETE ON transfers
BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END;
CREATE TRIGGER receipts_keep_update BEFORE UPDATE ON receipts
BEGIN SELECT RAISE(ABORT, 'receipts are append-only'); END;
CREATE TRIGGER receipts_keep_delete BEFORE DELETE ON receipts
BEGIN SELECT RAISE(ABORT, 'receipts are append-only'); END;
CREATE TRIGGER price_books_keep_update BEFORE UPDATE ON price_books
BEGIN SELECT RAISE(ABORT, 'price books are immutable'); END;
CREATE TRIGGER price_books_keep_delete BEFORE DELETE ON price_books
BEGIN SELECT RAISE(ABORT, 'price books are immutable'); END;
CREATE TRIGGER operations_keep_update BEFORE UPDATE ON operations
BEGIN SELECT RAISE(ABORT, 'answers are append-only'); END;
CREATE TRIGGER operations_keep_delete BEFORE DELETE ON operations
BEGIN SELECT RAISE(ABORT, 'answers are append-only'); END;
