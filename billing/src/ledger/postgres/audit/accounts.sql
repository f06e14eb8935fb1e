-- P1, P2, P6: the journal from its first line gives every balance, and no limited account was
-- ever overdrawn.
WITH lines AS (
    SELECT debit AS account, number, amount AS debited, 0::bigint AS credited FROM transfers
    UNION ALL
    SELECT credit, number, 0::bigint, amount FROM transfers
), replayed AS (
    SELECT account, sum(debited) AS debits, sum(credited) AS credits FROM lines GROUP BY account
), running AS (
    SELECT l.account, l.number,
        sum(l.credited::numeric - l.debited) OVER (PARTITION BY l.account ORDER BY l.number)
            AS balance
    FROM lines AS l JOIN accounts AS a ON a.number = l.account
    WHERE a.name ~ '^(wallet|lot|budget):'
), sums AS (
    SELECT asset, sum(debits_posted) AS debits_posted, sum(credits_posted) AS credits_posted,
        sum(debits_held) AS debits_held, sum(credits_held) AS credits_held
    FROM accounts GROUP BY asset
)
SELECT what FROM (
    SELECT format('%s is stored as %s debits and %s credits, but its transfers give %s and %s',
        a.name, a.debits_posted, a.credits_posted, coalesce(r.debits, 0),
        coalesce(r.credits, 0)) AS what
    FROM accounts AS a LEFT JOIN replayed AS r ON r.account = a.number
    WHERE (a.debits_posted, a.credits_posted)
        IS DISTINCT FROM (coalesce(r.debits, 0), coalesce(r.credits, 0))
    UNION ALL
    SELECT format('transfer %s overdraws %s', min(r.number), a.name)
    FROM running AS r JOIN accounts AS a ON a.number = r.account
    WHERE r.balance < 0 GROUP BY a.name
    UNION ALL
    SELECT format('%s is overdrawn by what is held', name) FROM accounts
    WHERE name ~ '^(wallet|lot|budget):'
        AND debits_posted::numeric + debits_held > credits_posted
    UNION ALL
    SELECT format('%s is not marked as what it is', name) FROM accounts
    WHERE debits_must_not_exceed_credits <> (name ~ '^(wallet|lot|budget):')
        OR asset <> CASE WHEN name ~ '^budgets?:' THEN 'budget' ELSE 'credit' END
    UNION ALL
    SELECT format('%s has a counter below zero', name) FROM accounts
    WHERE least(debits_posted, credits_posted, debits_held, credits_held) < 0
    UNION ALL
    SELECT format('debits and credits of asset `%s` differ: %s and %s posted, %s and %s held',
        asset, debits_posted, credits_posted, debits_held, credits_held)
    FROM sums WHERE debits_posted <> credits_posted OR debits_held <> credits_held
) AS breaks (what) LIMIT 100
