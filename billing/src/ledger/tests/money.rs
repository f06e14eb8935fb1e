//! Cases as in [`super::calls`]: grants, budgets, refunds, payouts, months, messages.

/// Cases of money, by name.
pub(super) const MONEY: &[(&str, &str)] = &[
    ("grants burn by priority, then expiry, then kind, then age, and the wallet last", "
        top_up acme 1000            -> 1000
        grant acme 100 priority=1   -> lot 1
        grant acme 100              -> lot 2
        grant acme 100 expires=9000 paid=1 -> lot 3
        grant acme 100 expires=9000 -> lot 4
        grant acme 100 expires=8000 -> lot 5
        balance acme                -> 1500 - 0 = 1500
        hold c1 acme 350
        lots acme                   -> 5: 0 + 100; 4: 0 + 100; 3: 0 + 100; 2: 50 + 50; 1: 100 + 0
        void c1 acme
        hold c2 acme 1500
        hold c3 acme 1              -> refused 1
        capture c2 acme 1           -> 400: platform 100, promo 300
        balance acme                -> 1100 - 0 = 1100
    "),
    ("free credits earn nobody anything", "
        grant acme 1600             -> lot 1
        top_up acme 5000            -> 6600
        hold c1 acme 3000 function=f fee=1000
        capture c1 acme 0 calls=1   -> 2000: platform 200, author 200, promo 1600
        payable author              -> 200 (0 matured)
        hold c2 acme 3000 function=f fee=1000
        capture c2 acme 0 calls=1   -> 2000: platform 1000, author 1000
        payable author              -> 1200 (0 matured)
        top_up author 5000          -> 5000
        hold c3 author 3000 function=f fee=1000
        capture c3 author 0 calls=1 -> 1000: platform 1000
        payable author              -> 1200 (0 matured)
    "),
    ("a late charge of free credits earns nobody anything either", "
        grant acme 1600             -> lot 1
        top_up acme 5000            -> 6600
        hold c1 acme 3000 function=f fee=1000 ttl=1000
        wait 1000
        lots acme                   -> 1: 1600 + 0
        capture c1 acme 0 calls=1   -> late 2000: platform 200, author 200, promo 1600
        capture c1 acme 0 calls=1   -> late 2000: platform 200, author 200, promo 1600
        payable author              -> 200 (0 matured)
        balance acme                -> 4600 - 0 = 4600
        # What the lot had was spent meanwhile: it is owed.
        grant acme 1600             -> lot 2
        hold c2 acme 1600 function=f fee=1000 ttl=1000
        wait 1000
        hold c3 acme 1600 function=f fee=1000
        capture c3 acme 0 calls=1   -> 1600: promo 1600
        capture c2 acme 0 calls=1   -> late 1600: promo 1600
        balance acme                -> 3000 - 0 = 3000
        refund c2 acme all          -> 1600 of 1600
        balance acme                -> 4600 - 0 = 4600
        # After a restart, and where the lot is gone.
        grant acme 1600             -> lot 3
        hold c4 acme 1600 function=f fee=1000
        restart
        capture c4 acme 0 calls=1   -> late 1600: promo 1600
        balance acme                -> 4600 - 0 = 4600
        grant acme 1600 expires=1000 -> lot 4
        hold c5 acme 1600 function=f fee=1000 ttl=1000
        wait 1000
        capture c5 acme 0 calls=1   -> late 1600: promo 1600
        balance acme                -> 3000 - 0 = 3000
        payable author              -> 200 (0 matured)
        # Who was promised money gets it, though its lot is gone.
        grant acme 1600 expires=1000 paid=1 -> lot 5
        hold c6 acme 1600 function=f fee=1000 ttl=1000
        wait 1000
        restart
        capture c6 acme 0 calls=1   -> late 1600: platform 800, author 800
        payable author              -> 1000 (0 matured)
        balance acme                -> 1400 - 0 = 1400
    "),
    ("a grant pays only for what it names", "
        grant acme 1000 model=tiny  -> lot 1
        grant acme 1000 function=author/f -> lot 2
        hold c1 acme 1001           -> refused 1
        hold c2 acme 1000
        hold c3 acme 1 model=other  -> refused 1
        hold c4 acme 1000 function=f
        hold c5 acme 1 function=g   -> refused 1
        void c2 acme
        void c4 acme
    "),
    ("a held grant outlives its expiry, and what is released is gone", "
        grant acme 1000 expires=0   -> refused 12
        grant acme 1000 expires=1000 -> lot 1
        hold c1 acme 800
        wait 1000
        balance acme                -> 800 - 800 = 0
        capture c1 acme 1           -> 400: promo 400
        wait 1
        balance acme                -> 0 - 0 = 0
        grant acme 1000 expires=1000 -> lot 2
        hold c2 acme 800
        wait 2000
        void c2 acme
        wait 1
        balance acme                -> 0 - 0 = 0
        restart
        grant acme 5                -> lot 3
        entries acme                -> grant expire_lot expire_lot grant expire_lot expire_lot grant grant
    "),
    ("budgets of key and organisation are held together", "
        top_up acme 10000           -> 10000
        budget acme day 1000
        budget acme month 1500 key=k1
        hold c1 acme 900 key=k1
        hold c2 acme 101 key=k1     -> refused 4
        hold c3 acme 100 key=k2
        hold c4 acme 1 key=k2       -> refused 4
        budgets acme                -> 0 + 1000 of 1000; 0 + 900 of 1500
        capture c1 acme 2           -> 800: platform 800
        void c3 acme
        budgets acme                -> 800 + 0 of 1000; 800 + 0 of 1500
        hold c5 acme 200 key=k1
        void c5 acme
        hold c6 acme 201 key=k2     -> refused 4
        wait 86400000
        hold c7 acme 701 key=k1     -> refused 4
        hold c8 acme 700 key=k1
        capture c8 acme 1           -> 400: platform 400
        budgets acme                -> 400 + 0 of 1000; 1200 + 0 of 1500
        restart
        budgets acme                -> 400 + 0 of 1000; 1200 + 0 of 1500
        budget acme day 100
        hold c9 acme 1              -> refused 4
        budget acme day none
        hold c10 acme 8000
    "),
    ("a lowered budget holds what was promised, and not more", "
        top_up acme 10000           -> 10000
        budget acme total 1000
        hold c1 acme 800
        budget acme total 500
        hold c2 acme 1              -> refused 4
        void c1 acme
        hold c3 acme 501            -> refused 4
        hold c4 acme 500
        budget acme total 2000
        capture c4 acme 1           -> 400: platform 400
        budgets acme                -> 400 + 0 of 2000
        hold c5 acme 1600
        hold c6 acme 1              -> refused 4
    "),
    ("refunds give back what was recorded, and never more", "
        top_up acme 5000            -> 5000
        grant acme 500              -> lot 1
        hold c1 acme 3000 function=f fee=1000
        capture c1 acme 0 calls=1   -> 2000: platform 750, author 750, promo 500
        refund c1 acme 1000         -> 1000 of 1000
        balance acme                -> 4500 - 0 = 4500
        payable author              -> 375 (0 matured)
        refund c1 acme 1001         -> refused 7
        refund c1 acme all op=r     -> 1000 of 2000
        refund c1 acme all op=r     -> 1000 of 2000
        refund c1 acme all          -> refused 7
        refund c1 acme 1            -> refused 7
        refund c2 acme all          -> refused 6
        refund c1 other all         -> refused 6
        balance acme                -> 5500 - 0 = 5500
        payable author              -> 0 (0 matured)
        earnings author             -> Author 0 for 1
        lots acme                   -> 1: 500 + 0
    "),
    ("a refund of an expired grant gives nothing back", "
        grant acme 1000 expires=1000 -> lot 1
        hold c1 acme 400
        capture c1 acme 1           -> 400: promo 400
        wait 1000
        refund c1 acme all          -> 400 of 400
        balance acme                -> 0 - 0 = 0
    "),
    ("earnings mature before they are paid out", "
        platform maturity=10
        top_up acme 9000            -> 9000
        hold c1 acme 3000 function=f fee=1000
        capture c1 acme 0 calls=1   -> 2000: platform 1000, author 1000
        payout author 1             -> refused 8
        wait 777600000
        hold c2 acme 3000 function=f fee=1000
        capture c2 acme 0 calls=1   -> 2000: platform 1000, author 1000
        payable author              -> 2000 (0 matured)
        wait 86400000
        payable author              -> 2000 (1000 matured)
        restart
        payable author              -> 2000 (1000 matured)
        payout author 1001          -> refused 8
        payout author 600 rail=bank -> 400 left
        payable author              -> 1400 (400 matured)
        refund c1 acme all          -> 2000 of 2000
        payable author              -> 400 (0 matured)
    "),
    ("a refund after the payout is owed by the author", "
        platform maturity=0
        top_up acme 9000            -> 9000
        hold c1 acme 3000 function=f fee=1000
        capture c1 acme 0 calls=1   -> 2000: platform 1000, author 1000
        wait 86400000
        payout author 1000          -> 0 left
        refund c1 acme all          -> 2000 of 2000
        payable author              -> -1000 (0 matured)
        balance acme                -> 9000 - 0 = 9000
    "),
    ("money taken back after it was spent is owed", "
        top_up acme 1000 rail=stripe -> 1000
        hold c1 acme 800
        capture c1 acme 2           -> 800: platform 800
        chargeback acme 1000 rail=stripe -> 0
        balance acme                -> 0 - 0 = 0, owes 800
        hold c2 acme 0              -> refused 3
        adjust acme 300             -> 0
        balance acme                -> 0 - 0 = 0, owes 500
        refund c1 acme 600          -> 600 of 600
        balance acme                -> 100 - 0 = 100
        hold c3 acme 100
    "),
    ("adjustments are explained, and do not overdraw", "
        adjust acme 500             -> 500
        adjust acme -501            -> refused 9
        hold c1 acme 400
        adjust acme -101            -> refused 9
        adjust acme -100            -> 400
        balance acme                -> 400 - 400 = 0
    "),
    ("the free tier comes with the first call of a month", "
        platform free=1000
        hold c1 acme 1000
        hold c2 acme 1              -> refused 1
        capture c1 acme 1           -> 400: promo 400
        hold c3 acme 600
        void c3 acme
        clock 1796083200000
        balance acme                -> 0 - 0 = 0
        hold c4 acme 1000
        void c4 acme
        balance acme                -> 1000 - 0 = 1000
        platform free=0
        hold c5 other 1             -> refused 1
    "),
    ("months close by themselves, calls in flight go on", "
        top_up acme 9000            -> 9000
        hold c1 acme 4000 ttl=86400000
        hold c2 acme 400 ttl=86400000
        capture c2 acme 1           -> 400: platform 400
        clock 1796083199999
        top_up acme 1               -> 8601
        clock 1796083200000
        hold c3 acme 400
        capture c3 acme 1           -> 400: platform 400
        periods                     -> 2026-11 8601
        clock 1803859200000
        top_up acme 1               -> 8202
        periods                     -> 2026-11 8601; 2026-12 8201; 2027-01 8201; 2027-02 8201
        restart
        periods                     -> 2026-11 8601; 2026-12 8201; 2027-01 8201; 2027-02 8201
    "),
    ("a low balance is told once, and again after it was high", "
        top_up acme 2000            -> 2000
        notice acme 1500
        hold c1 acme 800
        capture c1 acme 2           -> 800: platform 800
        messages                    ->
        endpoint acme
        hold c2 acme 400
        capture c2 acme 1           -> 400: platform 400
        messages                    -> balance.low to acme
        hold c3 acme 400
        capture c3 acme 1           -> 400: platform 400
        messages                    -> balance.low to acme
        restart
        messages                    -> balance.low to acme
        top_up acme 2000            -> 2400
        hold c4 acme 1200
        capture c4 acme 3           -> 1200: platform 1200
        messages                    -> balance.low to acme; balance.low to acme
    "),
    ("an automatic top-up is asked for once at a time", "
        endpoint operator
        top_up acme 2000            -> 2000
        auto acme 1500 5000 2
        hold c1 acme 800
        capture c1 acme 2           -> 800: platform 800
        auto acme 1500 5000 2
        hold c2 acme 400
        capture c2 acme 1           -> 400: platform 400
        messages                    -> top_up.requested to operator
        top_up acme 500             -> 1300
        hold c3 acme 400
        capture c3 acme 1           -> 400: platform 400
        messages                    -> top_up.requested to operator; top_up.requested to operator
        top_up acme 500             -> 1400
        hold c4 acme 400
        capture c4 acme 1           -> 400: platform 400
        messages                    -> top_up.requested to operator; top_up.requested to operator
    "),
    ("receipts come in pages, newest first", "
        top_up acme 100000          -> 100000
        hold c1 acme 4000
        hold c2 acme 4000
        hold c3 acme 4000
        capture c3 acme 3           -> 1200: platform 1200
        capture c1 acme 1           -> 400: platform 400
        capture c2 acme 2           -> 800: platform 800
        receipts acme               -> 1200 800 400
        receipts acme limit=1       -> 1200
        receipts acme before=c3     -> 800 400
        receipts acme before=c1     ->
        receipts other              ->
        entries                     -> top_up
        entries other               ->
    "),
];
