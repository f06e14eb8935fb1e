//! One row per price, per ending, per way of dividing.

use super::*;
use std::sync::Arc;

use crate::hold::Pinned;
use crate::ids::{CallId, KeyId, PriceVersion};
use crate::price::Royalty;
use proptest::prelude::*;
use uuid::Uuid;

fn line(model: Option<&str>, meter: Meter, quantity: u64) -> UsageLine {
    UsageLine { model: model.map(str::to_owned), meter, quantity }
}

fn input(quantity: u64) -> UsageLine {
    line(Some("m"), Meter::InputTokens, quantity)
}

fn output(quantity: u64) -> UsageLine {
    line(Some("m"), Meter::OutputTokens, quantity)
}

fn calls(quantity: u64) -> UsageLine {
    line(None, Meter::Calls, quantity)
}

fn compute(quantity: u64) -> UsageLine {
    line(None, Meter::ComputeMicros, quantity)
}

fn author(call_fee: i64, compute_markup_bps: u32) -> AuthorPrice {
    let call_fee = Nano::from_nano(call_fee);
    AuthorPrice { org: OrgId::new("author"), call_fee, compute_markup_bps }
}

/// A charge of an organisation that has a share in nothing.
fn charge(
    book: &PriceBook,
    lines: &[UsageLine],
    (author, markup): (Option<&AuthorPrice>, Markup),
) -> Result<Charge, BillingError> {
    let org = OrgId::new("payer");
    book.charge(&Billed { org: &org, author, provider: None }, lines, markup)
}

const NOBODY: (Option<&AuthorPrice>, Markup) = (None, Markup::Full);

/// Total and parts in nano-credits.
fn shown(charge: &Charge) -> (i64, Vec<(&'static str, i64)>) {
    let parts = charge.parts.iter().map(|part| {
        let name = match part.party {
            Party::Platform => "platform",
            Party::Author(_) => "author",
            Party::ModelOwner(_) => "owner",
            Party::Provider(_) => "provider",
            Party::Promo => "promo",
            Party::Rounding => "rounding",
        };
        (name, part.amount.as_nano())
    });
    (charge.total.as_nano(), parts.collect())
}

#[test]
fn charges_are_exact_and_rounded_up_once() {
    let book = PriceBook::initial();
    // 100,000 pico-credits are 100 nano-credits per prompt token, 400 per generated one.
    type Row<'a> = (&'a [UsageLine], (i64, &'a [(&'a str, i64)]));
    let table: &[Row<'_>] = &[
        (&[], (0, &[])),
        (&[input(0), output(0)], (0, &[])),
        (&[input(10)], (1_000, &[("platform", 1_000)])),
        (&[input(10), output(3)], (2_200, &[("platform", 2_200)])),
        (&[line(Some("m"), Meter::CachedInputTokens, 3)], (150, &[("platform", 150)])),
        (&[calls(1)], (1_000, &[("platform", 1_000)])),
        (&[compute(1_000)], (100, &[("platform", 100)])),
        // A microsecond costs a tenth of a nano-credit; ten thousand of them are not rounded
        // ten thousand times.
        (&[compute(1)], (1, &[("rounding", 1)])),
        (&[compute(19)], (2, &[("platform", 1), ("rounding", 1)])),
        (&[compute(1), compute(9)], (1, &[("platform", 1)])),
    ];
    for (lines, (total, parts)) in table {
        let charge = charge(&book, lines, NOBODY).unwrap();
        assert_eq!(shown(&charge), (*total, parts.to_vec()), "{lines:?}");
    }
}

#[test]
fn authors_are_paid_on_top() {
    let book = PriceBook::initial();
    // 10 ms of compute are 1,000 nano-credits.
    let lines = [calls(1), compute(10_000), output(1)];
    for (author, markup, expect) in [
        (author(0, 0), Markup::Full, (2_400, vec![("platform", 2_400)])),
        (author(50, 0), Markup::Full, (2_450, vec![("platform", 2_400), ("author", 50)])),
        (author(50, 2_500), Markup::Full, (2_700, vec![("platform", 2_400), ("author", 300)])),
        (
            author(50, 2_500),
            Markup::CallFeeOnly,
            (2_450, vec![("platform", 2_400), ("author", 50)]),
        ),
        // Half a nano-credit of markup: the author's part is rounded down, the total up.
        (author(0, 5), Markup::Full, (2_401, vec![("platform", 2_400), ("rounding", 1)])),
    ] {
        let charge = charge(&book, &lines, (Some(&author), markup)).unwrap();
        assert_eq!(shown(&charge), expect, "{author:?} {markup:?}");
    }
}

