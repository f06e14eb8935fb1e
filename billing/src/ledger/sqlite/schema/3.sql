-- Schema version 3. A call whose hold ended by itself (3 expired, 4 with its process) keeps which
-- lots it had set aside, as [[lot, amount], …] in JSON: where it is charged late, what free
-- credits were to pay still earns nobody anything. Calls that ended before have none.

ALTER TABLE calls ADD COLUMN lots TEXT;

DROP TRIGGER calls_keep_update;
CREATE TRIGGER calls_keep_update BEFORE UPDATE ON calls
WHEN NOT (old.end IN (3, 4) AND new.end = 7
          AND new.org = old.org AND new.call = old.call AND new.key = old.key
          AND new.subject = old.subject AND new.held = old.held
          AND new.price_version = old.price_version AND new.pinned = old.pinned
          AND new.held_at_ms = old.held_at_ms AND new.ttl_ms = old.ttl_ms
          AND new.lots IS old.lots)
BEGIN SELECT RAISE(ABORT, 'ended calls are append-only, except for a late capture'); END;
