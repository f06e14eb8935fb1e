-- P3: what is held is what the open holds set aside, and no call is both open and ended.
WITH in_lots AS (
    SELECT h.org, h.call, (lot.value ->> 0) AS lot, (lot.value ->> 1)::numeric AS amount
    FROM holds AS h, jsonb_array_elements(h.lots::jsonb) AS lot (value)
), in_wallets AS (
    SELECT o.name AS org, h.amount - coalesce(l.amount, 0) AS amount
    FROM holds AS h JOIN names AS o ON o.id = h.org
    LEFT JOIN (SELECT org, call, sum(amount) AS amount FROM in_lots GROUP BY org, call) AS l
        ON l.org = h.org AND l.call = h.call
), pins AS MATERIALIZED (
    -- Most names are no JSON: these are chosen before they are read as such.
    SELECT p.name AS pinned, h.amount FROM holds AS h JOIN names AS p ON p.id = h.pinned
), in_budgets AS (
    SELECT budget, amount
    FROM pins, jsonb_array_elements_text(pinned::jsonb -> 'budgets') AS budget
), set_aside AS (
    SELECT 'lot:' || lot AS name, 'clearing' AS other, amount FROM in_lots
    UNION ALL SELECT 'wallet:' || org, 'clearing', amount FROM in_wallets
    UNION ALL SELECT 'budget:' || budget, 'budgets:' || budget, amount FROM in_budgets
), held AS (
    SELECT name, sum(debits) AS debits, sum(credits) AS credits FROM (
        SELECT name, amount AS debits, 0::numeric AS credits FROM set_aside
        UNION ALL SELECT other, 0::numeric, amount FROM set_aside) AS sides
    GROUP BY name
)
SELECT what FROM (
    SELECT format('%s holds %s and %s, but the open holds set aside %s and %s',
        coalesce(a.name, h.name), coalesce(a.debits_held, 0), coalesce(a.credits_held, 0),
        coalesce(h.debits, 0), coalesce(h.credits, 0)) AS what
    FROM accounts AS a FULL JOIN held AS h ON h.name = a.name
    WHERE coalesce(a.debits_held, 0) <> coalesce(h.debits, 0)
        OR coalesce(a.credits_held, 0) <> coalesce(h.credits, 0)
    UNION ALL
    SELECT format('the hold of call %s sets more aside in lots than its amount', h.call)
    FROM holds AS h JOIN in_lots AS l ON l.org = h.org AND l.call = h.call
    GROUP BY h.call, h.amount HAVING sum(l.amount) > h.amount OR min(l.amount) <= 0
    UNION ALL
    SELECT format('call %s is open and has ended', c.call)
    FROM calls AS c JOIN holds AS h ON h.org = c.org AND h.call = c.call
    UNION ALL
    SELECT format('call %s has names that do not exist', h.call) FROM holds AS h
    LEFT JOIN names AS o ON o.id = h.org LEFT JOIN names AS k ON k.id = h.key
    LEFT JOIN names AS s ON s.id = h.subject LEFT JOIN names AS p ON p.id = h.pinned
    WHERE o.id IS NULL OR k.id IS NULL OR s.id IS NULL OR (p.id IS NULL AND h.pinned <> 0)
) AS breaks (what) LIMIT 100
