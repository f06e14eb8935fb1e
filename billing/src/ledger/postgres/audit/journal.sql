-- The journal is whole: numbered without gaps, every line between two accounts of one asset, and
-- every line part of exactly one call or entry, made when that was.
WITH ranges AS (
    SELECT format('call %s', call) AS whose, first_transfer AS first, transfers AS lines,
        ended_at_ms AS at_ms
    FROM calls WHERE transfers > 0
    UNION ALL
    SELECT format('entry %s', number), first_transfer, transfers, at_ms
    FROM entries WHERE transfers > 0
), in_order AS (
    SELECT whose, first, lag(first + lines, 1, 1::bigint) OVER (ORDER BY first) AS expected
    FROM ranges
), timed AS (
    SELECT first_transfer AS first, at_ms,
        lag(at_ms, 1, at_ms) OVER (ORDER BY first_transfer) AS earlier_ms
    FROM batches
), merged AS (
    SELECT NULL AS whose, first_transfer AS first, at_ms, true AS is_batch FROM batches
    UNION ALL SELECT whose, first, at_ms, false FROM ranges
), counted AS (
    -- Which batch, counted along the journal; a batch stands before its first range.
    SELECT *, count(*) FILTER (WHERE is_batch) OVER (ORDER BY first, is_batch DESC) AS batch
    FROM merged
), in_time AS (
    SELECT whose, at_ms, max(at_ms) FILTER (WHERE is_batch) OVER (PARTITION BY batch) AS batch_ms
    FROM counted
)
SELECT what FROM (
    SELECT format('the journal has %s transfers up to number %s', count(*), max(number)) AS what
    FROM transfers HAVING count(*) <> coalesce(max(number), 0)
    UNION ALL
    SELECT format('the audit log has %s entries up to number %s', count(*), max(number))
    FROM entries HAVING count(*) <> coalesce(max(number), 0)
    UNION ALL
    SELECT format('transfer %s: one of its accounts does not exist', t.number)
    FROM transfers AS t LEFT JOIN accounts AS d ON d.number = t.debit
    LEFT JOIN accounts AS c ON c.number = t.credit
    WHERE d.number IS NULL OR c.number IS NULL
    UNION ALL
    SELECT format('transfer %s: its accounts have different assets', t.number)
    FROM transfers AS t JOIN accounts AS d ON d.number = t.debit
    JOIN accounts AS c ON c.number = t.credit WHERE d.asset <> c.asset
    UNION ALL
    SELECT format('transfer %s: its purpose is %s', number, purpose)
    FROM transfers WHERE purpose NOT BETWEEN 1 AND 16
    UNION ALL
    SELECT format('transfer %s moves %s nano-credits', number, amount)
    FROM transfers WHERE amount <= 0 OR debit = credit
    UNION ALL
    SELECT format('%s has transfers from %s on, and the last before it ended at %s',
        whose, first, expected - 1)
    FROM in_order WHERE first <> expected
    UNION ALL
    SELECT format('the journal has %s transfers, calls and entries have %s',
        (SELECT count(*) FROM transfers), (SELECT coalesce(sum(lines), 0) FROM ranges))
    WHERE (SELECT count(*) FROM transfers) <> (SELECT coalesce(sum(lines), 0) FROM ranges)
    UNION ALL
    SELECT format('the batch of transfer %s is earlier than the one before', first)
    FROM timed WHERE at_ms < earlier_ms
    UNION ALL
    SELECT format('%s and its transfers were made at different times', whose)
    FROM in_time WHERE at_ms IS DISTINCT FROM batch_ms AND whose IS NOT NULL
) AS breaks (what) LIMIT 100
