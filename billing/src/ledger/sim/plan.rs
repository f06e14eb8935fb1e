//! What random callers do, from a seed.

use std::collections::VecDeque;

use uuid::Uuid;

use super::Trouble;
use crate::capture::{CaptureRequest, Ending};
use crate::hold::{HoldRequest, Subject};
use crate::ids::{CallId, KeyId, OpId, OrgId, PriceVersion};
use crate::money::Nano;
use crate::operation::Operation;
use crate::order::{Act, Funding, Grant, Order, Payment, Platform, Scope, Window};
use crate::price::{AuthorPrice, Meter, UsageLine};

/// A small generator of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A place in a list of this length, which is not empty.
    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap())).unwrap()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn nano(&mut self, bound: u64) -> Nano {
        Nano::from_nano(i64::try_from(self.below(bound)).unwrap())
    }
}

/// The callers.
pub(super) struct Plan {
    dice: Dice,
    calls: Vec<(OrgId, CallId, bool)>,
    said: Vec<Operation>,
    again: VecDeque<Operation>,
    next_id: u128,
    only_repeat: bool,
}

fn org(number: u64) -> OrgId {
    OrgId::new(format!("org{number}"))
}

impl Plan {
    pub(super) fn new(seed: u64) -> Plan {
        Plan {
            dice: Dice::new(seed),
            calls: Vec::new(),
            said: Vec::new(),
            again: VecDeque::new(),
            next_id: u128::from(seed) << 32,
            only_repeat: false,
        }
    }

    pub(super) fn orgs(&self) -> Vec<OrgId> {
        (0..3).map(org).collect()
    }

    /// How far the clock moves before the next batch.
    pub(super) fn clock(&mut self) -> i64 {
        const HOUR: u64 = 3_600_000;
        let span = match self.dice.below(100) {
            0..50 => self.dice.below(100),
            50..85 => self.dice.below(HOUR),
            85..93 => self.dice.below(30 * HOUR),
            93..96 => self.dice.below(40 * 24 * HOUR),
            _ => return -i64::try_from(self.dice.below(2 * HOUR)).unwrap(),
        };
        i64::try_from(span).unwrap()
    }

    pub(super) fn trouble(&mut self) -> Option<Trouble> {
        match self.dice.below(100) {
            0..4 => Some(Trouble::Refuse),
            4..8 => Some(Trouble::KeepUnsure),
            8..12 => Some(Trouble::LoseUnsure),
            12..14 => Some(Trouble::SyncKeeps),
            14..16 => Some(Trouble::SyncLoses),
            16..18 => Some(Trouble::CrashKeeps),
            18..22 => Some(Trouble::CrashLoses),
            _ => None,
        }
    }

    /// Where a batch is cut in two that are synced together.
    pub(super) fn cut(&mut self, operations: usize) -> usize {
        let most = u64::try_from(operations).unwrap() + 1;
        usize::try_from(self.dice.below(most)).unwrap()
    }

    pub(super) fn crashes(&mut self) -> bool {
        self.dice.chance(4)
    }

    /// Notes that an operation was not answered: it is said again later.
    pub(super) fn repeat(&mut self, operation: Operation) {
        self.again.push_back(operation);
    }

    pub(super) fn only_repeat(&mut self) {
        self.only_repeat = true;
    }

    /// The next batch.
    pub(super) fn batch(&mut self, at_ms: u64) -> Vec<Operation> {
        let mut batch: Vec<Operation> = Vec::new();
        while let Some(operation) = self.again.pop_front() {
            batch.push(operation);
        }
        for _ in 0..if self.only_repeat { 0 } else { 1 + self.dice.below(8) } {
            let operation = self.operation(at_ms);
            self.said.push(operation.clone());
            batch.push(operation);
        }
        // The oracle learns of at most one refund at a time, and of that last.
        let is_refund = |operation: &Operation| match operation {
            Operation::Order(order) => matches!(order.act, Act::Refund { .. }),
            _ => false,
        };
        let (refunds, mut batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_refund);
        let mut refunds = refunds.into_iter();
        batch.extend(refunds.next());
        self.again.extend(refunds);
        batch
    }

    /// Whether something was not answered yet.
    pub(super) fn has_more(&self) -> bool {
        !self.again.is_empty()
    }

    fn operation(&mut self, at_ms: u64) -> Operation {
        if !self.said.is_empty() && self.dice.chance(12) {
            return self.echo();
        }
        match self.dice.below(100) {
            0..40 => self.hold(),
            40..65 => self.capture(),
            65..72 => self.void(),
            _ => self.order(at_ms),
        }
    }

    /// Something that was said before, now and then with another payload.
    fn echo(&mut self) -> Operation {
        let index = self.dice.index(self.said.len());
        let mut said = self.said[index].clone();
        if self.dice.chance(20) {
            match &mut said {
                Operation::Hold(hold) => hold.ttl_ms += 1,
                Operation::Capture(capture) => capture.ending = Ending::ClientLeft,
                Operation::Void { .. } => {}
                Operation::Order(order) => {
                    order.act = Act::SetLowBalance { org: org(0), below: None };
                }
            }
        }
        said
    }

    fn fresh(&mut self) -> Uuid {
        self.next_id += 1;
        Uuid::from_u128(self.next_id)
    }

