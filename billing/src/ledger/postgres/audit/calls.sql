-- P3, P8: every captured call has its charge in the journal, to the nano, paid by who had to;
-- calls that ended otherwise moved nothing; and refunds give back no more than was charged.
WITH charged AS (
    SELECT c.org, c.call, c.ended, c.amount, o.name AS payer, t.number, t.purpose,
        t.amount AS line, d.name AS debit, k.name AS credit
    FROM calls AS c JOIN names AS o ON o.id = c.org
    -- Number by number, so that the join is one of equals: ranges would be slow.
    CROSS JOIN generate_series(c.first_transfer, c.first_transfer + c.transfers - 1) AS mine
    JOIN transfers AS t ON t.number = mine
    JOIN accounts AS d ON d.number = t.debit JOIN accounts AS k ON k.number = t.credit
), refunded AS MATERIALIZED (
    SELECT act #>> '{order,org}' AS org, act #>> '{order,call}' AS call, sum(t.amount) AS amount
    FROM (SELECT replace(act, '\u0000', '\u0001')::jsonb AS act, first_transfer, transfers
        FROM entries WHERE transfers > 0) AS e
    CROSS JOIN generate_series(e.first_transfer, e.first_transfer + e.transfers - 1) AS mine
    JOIN transfers AS t ON t.number = mine
    WHERE t.purpose = 13 GROUP BY 1, 2
)
SELECT what FROM (
    SELECT format('call %s is charged %s, but its transfers are %s', c.call, c.amount,
        coalesce(l.amount, 0)) AS what
    FROM calls AS c LEFT JOIN (
        SELECT org, call, sum(line) AS amount FROM charged WHERE purpose <= 6
        GROUP BY org, call) AS l ON l.org = c.org AND l.call = c.call
    WHERE c.amount <> coalesce(l.amount, 0)
    UNION ALL
    SELECT format('call %s was not captured, but has transfers or an amount', call)
    FROM calls WHERE ended NOT IN (1, 7) AND (transfers <> 0 OR amount <> 0)
    UNION ALL
    SELECT format('call %s is charged more than was set aside', call)
    FROM calls WHERE amount > held OR amount < 0
    UNION ALL
    SELECT format('transfer %s of call %s: %s pays %s for purpose %s', number, call, debit,
        credit, purpose)
    FROM charged WHERE NOT CASE
        WHEN purpose = 12 THEN ended = 7 AND debit = 'wallet:' || payer
            AND credit = 'receivable:' || payer
        WHEN purpose = 7 THEN debit LIKE 'budget:%' AND credit = 'budgets:' || substr(debit, 8)
        WHEN purpose > 6 THEN false
        ELSE CASE WHEN ended = 7 THEN debit = 'receivable:' || payer OR debit LIKE 'lot:%'
                WHEN purpose = 6 THEN debit LIKE 'lot:%'
                ELSE debit = 'wallet:' || payer OR debit LIKE 'lot:%' END
            AND CASE purpose WHEN 1 THEN credit = 'platform' WHEN 5 THEN credit = 'rounding'
                WHEN 6 THEN credit = 'promo' ELSE credit LIKE 'payable:%' END
        END
    UNION ALL
    SELECT format('call %s is counted as %s by %s', call, line, debit)
    FROM charged WHERE purpose = 7 AND CASE ended WHEN 7 THEN line > amount ELSE line <> amount END
    UNION ALL
    SELECT format('transfer %s charges a call, but entry %s has it', t.number, e.number)
    FROM entries AS e
    CROSS JOIN generate_series(e.first_transfer, e.first_transfer + e.transfers - 1) AS mine
    JOIN transfers AS t ON t.number = mine
    WHERE t.purpose <= 7
    UNION ALL
    SELECT format('%s nano-credits of call %s were refunded, of %s', r.amount, r.call,
        coalesce(c.amount, 0))
    FROM refunded AS r LEFT JOIN (
        SELECT o.name AS org, c.call::text AS call, c.amount
        FROM calls AS c JOIN names AS o ON o.id = c.org
        WHERE c.call IN (SELECT call::uuid FROM refunded)) AS c
    ON c.org = r.org AND c.call = r.call WHERE r.amount > coalesce(c.amount, 0)
    UNION ALL
    SELECT format('call %s has names or prices that do not exist', c.call) FROM calls AS c
    LEFT JOIN names AS o ON o.id = c.org LEFT JOIN names AS k ON k.id = c.key
    LEFT JOIN names AS s ON s.id = c.subject LEFT JOIN names AS p ON p.id = c.pinned
    LEFT JOIN price_books AS b ON b.version = c.price_version
    WHERE o.id IS NULL OR k.id IS NULL OR s.id IS NULL OR (p.id IS NULL AND c.pinned <> 0)
        OR (b.version IS NULL AND c.ended <> 5)
) AS breaks (what) LIMIT 100
