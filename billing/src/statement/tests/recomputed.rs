//! Past calls priced again: row by row, and against the charge's own arithmetic.

use proptest::prelude::*;

use super::told::{nano, org, receipt};
use crate::capture::{Ending, Receipt};
use crate::charge::{Billed, payable};
use crate::hold::Subject;
use crate::ids::{OrgId, PriceVersion};
use crate::money::{Nano, Pico};
use crate::price::{AuthorPrice, Meter, Override, PriceBook, ProviderShare, Rates, UsageLine};
use crate::statement::recompute;

const ENDINGS: [Ending; 6] = [
    Ending::Normal,
    Ending::ClientLeft,
    Ending::Deadline,
    Ending::Budget,
    Ending::GuestTrap,
    Ending::PlatformFault,
];

fn function() -> Subject {
    Subject::Function { owner: "bo".to_owned(), name: "fetch".to_owned(), version: 3 }
}

fn author() -> AuthorPrice {
    AuthorPrice { org: OrgId::new("bo"), call_fee: nano("0.001"), compute_markup_bps: 1250 }
}

/// The receipt with what the ledger would charge for it.
fn charged(receipt: Receipt, book: &PriceBook) -> Receipt {
    let due = payable(&receipt.subject, receipt.ending, &receipt.usage);
    let billed = Billed {
        org: &receipt.org,
        author: receipt.author.as_ref(),
        provider: receipt.provider.as_ref(),
    };
    let charge = book.charge(&billed, &due.lines, due.markup).unwrap().at_most(receipt.held);
    Receipt { amount: charge.total, parts: charge.parts, ..receipt }
}

#[test]
fn a_call_is_told_line_by_line() {
    let usage = [
        (None, Meter::Calls, 1),
        (None, Meter::ComputeMicros, 1501),
        (None, Meter::Fuel, 3),
        (None, Meter::EgressBytes, 7),
        (Some("tiny"), Meter::OutputTokens, 5),
    ];
    let call = |ending| {
        let receipt = receipt(function(), &usage, ending);
        charged(Receipt { author: Some(author()), ..receipt }, &PriceBook::initial())
    };
    let told = |ending| {
        let told = recompute(&call(ending), &PriceBook::initial()).unwrap();
        assert!(told.agrees && !told.cut_to_hold, "{told:?}");
        let lines = told.lines.iter().map(|line| {
            let who = if line.author.is_some() { "author" } else { "platform" };
            format!("{who}: {} x {} per {} = {}", line.quantity, line.rate, line.per, line.exact)
        });
        (lines.collect::<Vec<_>>(), told.exact, told.expected.to_string())
    };
    let (lines, exact, expected) = told(Ending::Normal);
    assert_eq!(
        lines,
        [
            "platform: 1 x 0.000001 per call = 0.000001",
            "author: 1 x 0.001 per call = 0.001",
            "platform: 1501 x 0.0000001 per millisecond = 0.0000001501",
            "author: 1501 x 12.5 per percent of the platform's price = 0.0000000187625",
            "platform: 3 x 0.0000001 per million = 0.0000000000003",
            "author: 3 x 12.5 per percent of the platform's price = 0.0000000000000375",
            "platform: 7 x 0.00001 per megabyte = 0.00000000007",
            "platform: 5 x 0.0000004 per token = 0.000002",
        ]
    );
    assert_eq!((exact.as_str(), expected.as_str()), ("0.0010031689328375", "0.001003169"));
    // A trap pays compute and tokens, and nothing to the author.
    let (lines, _, expected) = told(Ending::GuestTrap);
    assert_eq!(lines[0], "platform: 1 x 0.000001 per call = 0");
    assert_eq!((lines.len(), expected.as_str()), (5, "0.000002151"));
    let (lines, ..) = told(Ending::Deadline);
    assert_eq!(lines.len(), 6);
}