    fn hold(&mut self) -> Operation {
        let theirs = self.call().filter(|_| self.dice.chance(8)).map(|(_, call, _)| call);
        let call = theirs.unwrap_or_else(|| CallId::from_uuid(self.fresh()));
        let org = org(self.dice.below(3));
        let is_function = self.dice.chance(50);
        self.calls.push((org.clone(), call, is_function));
        let subject = match is_function {
            true => {
                let name = format!("f{}", self.dice.below(2));
                Subject::Function { owner: "org2".to_owned(), name, version: 1 }
            }
            false => Subject::Model(format!("m{}", self.dice.below(2))),
        };
        let author = (is_function && self.dice.chance(60)).then(|| AuthorPrice {
            org: OrgId::new("org2"),
            call_fee: self.dice.nano(500),
            compute_markup_bps: 2_500,
        });
        Operation::Hold(Box::new(HoldRequest {
            call,
            org,
            key: KeyId::new(format!("key{}", self.dice.below(2))),
            amount: self.dice.nano(4_000),
            price_version: PriceVersion(1),
            subject,
            author,
            provider: None,
            ttl_ms: 1 + self.dice.below(3_600_000),
            holder: None,
        }))
    }

    fn call(&mut self) -> Option<(OrgId, CallId, bool)> {
        // Young calls are asked for more often.
        let young = self.calls.len().saturating_sub(6);
        let from = if self.dice.chance(70) { young } else { 0 };
        let span = self.calls.len().checked_sub(from).filter(|span| *span > 0)?;
        let index = from + self.dice.index(span);
        self.calls.get(index).cloned()
    }

    fn capture(&mut self) -> Operation {
        let unknown = (org(0), CallId::from_uuid(Uuid::nil()), false);
        let (org, call, is_function) = self.call().unwrap_or(unknown);
        let line = |model: Option<&str>, meter, quantity| UsageLine {
            model: model.map(str::to_owned),
            meter,
            quantity,
        };
        let mut usage = vec![
            line(Some("m0"), Meter::OutputTokens, self.dice.below(8)),
            line(Some("m0"), Meter::InputTokens, self.dice.below(8)),
        ];
        if is_function {
            usage.push(line(None, Meter::Calls, 1));
            usage.push(line(None, Meter::ComputeMicros, self.dice.below(9_000)));
        }
        Operation::Capture(CaptureRequest { org, call, usage, ending: Ending::Normal })
    }

    fn void(&mut self) -> Operation {
        let unknown = (org(0), CallId::from_uuid(Uuid::nil()), false);
        let (org, call, _) = self.call().unwrap_or(unknown);
        Operation::Void { org, call }
    }

    fn order(&mut self, at_ms: u64) -> Operation {
        let op = OpId::new(self.fresh().to_string()).unwrap();
        let act = self.act(at_ms);
        Operation::Order(Box::new(Order { op, by: "operator".to_owned(), act }))
    }

    fn act(&mut self, at_ms: u64) -> Act {
        let org = org(self.dice.below(3));
        match self.dice.below(16) {
            0..4 => Act::TopUp(self.payment(org, 6_000)),
            4 => Act::Chargeback(self.payment(org, 3_000)),
            5..8 => Act::Grant(self.grant(org, at_ms)),
            8..11 => {
                let known = self.call();
                let unknown = (org, CallId::from_uuid(Uuid::nil()), false);
                let (org, call, _) = known.unwrap_or(unknown);
                let amount = self.dice.chance(60).then(|| self.dice.nano(900));
                let amount = amount.filter(|amount| *amount > Nano::ZERO);
                Act::Refund { org, call, amount, note: String::new() }
            }
            11 => {
                let amount = i64::try_from(self.dice.below(3_000)).unwrap() - 1_500;
                let amount = Nano::from_nano(if amount == 0 { 1 } else { amount });
                Act::Adjust { org, amount, note: String::new() }
            }
            12..15 => {
                let windows = [Window::Day, Window::Month, Window::Total];
                Act::SetBudget {
                    org,
                    key: self.dice.chance(50).then(|| KeyId::new("key0")),
                    window: windows[self.dice.index(3)],
                    limit: self.dice.chance(80).then(|| self.dice.nano(20_000)),
                }
            }
            _ => Act::SetPlatform(Platform {
                free_tier_per_month: self.dice.nano(2_000),
                maturity_days: 30,
            }),
        }
    }

    fn payment(&mut self, org: OrgId, bound: u64) -> Payment {
        let amount = Nano::from_nano(self.dice.nano(bound).as_nano() + 1);
        let (rail, reference) = ("operator".to_owned(), None);
        Payment { org, amount, rail, reference, note: String::new() }
    }

    fn grant(&mut self, org: OrgId, at_ms: u64) -> Grant {
        let funding = match self.dice.chance(50) {
            true => Funding::Promotional,
            false => Funding::Paid,
        };
        let models = if self.dice.chance(30) { vec!["m0".to_owned()] } else { Vec::new() };
        let span = self.dice.below(20 * 86_400_000);
        let expires_at_ms = self.dice.chance(60).then(|| at_ms.saturating_add(span));
        Grant {
            org,
            amount: Nano::from_nano(self.dice.nano(2_500).as_nano() + 1),
            funding,
            priority: u8::try_from(self.dice.below(2)).unwrap(),
            expires_at_ms,
            scope: Scope { models, functions: Vec::new() },
            note: String::new(),
        }
    }
}
