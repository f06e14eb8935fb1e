//! The rules against an oracle that only knows sums.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::capture::Ending;
use crate::hold::Subject;
use crate::ids::{KeyId, OpId};
use crate::price::{AuthorPrice, Meter, UsageLine};

/// What a random caller may try. Indexes pick one of the holds made so far.
#[derive(Clone, Debug)]
enum Attempt {
    TopUp { org: u8, nano: i64 },
    Hold { org: u8, nano: i64, author: u8, ttl_ms: u64 },
    Capture { hold: usize, tokens: u64, micros: u64, ending: Ending },
    Void { hold: usize },
    Wait { ms: u64 },
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let ending = prop_oneof![
        Just(Ending::Normal),
        Just(Ending::ClientLeft),
        Just(Ending::Deadline),
        Just(Ending::Budget),
        Just(Ending::GuestTrap),
        Just(Ending::PlatformFault),
    ];
    prop_oneof![
        (0..4_u8, 1..5_000_i64).prop_map(|(org, nano)| Attempt::TopUp { org, nano }),
        (0..4_u8, 0..3_000_i64, 0..4_u8, 1..100_u64)
            .prop_map(|(org, nano, author, ttl_ms)| Attempt::Hold { org, nano, author, ttl_ms }),
        (0..20_usize, 0..10_u64, 0..20_000_u64, ending).prop_map(
            |(hold, tokens, micros, ending)| Attempt::Capture { hold, tokens, micros, ending }
        ),
        (0..20_usize).prop_map(|hold| Attempt::Void { hold }),
        (0..60_u64).prop_map(|ms| Attempt::Wait { ms }),
    ]
}

fn org(number: u8) -> OrgId {
    OrgId::new(format!("org{number}"))
}

/// The world as sums: what was bought, what was paid, what is open.
#[derive(Default)]
struct Oracle {
    bought: BTreeMap<OrgId, i128>,
    paid: BTreeMap<OrgId, i128>,
    open: BTreeMap<HoldId, (OrgId, i128, u64)>,
    ended: BTreeMap<HoldId, HoldEnd>,
}

impl Oracle {
    fn available(&self, org: &OrgId) -> i128 {
        let held: i128 =
            self.open.values().filter(|(of, ..)| of == org).map(|(_, amount, _)| amount).sum();
        self.bought.get(org).unwrap_or(&0) - self.paid.get(org).unwrap_or(&0) - held
    }

    fn end(&mut self, hold: HoldId, end: HoldEnd) {
        self.open.remove(&hold);
        self.ended.insert(hold, end);
    }
}

struct World {
    state: State,
    oracle: Oracle,
    holds: Vec<HoldId>,
    at_ms: u64,
    next_id: u128,
}

impl World {
    fn new() -> World {
        let mut state = State::new(1000);
        state.add_book(Arc::new(PriceBook::initial()));
        World { state, oracle: Oracle::default(), holds: Vec::new(), at_ms: 1, next_id: 1 }
    }

    fn apply(&mut self, operation: &Operation) -> Result<Event, BillingError> {
        while let Some(hold) = self.state.next_expired(self.at_ms) {
            let change = end(&self.state, &hold, HoldEnd::Expired).unwrap();
            self.state.commit(change);
        }
        self.next_id += 1;
        let ended = operation.ends().and_then(|hold| self.oracle.ended.get(&hold).copied());
        let facts = Facts { at_ms: self.at_ms, id: Uuid::from_u128(self.next_id), ended };
        let change = apply(&self.state, operation, &facts)?;
        let event = change.event.clone();
        self.state.commit(change);
        Ok(event)
    }