#[test]
fn a_wrong_charge_does_not_agree() {
    let usage = [(Some("tiny"), Meter::OutputTokens, 5)];
    let right = receipt(Subject::Model("tiny".to_owned()), &usage, Ending::Normal);
    let cut = Receipt { held: nano("0.000001"), amount: nano("0.000001"), ..right.clone() };
    let one = |amount: Nano| Nano::from_nano(amount.as_nano() + 1);
    for (receipt, agrees, cut_to_hold) in [
        (right.clone(), true, false),
        (Receipt { amount: one(right.amount), ..right.clone() }, false, false),
        (Receipt { amount: Nano::ZERO, ..right.clone() }, false, false),
        (cut.clone(), true, true),
        (Receipt { amount: one(cut.amount), ..cut }, false, true),
        (Receipt { author: Some(author()), ..right.clone() }, true, false),
    ] {
        let told = recompute(&receipt, &PriceBook::initial()).unwrap();
        assert_eq!((told.agrees, told.cut_to_hold), (agrees, cut_to_hold), "{told:?}");
    }
    let other = Receipt { price_version: PriceVersion(2), ..right };
    let error = recompute(&other, &PriceBook::initial()).unwrap_err().to_string();
    assert_eq!(error, "prices: the receipt pins version 2, this is 1");
}

proptest! {
    #[test]
    fn both_ways_to_price_a_call_agree(
        quantities in prop::collection::vec((0_usize..8, 0_u64..2_000_000_000), 1..12),
        (ending, held) in (0_usize..6, 0_i64..20_000_000_000),
        (fee, bps, bps_provider) in (0_i64..5_000_000_000, 0_u32..1_000_000, 0_u32..10_000),
        rates in prop::collection::vec(0_u64..3_000_000_000, 8),
        (is_function, is_own, is_agreed) in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let pico = |index: usize| Pico::from_pico(rates[index]);
        let model = Rates {
            input_token: pico(0), cached_input_token: pico(1), output_token: pico(2), call: pico(3),
        };
        let mut book = PriceBook::initial();
        book.functions.call = pico(4);
        book.functions.compute_ms = pico(5);
        book.functions.fuel_million = pico(6);
        book.functions.egress_megabyte = pico(7);
        book.models.insert("tiny".to_owned(), model);
        if is_agreed {
            let agreed = Override {
                models: [("tiny".to_owned(), Rates { call: Pico::ZERO, ..model })].into(),
                functions: None,
            };
            book.overrides.insert(org(), agreed);
        }
        let meters = [
            (Some("tiny"), Meter::InputTokens), (Some("other"), Meter::CachedInputTokens),
            (Some("tiny"), Meter::OutputTokens), (Some("tiny"), Meter::Calls),
            (None, Meter::Calls), (None, Meter::ComputeMicros), (None, Meter::Fuel),
            (None, Meter::EgressBytes),
        ];
        let usage: Vec<UsageLine> = quantities.into_iter().map(|(meter, quantity)| {
            let (model, meter) = meters[meter];
            UsageLine { model: model.map(str::to_owned), meter, quantity }
        }).collect();
        let usage = crate::capture::normal_form(&usage);
        let subject = if is_function { function() } else { Subject::Model("tiny".to_owned()) };
        let author = AuthorPrice {
            org: if is_own { org() } else { OrgId::new("bo") },
            call_fee: Nano::from_nano(fee),
            compute_markup_bps: bps,
        };
        let provider = ProviderShare { org: OrgId::new("iron"), share_bps: bps_provider };
        let base = receipt(subject, &[], ENDINGS[ending]);
        let made = Receipt {
            usage,
            held: Nano::from_nano(held),
            author: Some(author),
            provider: Some(provider),
            ..base
        };
        // Only prices that fit are charged at all.
        let due = payable(&made.subject, made.ending, &made.usage);
        let billed = Billed { org: &made.org, author: made.author.as_ref(), provider: None };
        prop_assume!(book.charge(&billed, &due.lines, due.markup).is_ok());
        prop_assume!(recompute(&made, &book).is_ok());
        let told = recompute(&charged(made, &book), &book).unwrap();
        prop_assert!(told.agrees, "{told:?}");
    }
}
