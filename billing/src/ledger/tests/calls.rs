//! What is tried, and what comes of it. Amounts are nano-credits, a token costs 400, and what a
//! row expects is `ok` where it says nothing.

/// Cases of calls, by name.
pub(super) const CALLS: &[(&str, &str)] = &[
    (
        "a call is held, captured and receipted",
        "
        balance acme                -> 0 - 0 = 0
        top_up acme 10000           -> 10000
        hold c1 acme 4000
        balance acme                -> 10000 - 4000 = 6000
        capture c1 acme 3           -> 1200: platform 1200
        balance acme                -> 8800 - 0 = 8800
        receipt c1 acme             -> 1200
        receipt c1 other            -> none
        usage acme                  -> 1 calls, 3 tokens, 1200
    ",
    ),
    (
        "a hold ends once",
        "
        top_up acme 10000           -> 10000
        hold c1 acme 1000
        void c1 acme
        void c1 acme
        capture c1 acme 1           -> ended: it was voided
        hold c2 acme 1000
        capture c2 acme 1           -> 400: platform 400
        void c2 acme                -> ended: it was captured
        capture c3 acme 1           -> unknown
        void c3 acme                -> unknown
        capture c2 other 1          -> unknown
        balance acme                -> 9600 - 0 = 9600
    ",
    ),
    (
        "the same id, the same answer, for ever",
        "
        top_up acme 1000 op=t       -> 1000
        top_up acme 1000 op=t       -> 1000
        top_up acme 1001 op=t       -> conflict
        top_up other 1000 op=t      -> conflict
        hold c1 acme 800
        hold c1 acme 800
        hold c1 acme 801            -> conflict
        hold c1 acme 800 key=k2     -> conflict
        hold c1 acme 800 ttl=9      -> conflict
        hold c2 acme 800            -> refused 1
        top_up acme 9000            -> 10000
        hold c2 acme 800            -> refused 1
        hold c2 acme 1              -> conflict
        capture c1 acme 1           -> 400: platform 400
        capture c1 acme 1           -> 400: platform 400
        capture c1 acme 2           -> conflict
        capture c1 acme 1 ending=deadline -> conflict
        hold c1 acme 800
        restart
        hold c2 acme 800            -> refused 1
        hold c2 acme 1              -> conflict
        hold c1 acme 800
        capture c1 acme 1           -> 400: platform 400
        capture c1 acme 2           -> conflict
        top_up acme 1000 op=t       -> 1000
        balance acme                -> 9600 - 0 = 9600
    ",
    ),
    (
        "another organisation's id is its own",
        "
        top_up acme 1000            -> 1000
        top_up other 1000           -> 1000
        hold c1 acme 400
        hold c1 other 400           -> conflict
        capture c1 acme 1           -> 400: platform 400
        hold c1 other 400
        void c1 other
        receipt c1 acme             -> 400
        receipt c1 other            -> none
    ",
    ),
    (
        "bad input is refused by name",
        "
        top_up acme 0               -> invalid amount
        top_up acme -1              -> invalid amount
        top_up acme 1 rail=Cash     -> invalid rail
        hold c1 acme -1             -> invalid amount
        hold c1 acme 1 ttl=0        -> invalid ttl_ms
        hold c1 acme 1 ttl=86400001 -> invalid ttl_ms
        hold c1 acme 1 price=2      -> refused 5
        hold c1 acme 1 price=2      -> refused 5
        hold c2 acme 0 provider=10001 -> invalid provider.share_bps
        adjust acme 0               -> invalid amount
        budget acme day -1          -> invalid limit
        budget acme day 1000000000000001 -> invalid limit
        hold c9 acme 0 price=9223372036854775808 -> invalid price_version
        top_up acme 1 op=system-1   -> invalid op
        auto acme 0 1 1             -> invalid rule.below
        auto acme 1 1 0             -> invalid rule.per_month_max
        receipts acme limit=0       -> invalid limit
        receipts acme limit=1001    -> invalid limit
        balance acme                -> 0 - 0 = 0
    ",
    ),
    (
        "the largest amounts fit, and no more",
        "
        top_up acme max             -> 9223372036854775807
        top_up acme 1               -> refused 2
        top_up other 1              -> refused 2
        hold c1 acme max
        hold c2 acme 1              -> refused 1
        capture c1 acme 0           -> 0:
        balance acme                -> 9223372036854775807 - 0 = 9223372036854775807
    ",
    ),
    (
        "a charge never exceeds its hold",
        "
        top_up acme 1000            -> 1000
        hold c1 acme 500
        capture c1 acme 1000000     -> 500: platform 500
        hold c2 acme 0
        capture c2 acme 9           -> 0:
        hold c3 acme 500
        capture c3 acme 18446744073709551615 -> invalid usage.quantity
        capture c3 acme 0           -> 0:
        balance acme                -> 500 - 0 = 500
    ",
    ),
    (
        "the way of ending decides what is paid",
        "
        top_up acme 100000          -> 100000
        hold c1 acme 9000 function=f fee=50
        capture c1 acme 2 calls=1   -> 1850: platform 1800, author 50
        hold c2 acme 9000 function=f fee=50
        capture c2 acme 2 calls=1 ending=guest_trap -> 800: platform 800
        hold c3 acme 9000
        capture c3 acme 0 ending=platform_fault -> 0:
        hold c4 acme 9000 function=f fee=50
        capture c4 acme 2 calls=1 ending=client_left -> 1850: platform 1800, author 50
        payable author              -> 100 (0 matured)
        earnings author             -> Author 100 for 2
    ",
    ),
    (
        "prices and shares are pinned by the hold",
        "
        top_up acme 1000000         -> 1000000
        price                       -> version 1
        hold c1 acme 10000
        prices 7000000 royalty=1000 -> version 2
        price                       -> version 2
        capture c1 acme 1           -> 400: platform 400
        hold c2 acme 10000 price=2 provider=2000
        prices 1                    -> version 3
        capture c2 acme 1           -> 7000: platform 4900, modelowner 700, provider 1400
        hold c3 acme 10000 price=2 provider=9001 -> refused 11
        prices 9 in=1000            -> version 4
        price                       -> version 3
        wait 1000
        price                       -> version 4
        wait 1
        restart
        price                       -> version 4
        earnings owner              -> ModelOwner 700 for 1
        earnings node               -> Provider 1400 for 1
    ",
    ),
    (
        "a hold expires at its tick, and a late charge is owed",
        "
        top_up acme 1000            -> 1000
        hold c1 acme 100 ttl=60000
        wait 59999
        capture c1 acme 0           -> 0:
        hold c2 acme 800 ttl=60000
        wait 60000
        balance acme                -> 1000 - 0 = 1000
        void c2 acme                -> ended: it expired
        capture c2 acme 2           -> late 800: platform 800
        balance acme                -> 200 - 0 = 200
        capture c2 acme 2           -> late 800: platform 800
        hold c3 acme 200 ttl=10
        wait 10
        hold c4 acme 200
        capture c3 acme 1           -> late 200: platform 200
        balance acme                -> 200 - 200 = 0, owes 200
        hold c5 acme 0              -> refused 3
        void c4 acme
        hold c6 acme 0              -> refused 3
        top_up acme 50              -> 50
        balance acme                -> 50 - 0 = 50
        hold c7 acme 50
    ",
    ),
    (
        "a restart voids what its process held",
        "
        top_up acme 1000            -> 1000
        hold c1 acme 400
        restart
        balance acme                -> 1000 - 0 = 1000
        void c1 acme                -> ended: the server restarted
        capture c1 acme 1           -> late 400: platform 400
        balance acme                -> 600 - 0 = 600
    ",
    ),
    (
        "a gateway that comes back voids its own",
        "
        top_up acme 1000            -> 1000
        hold c1 acme 100 epoch=1    -> refused 10
        register gateway            -> epoch 1, 0 voided
        hold c2 acme 100 epoch=1
        register other              -> epoch 1, 0 voided
        restart
        balance acme                -> 1000 - 100 = 900
        register gateway            -> epoch 2, 1 voided
        balance acme                -> 1000 - 0 = 1000
        hold c3 acme 100 epoch=1    -> refused 10
        hold c4 acme 100 epoch=2
        capture c2 acme 1           -> late 100: platform 100
    ",
    ),
    (
        "time neither steps back nor leaps over what is due",
        "
        top_up acme 1000            -> 1000
        hold c1 acme 400 ttl=60000
        clock 5
        hold c2 acme 400 ttl=60000
        balance acme                -> 1000 - 800 = 200
        clock 1826841600000
        balance acme                -> 1000 - 0 = 1000
        capture c1 acme 1           -> late 400: platform 400
        clock 18446744073709551615
        hold c3 acme 1
    ",
    ),
];