#[test]
fn a_charge_beyond_the_hold_is_shared_in_proportion() {
    let charge = |platform, author, rounding| Charge {
        total: Nano::from_nano(platform + author + rounding),
        parts: vec![
            Part { party: Party::Platform, amount: Nano::from_nano(platform) },
            Part { party: Party::Author(OrgId::new("a")), amount: Nano::from_nano(author) },
            Part { party: Party::Rounding, amount: Nano::from_nano(rounding) },
        ],
    };
    for (parts, limit, expect) in [
        ((50, 50, 0), 0, (0, vec![])),
        ((50, 50, 0), 1, (1, vec![("platform", 1)])),
        ((50, 50, 0), 3, (3, vec![("platform", 2), ("author", 1)])),
        ((1, 99, 0), 10, (10, vec![("author", 10)])),
        ((10, 90, 0), 10, (10, vec![("platform", 1), ("author", 9)])),
        ((33, 65, 2), 50, (50, vec![("platform", 17), ("author", 32), ("rounding", 1)])),
        // Nothing overflows at the end of the range.
        (
            (i64::MAX - 1, 0, 1),
            i64::MAX - 1,
            (i64::MAX - 1, vec![("platform", i64::MAX - 2), ("rounding", 1)]),
        ),
    ] {
        let capped = charge(parts.0, parts.1, parts.2).at_most(Nano::from_nano(limit));
        assert_eq!(shown(&capped), expect, "{parts:?} at most {limit}");
    }
}