    fn attempt(&mut self, attempt: &Attempt) {
        let op = OpId::generate();
        match attempt.clone() {
            Attempt::Wait { ms } => {
                self.at_ms += ms;
                let at_ms = self.at_ms;
                let due = self.oracle.open.iter().filter(|(_, (.., expires))| *expires <= at_ms);
                let due: Vec<HoldId> = due.map(|(id, _)| *id).collect();
                due.into_iter().for_each(|hold| self.oracle.end(hold, HoldEnd::Expired));
                // Expiry happens with the next operation, whatever it is.
                let void = Operation::Void { op, hold: HoldId::from_uuid(Uuid::nil()) };
                assert!(matches!(self.apply(&void), Err(BillingError::UnknownHold)));
            }
            Attempt::TopUp { org: number, nano } => {
                let (org, note) = (org(number), String::new());
                let amount = Nano::from_nano(nano);
                self.apply(&Operation::TopUp { op, org: org.clone(), amount, note }).unwrap();
                *self.oracle.bought.entry(org).or_default() += i128::from(nano);
            }
            Attempt::Hold { org: number, nano, author, ttl_ms } => {
                self.hold(hold_request(op, org(number), nano, org(author), ttl_ms));
            }
            Attempt::Capture { hold, tokens, micros, ending } => {
                let Some(hold) = self.holds.get(hold).copied() else { return };
                self.capture(CaptureRequest { op, hold, usage: usage(tokens, micros), ending });
            }
            Attempt::Void { hold } => {
                let Some(hold) = self.holds.get(hold).copied() else { return };
                let outcome = self.apply(&Operation::Void { op, hold });
                self.expect_open(hold, outcome.as_ref());
                if outcome.is_ok() {
                    self.oracle.end(hold, HoldEnd::Voided);
                }
            }
        }
    }

    fn hold(&mut self, request: HoldRequest) {
        let (org, nano) = (request.org.clone(), i128::from(request.amount.as_nano()));
        let affordable = nano <= self.oracle.available(&org);
        match self.apply(&Operation::Hold(request)) {
            Ok(Event::Held(terms)) => {
                assert!(affordable, "a hold beyond the balance");
                self.oracle.open.insert(terms.id, (org, nano, terms.expires_at_ms));
                self.holds.push(terms.id);
            }
            Err(BillingError::Refused(Refusal::InsufficientCredits { available, .. })) => {
                assert!(!affordable, "a hold within the balance is refused");
                assert_eq!(i128::from(available.as_nano()), self.oracle.available(&org));
            }
            other => panic!("{other:?}"),
        }
    }

    fn capture(&mut self, request: CaptureRequest) {
        let hold = request.hold;
        let outcome = self.apply(&Operation::Capture(request));
        self.expect_open(hold, outcome.as_ref());
        let Ok(Event::Ended { receipt: Some(receipt), .. }) = outcome else { return };
        assert!(receipt.amount <= receipt.held);
        let parts = receipt.parts.iter().map(|part| part.amount);
        assert_eq!(Nano::checked_sum(parts), Some(receipt.amount));
        let paid = self.oracle.paid.entry(receipt.org).or_default();
        *paid += i128::from(receipt.amount.as_nano());
        self.oracle.end(hold, HoldEnd::Captured);
    }

    /// A hold ends once; later tries learn how.
    fn expect_open(&self, hold: HoldId, outcome: Result<&Event, &BillingError>) {
        match (outcome, self.oracle.ended.get(&hold)) {
            (Ok(_), None) => {}
            (Err(BillingError::HoldEnded(end)), Some(expect)) => assert_eq!(end, expect),
            other => panic!("{other:?}"),
        }
    }

    fn compare(&self) {
        assert_eq!(self.state.broken(), None);
        for number in 0..4 {
            let wallet = self.state.counters(&Account::Wallet(org(number))).balance().unwrap();
            assert_eq!(i128::from(wallet.available.as_nano()), self.oracle.available(&org(number)));
        }
        let paid: i128 = self.oracle.paid.values().sum();
        let earned = |account: Account| {
            i128::from(self.state.counters(&account).balance().unwrap().posted.as_nano())
        };
        let authors: i128 = (0..4).map(|number| earned(Account::Payable(org(number)))).sum();
        assert_eq!(earned(Account::Platform) + earned(Account::Rounding) + authors, paid);
    }
}

