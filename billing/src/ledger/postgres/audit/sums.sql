-- The sums by day are what the calls and transfers add up to.
WITH subjects AS MATERIALIZED (
    -- Most names are no JSON: these are chosen before they are read as such.
    SELECT id, name FROM names WHERE id IN (SELECT subject FROM calls)
), models AS MATERIALIZED (
    SELECT id AS subject, name::jsonb ->> 'model' AS model FROM subjects
), captured AS (
    SELECT c.*, (c.ended_at_ms / 86400000)::integer AS day, coalesce(m.id, 0) AS own
    FROM calls AS c JOIN models AS s ON s.subject = c.subject
    LEFT JOIN names AS m ON m.name = s.model
    WHERE c.ended IN (1, 7)
), quantities AS (
    SELECT org, day, key, subject, own AS model, 1 AS calls, amount AS cost, 0 AS meter,
        0::numeric AS quantity
    FROM captured
    UNION ALL
    SELECT org, day, key, subject, (line.value ->> 0)::integer, 0, 0, (line.value ->> 1)::integer,
        (line.value ->> 2)::numeric
    FROM captured, jsonb_array_elements(usage::jsonb) AS line (value)
), summed AS (
    SELECT org, day, key, subject, model, sum(calls) AS calls, sum(cost) AS cost,
        coalesce(sum(quantity) FILTER (WHERE meter = 1), 0) AS input_tokens,
        coalesce(sum(quantity) FILTER (WHERE meter = 2), 0) AS cached_input_tokens,
        coalesce(sum(quantity) FILTER (WHERE meter = 3), 0) AS output_tokens,
        coalesce(sum(quantity) FILTER (WHERE meter = 5), 0) AS compute_micros,
        coalesce(sum(quantity) FILTER (WHERE meter = 6), 0) AS fuel,
        coalesce(sum(quantity) FILTER (WHERE meter = 7), 0) AS egress_bytes
    FROM quantities GROUP BY org, day, key, subject, model
), refunds AS MATERIALIZED (
    SELECT act #>> '{order,org}' AS org, act #>> '{order,call}' AS call, t.debit, t.amount
    FROM (SELECT replace(act, '\u0000', '\u0001')::jsonb AS act, first_transfer, transfers
        FROM entries WHERE transfers > 0) AS e
    CROSS JOIN generate_series(e.first_transfer, e.first_transfer + e.transfers - 1) AS mine
    JOIN transfers AS t ON t.number = mine
    WHERE t.purpose = 13
), paid AS (
    SELECT substr(a.name, 9) AS org, c.day, c.subject, t.amount
    FROM captured AS c
    CROSS JOIN generate_series(c.first_transfer, c.first_transfer + c.transfers - 1) AS mine
    JOIN transfers AS t ON t.number = mine
    JOIN accounts AS a ON a.number = t.credit
    WHERE t.purpose BETWEEN 2 AND 4
    UNION ALL
    SELECT substr(a.name, 9), c.day, c.subject, -r.amount
    FROM refunds AS r JOIN names AS o ON o.name = r.org
    JOIN captured AS c ON c.org = o.id AND c.call = r.call::uuid
    JOIN accounts AS a ON a.number = r.debit AND a.name LIKE 'payable:%'
), earned AS (
    SELECT o.id AS org, p.day, p.subject, sum(p.amount) AS amount
    FROM paid AS p LEFT JOIN names AS o ON o.name = p.org GROUP BY o.id, p.day, p.subject
), kept AS (
    SELECT org, day, subject, sum(amount) AS amount
    FROM earnings_days GROUP BY org, day, subject
)
SELECT what FROM (
    SELECT format('the sums of usage of organisation %s on day %s differ from its receipts',
        coalesce(u.org, s.org), coalesce(u.day, s.day)) AS what
    FROM usage_days AS u FULL JOIN summed AS s ON s.org = u.org AND s.day = u.day
        AND s.key = u.key AND s.subject = u.subject AND s.model = u.model
    WHERE (u.calls, u.cost, u.input_tokens, u.cached_input_tokens, u.output_tokens,
            u.compute_micros, u.fuel, u.egress_bytes)
        IS DISTINCT FROM (s.calls, s.cost, least(s.input_tokens, 9223372036854775807),
            least(s.cached_input_tokens, 9223372036854775807),
            least(s.output_tokens, 9223372036854775807),
            least(s.compute_micros, 9223372036854775807), least(s.fuel, 9223372036854775807),
            least(s.egress_bytes, 9223372036854775807))
    UNION ALL
    SELECT format('the sums of earnings of organisation %s on day %s differ from the journal',
        coalesce(k.org, e.org), coalesce(k.day, e.day))
    FROM kept AS k FULL JOIN earned AS e
        ON e.org = k.org AND e.day = k.day AND e.subject = k.subject
    WHERE coalesce(k.amount, 0) <> coalesce(e.amount, 0)
) AS breaks (what) LIMIT 100
