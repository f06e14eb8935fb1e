-- A call whose hold ended by itself (3 expired, 4 with its process) keeps which lots it had set
-- aside, as JSON: [[number, amount], ...]. Where it is charged late, what free credits were to pay
-- still earns nobody anything. Calls that ended before have none.
ALTER TABLE calls ADD COLUMN lots text;

CREATE OR REPLACE FUNCTION only_charged_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.ended IN (3, 4) AND NEW.ended = 7
        AND (OLD.org, OLD.call, OLD.key, OLD.subject, OLD.pinned, OLD.held, OLD.price_version,
            OLD.held_at_ms, OLD.ttl_ms)
          = (NEW.org, NEW.call, NEW.key, NEW.subject, NEW.pinned, NEW.held, NEW.price_version,
            NEW.held_at_ms, NEW.ttl_ms)
        AND NEW.lots IS NOT DISTINCT FROM OLD.lots
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a call that ended is not changed' USING ERRCODE = 'EB003';
END $$;
