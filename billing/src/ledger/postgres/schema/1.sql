-- The ledger on PostgreSQL. All times are milliseconds since 1970, all amounts nano-credits.
-- One process writes; columns stand in the order that pads rows least.

-- A condition of the writer's transactions: raises, and so undoes the transaction, where a
-- statement found another number of rows than it must. EB001: what is kept and what the rules
-- know differ. EB002: another process writes now.
CREATE FUNCTION expect(counted bigint, wanted bigint, code text, what text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF counted <> wanted THEN
        RAISE EXCEPTION '%: % rows instead of %', what, counted, wanted USING ERRCODE = code;
    END IF;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'EB003';
END $$;

-- Who writes. Every process that opens the ledger counts the epoch up, and every commit requires
-- the epoch of its process. `batch` counts the commits, so that a process that lost its connection
-- in a commit finds out whether it was done; `owner` is that process, which then counts the epoch
-- up again to shut out what it sent before.
CREATE TABLE writer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL,
    batch bigint NOT NULL,
    at_ms bigint NOT NULL,
    owner uuid
) WITH (fillfactor = 10);
INSERT INTO writer (epoch, batch, at_ms) VALUES (0, 0, 0);

-- Organisations, keys and models by name, subjects and pinned terms as JSON; 0 means none.
CREATE TABLE names (
    id integer PRIMARY KEY CHECK (id > 0),
    name text NOT NULL,
    -- A hash index takes texts of any length; a B-tree does not.
    EXCLUDE USING hash (name WITH =)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON names
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE accounts (
    debits_posted bigint NOT NULL CHECK (debits_posted >= 0),
    credits_posted bigint NOT NULL CHECK (credits_posted >= 0),
    debits_held bigint NOT NULL CHECK (debits_held >= 0),
    credits_held bigint NOT NULL CHECK (credits_held >= 0),
    number integer PRIMARY KEY CHECK (number > 0),
    debits_must_not_exceed_credits boolean NOT NULL,
    name text COLLATE "C" NOT NULL UNIQUE,
    asset text NOT NULL CHECK (asset IN ('credit', 'budget')),
    CONSTRAINT not_overdrawn CHECK (
        NOT debits_must_not_exceed_credits
        OR debits_posted::numeric + debits_held <= credits_posted)
) WITH (fillfactor = 50);

-- The journal of what is posted. Ranges of it belong to calls and entries.
CREATE TABLE transfers (
    number bigint PRIMARY KEY CHECK (number > 0),
    amount bigint NOT NULL CHECK (amount > 0),
    debit integer NOT NULL,
    credit integer NOT NULL,
    purpose smallint NOT NULL,
    CHECK (debit <> credit)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- When each transfer was made: that of the last batch at or before it.
CREATE TABLE batches (
    first_transfer bigint PRIMARY KEY,
    at_ms bigint NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON batches
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Open holds only. `lots` is JSON: [[number, amount], ...].
CREATE TABLE holds (
    amount bigint NOT NULL CHECK (amount >= 0),
    price_version bigint NOT NULL,
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL,
    org integer NOT NULL,
    key integer NOT NULL,
    subject integer NOT NULL,
    pinned integer NOT NULL,
    call uuid NOT NULL,
    lots text,
    PRIMARY KEY (org, call)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- Calls that ended or were refused. `ended` is 1 captured, 2 voided, 3 expired, 4 its process went
-- away, 5 refused, 7 captured late. `usage` is JSON: [[model's name or 0, meter, quantity], ...].
CREATE TABLE calls (
    held bigint NOT NULL CHECK (held >= 0),
    amount bigint NOT NULL CHECK (amount BETWEEN 0 AND held),
    price_version bigint NOT NULL,
    held_at_ms bigint NOT NULL,
    ttl_ms bigint NOT NULL,
    ended_at_ms bigint NOT NULL,
    first_transfer bigint NOT NULL,
    transfers integer NOT NULL CHECK (transfers >= 0),
    org integer NOT NULL,
    key integer NOT NULL,
    subject integer NOT NULL,
    pinned integer NOT NULL,
    ended smallint NOT NULL CHECK (ended IN (1, 2, 3, 4, 5, 7)),
    ending smallint CHECK ((ending IS NOT NULL) = (ended IN (1, 7))),
    call uuid NOT NULL,
    usage text CHECK ((usage IS NOT NULL) = (ended IN (1, 7))),
    refusal text CHECK ((refusal IS NOT NULL) = (ended = 5)),
    PRIMARY KEY (org, call)
);
-- For sums over days: rows come in the order of this column, so a few pages of index suffice.
CREATE INDEX calls_by_end ON calls USING brin (ended_at_ms) WITH (pages_per_range = 32);

-- The one change: a call whose hold had expired is charged late.
CREATE FUNCTION only_charged_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.ended IN (3, 4) AND NEW.ended = 7
        AND (OLD.org, OLD.call, OLD.key, OLD.subject, OLD.pinned, OLD.held, OLD.price_version,
            OLD.held_at_ms, OLD.ttl_ms)
          = (NEW.org, NEW.call, NEW.key, NEW.subject, NEW.pinned, NEW.held, NEW.price_version,
            NEW.held_at_ms, NEW.ttl_ms)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a call that ended is not changed' USING ERRCODE = 'EB003';
END $$;
CREATE TRIGGER only_charged_late BEFORE UPDATE ON calls
    FOR EACH ROW EXECUTE FUNCTION only_charged_late();
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON calls
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The audit log: orders and the ledger's own acts.
CREATE TABLE entries (
    number bigint PRIMARY KEY CHECK (number > 0),
    at_ms bigint NOT NULL,
    first_transfer bigint NOT NULL,
    transfers integer NOT NULL CHECK (transfers >= 0),
    org integer,
    op text COLLATE "C" NOT NULL UNIQUE,
    by_whom text NOT NULL,
    act text NOT NULL,
    answer text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32)
);
CREATE INDEX entries_by_org ON entries (org, number);
CREATE INDEX entries_by_time ON entries USING brin (at_ms) WITH (pages_per_range = 32);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE documents (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    live boolean NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX documents_live ON documents (kind, id) WHERE live;

CREATE TABLE price_books (
    version bigint PRIMARY KEY,
    effective_at_ms bigint NOT NULL,
    book text NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON price_books
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Sums by day, kept beside what they sum; the check compares. Quantities stop at the largest
-- bigint.
CREATE TABLE usage_days (
    org integer NOT NULL,
    day integer NOT NULL,
    key integer NOT NULL,
    subject integer NOT NULL,
    model integer NOT NULL,
    calls bigint NOT NULL,
    input_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    compute_micros bigint NOT NULL,
    fuel bigint NOT NULL,
    egress_bytes bigint NOT NULL,
    cost bigint NOT NULL,
    PRIMARY KEY (org, day, key, subject, model)
) WITH (fillfactor = 70);

-- `role` is 1 author, 2 model owner, 3 provider.
CREATE TABLE earnings_days (
    org integer NOT NULL,
    day integer NOT NULL,
    role smallint NOT NULL,
    subject integer NOT NULL,
    calls bigint NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (org, day, role, subject)
) WITH (fillfactor = 70);
CREATE INDEX earnings_by_day ON earnings_days (day);