fn hold_request(op: OpId, org: OrgId, nano: i64, author: OrgId, ttl_ms: u64) -> HoldRequest {
    let (call_fee, compute_markup_bps) = (Nano::from_nano(30), 777);
    HoldRequest {
        op,
        org,
        key: KeyId::new("key"),
        amount: Nano::from_nano(nano),
        price_version: PriceVersion(1),
        subject: Subject::Function { owner: "o".to_owned(), name: "f".to_owned(), version: 1 },
        author: Some(AuthorPrice { org: author, call_fee, compute_markup_bps }),
        ttl_ms,
    }
}

fn usage(tokens: u64, micros: u64) -> Vec<UsageLine> {
    let line = |model: Option<&str>, meter, quantity| UsageLine {
        model: model.map(str::to_owned),
        meter,
        quantity,
    };
    vec![
        line(None, Meter::Calls, 1),
        line(None, Meter::ComputeMicros, micros),
        line(Some("m"), Meter::OutputTokens, tokens),
    ]
}

proptest! {
    #[test]
    fn money_is_conserved_whatever_is_tried(attempts in proptest::collection::vec(attempt(), 1..120)) {
        let mut world = World::new();
        for attempt in &attempts {
            world.attempt(attempt);
            world.compare();
        }
    }
}

#[test]
fn totals_that_do_not_fit_are_refused() {
    let mut world = World::new();
    let top_up = |amount| Operation::TopUp {
        op: OpId::generate(),
        org: org(0),
        amount,
        note: String::new(),
    };
    world.apply(&top_up(Nano::MAX)).unwrap();
    let refused = world.apply(&top_up(Nano::from_nano(1))).unwrap_err();
    assert!(matches!(refused, BillingError::Refused(Refusal::BalanceOverflow)), "{refused:?}");
    let all = hold_request(OpId::generate(), org(0), i64::MAX, org(1), 1000);
    world.apply(&Operation::Hold(all)).unwrap();
    let more = hold_request(OpId::generate(), org(0), 1, org(1), 1000);
    let refused = world.apply(&Operation::Hold(more)).unwrap_err();
    let expect = Refusal::InsufficientCredits { needed: Nano::from_nano(1), available: Nano::ZERO };
    assert!(matches!(refused, BillingError::Refused(refusal) if refusal == expect));
    assert_eq!(world.state.broken(), None);
}

#[test]
fn open_holds_have_a_limit() {
    let mut world = World::new();
    world.state = State::new(1);
    world.state.add_book(Arc::new(PriceBook::initial()));
    let free = || Operation::Hold(hold_request(OpId::generate(), org(0), 0, org(1), 1000));
    assert!(world.apply(&free()).is_ok());
    assert!(matches!(world.apply(&free()), Err(BillingError::Overloaded)));
}

#[test]
fn a_broken_state_says_what_is_broken() {
    let nano = Nano::from_nano;
    let zero = Counters::default();
    for (account, counters, expect) in [
        (Account::Platform, Counters { credits_posted: nano(5), ..zero }, "posted debits"),
        (Account::Clearing, Counters { credits_held: nano(5), ..zero }, "held debits"),
        (
            Account::Wallet(org(0)),
            Counters { debits_posted: nano(5), credits_posted: nano(4), ..zero },
            "posted debits are 5 nano, posted credits 4",
        ),
    ] {
        let mut state = State::new(1);
        state.set_account(account, counters);
        assert!(state.broken().unwrap().contains(expect), "{:?}", state.broken());
    }
    let mut state = State::new(1);
    let moved = Counters { debits_posted: nano(5), ..zero };
    state.set_account(Account::Wallet(org(0)), moved);
    state.set_account(Account::Platform, Counters { credits_posted: nano(5), ..zero });
    assert_eq!(state.broken().unwrap(), "wallet:org0 is overdrawn");
}