#[test]
fn what_cannot_be_priced_is_refused() {
    let book = PriceBook::initial();
    let many = vec![input(1); USAGE_LINES_MAX + 1];
    for (lines, expect) in [
        (&[line(Some("m"), Meter::ComputeMicros, 1)][..], "belong to a function"),
        (&[line(Some("m"), Meter::EgressBytes, 1)], "belong to a function"),
        (&[line(None, Meter::OutputTokens, 1)], "tokens belong to a model"),
        (&[output(u64::MAX)], "does not fit"),
        (&[output(23_058_430_092_136_940)], "does not fit"),
        (&[output(u64::MAX), output(u64::MAX)], "does not fit"),
        (&many, "more than 1000 lines"),
    ] {
        let error = charge(&book, lines, NOBODY).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    assert!(charge(&book, &[output(23_058_430_092_136_939)], NOBODY).is_ok());
    let mut dear = book.clone();
    dear.default_model.output_token = Pico::from_pico(u64::MAX);
    dear.functions.compute_ms = Pico::from_pico(u64::MAX);
    for lines in [[output(u64::MAX)], [compute(u64::MAX)]] {
        assert!(charge(&dear, &lines, (Some(&author(i64::MAX, 1_000_000)), Markup::Full)).is_err());
    }
    assert!(charge(&book, &[calls(2)], (Some(&author(i64::MAX, 0)), Markup::Full)).is_err());
    assert!(charge(&book, &[calls(u64::MAX)], (Some(&author(i64::MAX, 0)), Markup::Full)).is_err());
    assert!(charge(&book, &[calls(1)], (Some(&author(-1, 0)), Markup::Full)).is_err());
}

fn terms(subject: Subject, org: &str, amount: i64) -> HoldTerms {
    HoldTerms {
        call: CallId::from_uuid(Uuid::nil()),
        org: OrgId::new(org),
        key: KeyId::new("key"),
        amount: Nano::from_nano(amount),
        price_version: PriceVersion(1),
        subject,
        pinned: Arc::new(Pinned { author: Some(author(50, 10_000)), ..Pinned::default() }),
        lots: Vec::new(),
        created_at_ms: 0,
        expires_at_ms: 0,
    }
}

fn priced(held: &HoldTerms, usage: &[UsageLine], ending: Ending) -> (i64, i64) {
    let charge = price_capture(&PriceBook::initial(), held, (usage, ending)).unwrap();
    let of_author = charge.parts.iter().filter(|part| matches!(part.party, Party::Author(_)));
    let markup = Nano::checked_sum(of_author.map(|part| part.amount)).unwrap();
    (charge.total.as_nano(), markup.as_nano())
}

#[test]
fn the_table_of_endings_for_functions() {
    let subject = Subject::Function { owner: "o".to_owned(), name: "f".to_owned(), version: 1 };
    let held = terms(subject, "payer", 1_000_000);
    // Call 1,000 and fee 50; compute 1,000 and as much markup; tokens 100 + 400.
    let usage = [calls(1), compute(10_000), input(1), output(1)];
    for (ending, expect) in [
        (Ending::Normal, (3_550, 1_050)),
        (Ending::ClientLeft, (3_550, 1_050)),
        (Ending::Deadline, (2_550, 50)),
        (Ending::Budget, (2_550, 50)),
        (Ending::GuestTrap, (1_500, 0)),
        (Ending::PlatformFault, (1_500, 0)),
    ] {
        assert_eq!(priced(&held, &usage, ending), expect, "{ending:?}");
        assert_eq!(priced(&held, &[], ending), (0, 0), "{ending:?} without usage");
    }
    let own = HoldTerms { org: OrgId::new("author"), ..held };
    assert_eq!(priced(&own, &usage, Ending::Normal), (2_500, 0), "nobody pays himself");
    let small = HoldTerms { amount: Nano::from_nano(355), ..terms(own.subject, "payer", 0) };
    assert_eq!(priced(&small, &usage, Ending::Normal), (355, 105), "never above the hold");
}

#[test]
fn the_table_of_endings_for_models() {
    let held = terms(Subject::Model("m".to_owned()), "payer", 1_000_000);
    let delivered = [input(10), output(2)];
    let nothing_delivered = [input(10), output(0)];
    for (ending, expect, expect_undelivered) in [
        (Ending::Normal, 1_800, 1_000),
        (Ending::ClientLeft, 1_800, 1_000),
        (Ending::Deadline, 1_800, 1_000),
        (Ending::Budget, 1_800, 1_000),
        (Ending::GuestTrap, 1_800, 1_000),
        (Ending::PlatformFault, 1_800, 0),
    ] {
        assert_eq!(priced(&held, &delivered, ending).0, expect, "{ending:?}");
        assert_eq!(priced(&held, &nothing_delivered, ending).0, expect_undelivered, "{ending:?}");
    }
}

#[test]
fn nonsense_usage_is_refused_whatever_the_ending() {
    let held = terms(Subject::Model("m".to_owned()), "payer", 1_000_000);
    let usage = [line(None, Meter::InputTokens, 1)];
    let refused = price_capture(&PriceBook::initial(), &held, (&usage, Ending::PlatformFault));
    assert!(matches!(refused, Err(BillingError::Invalid(_))), "{refused:?}");
}

#[test]
fn the_waterfall_divides_one_price() {
    let mut book = PriceBook::initial();
    let royalty = |org: &str, share_bps| Royalty { org: OrgId::new(org), share_bps };
    book.royalties.insert("m".to_owned(), royalty("owner", 1_000));
    let provider = |org: &str, share_bps| ProviderShare { org: OrgId::new(org), share_bps };
    // Tokens 4,000, of which the owner gets a tenth; the call 1,000; compute 1,000.
    let lines = [output(10), calls(1), compute(10_000)];
    for (org, provider, expect) in [
        ("payer", None, vec![("platform", 5_600), ("author", 50), ("owner", 400)]),
        (
            "payer",
            Some(provider("node", 6_000)),
            vec![("platform", 2_000), ("author", 50), ("owner", 400), ("provider", 3_600)],
        ),
        // What an organisation would pay to itself, nobody gets: the author's price is left out,
        // and shares stay with the platform.
        ("author", None, vec![("platform", 5_600), ("owner", 400)]),
        ("owner", None, vec![("platform", 6_000), ("author", 50)]),
        (
            "node",
            Some(provider("node", 6_000)),
            vec![("platform", 5_600), ("author", 50), ("owner", 400)],
        ),
        // More parties than nanos: all is rounding.
        (
            "payer",
            Some(provider("node", 10)),
            vec![("platform", 5_594), ("author", 50), ("owner", 400), ("provider", 6)],
        ),
    ] {
        let org = OrgId::new(org);
        let author = author(50, 0);
        let billed = Billed { org: &org, author: Some(&author), provider: provider.as_ref() };
        let charge = book.charge(&billed, &lines, Markup::Full).unwrap();
        assert_eq!(shown(&charge).1, expect, "{org} {provider:?}");
    }
    let org = OrgId::new("payer");
    let all = provider("node", 10_000);
    let billed = Billed { org: &org, author: None, provider: Some(&all) };
    let refused = book.charge(&billed, &[output(10)], Markup::Full).unwrap_err().to_string();
    assert!(refused.contains("the shares are more than the whole price"), "{refused}");
    book.royalties.insert("m".to_owned(), royalty("owner", 3_333));
    let third = provider("node", 3_333);
    let billed = Billed { org: &org, author: None, provider: Some(&third) };
    let tiny = book.charge(&billed, &[line(None, Meter::ComputeMicros, 1)], Markup::Full).unwrap();
    assert_eq!(shown(&tiny), (1, vec![("rounding", 1)]), "more parties than nanos");
}

#[test]
fn agreed_prices_come_before_everybodys() {
    let mut book = PriceBook::initial();
    let rates = |output_token| crate::price::Rates {
        output_token: Pico::from_pico(output_token),
        ..book.default_model
    };
    let (mine, everybodys) = (rates(1_000), rates(2_000));
    let agreed = crate::price::Override {
        models: [("m".to_owned(), mine)].into(),
        functions: Some(crate::price::FunctionRates { call: Pico::ZERO, ..book.functions }),
    };
    book.models.insert("m".to_owned(), everybodys);
    book.overrides.insert(OrgId::new("friend"), agreed);
    let other = |model| line(Some(model), Meter::OutputTokens, 10);
    for (org, lines, expect) in [
        ("friend", [output(10), calls(1)], 10),
        ("payer", [output(10), calls(1)], 1_020),
        ("friend", [other("n"), calls(1)], 4_000),
        ("payer", [other("n"), calls(1)], 5_000),
    ] {
        let org = OrgId::new(org);
        let billed = Billed { org: &org, author: None, provider: None };
        let charge = book.charge(&billed, &lines, Markup::Full).unwrap();
        assert_eq!(charge.total.as_nano(), expect, "{org} {lines:?}");
    }
}

#[test]
fn fuel_and_egress_are_priced_per_million() {
    let mut book = PriceBook::initial();
    book.functions.fuel_million = Pico::from_pico(5_000);
    book.functions.egress_megabyte = Pico::from_pico(7_000);
    let fuel = |quantity| line(None, Meter::Fuel, quantity);
    let egress = |quantity| line(None, Meter::EgressBytes, quantity);
    for (lines, expect) in [
        (vec![fuel(2_000_000)], 10),
        (vec![fuel(1)], 1),
        (vec![fuel(1), egress(1)], 1),
        (vec![egress(3_000_000)], 21),
    ] {
        assert_eq!(charge(&book, &lines, NOBODY).unwrap().total.as_nano(), expect, "{lines:?}");
    }
    let author = author(0, 10_000);
    let charge = charge(&book, &[fuel(2_000_000)], (Some(&author), Markup::Full)).unwrap();
    assert_eq!(shown(&charge), (20, vec![("platform", 10), ("author", 10)]));
}

#[test]
fn sub_nano_charges_are_never_lost_or_free() {
    // Each of many calls that cost less than a nano-credit costs one.
    let book = PriceBook::initial();
    let one = charge(&book, &[compute(1)], NOBODY).unwrap();
    assert_eq!(one.total.as_nano(), 1);
    let together = charge(&book, &[compute(1_000_000_000)], NOBODY).unwrap();
    assert_eq!(together.total.as_nano(), 100_000_000, "and in one call they add up exactly");
}

proptest! {
    #[test]
    fn parts_always_sum_to_the_total(
        quantities in proptest::collection::vec(0_u64..1_000_000_000, 4),
        fee in 0_i64..1_000_000,
        bps in 0_u32..1_000_000,
        rate in 0_u64..1_000_000_000,
        limit in 0_i64..1_000_000_000_000,
    ) {
        let mut book = PriceBook::initial();
        book.functions.compute_ms = Pico::from_pico(rate);
        let lines =
            [input(quantities[0]), output(quantities[1]), calls(1), compute(quantities[3])];
        let exact = charge(&book, &lines, (Some(&author(fee, bps)), Markup::Full)).unwrap();
        let sum = |charge: &Charge| {
            Nano::checked_sum(charge.parts.iter().map(|part| part.amount)).unwrap()
        };
        prop_assert_eq!(sum(&exact), exact.total);
        prop_assert!(exact.parts.iter().all(|part| part.amount > Nano::ZERO));
        let capped = exact.clone().at_most(Nano::from_nano(limit));
        prop_assert_eq!(sum(&capped), capped.total);
        prop_assert_eq!(capped.total, exact.total.min(Nano::from_nano(limit)));
        // Rounding takes at most two nano-credits, the total less than one more than the sum.
        let rounding = exact.parts.iter().filter(|part| part.party == Party::Rounding);
        prop_assert!(Nano::checked_sum(rounding.map(|part| part.amount)).unwrap().as_nano() <= 2);
    }
}
