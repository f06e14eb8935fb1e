//! What should happen, in plain integers: purses, owed amounts, budgets, and who was told what.

use std::collections::{BTreeMap, HashMap};

use super::Answer;
use crate::account::{Account, Transfer};
use crate::calendar::{Day, Period};
use crate::capture::CaptureRequest;
use crate::hold::{HoldRequest, Subject};
use crate::ids::{BudgetId, CallId, KeyId, OpId, OrgId};
use crate::money::Nano;
use crate::operation::Operation;
use crate::order::{Act, Funding, Grant, Order, Window};
use crate::price::{Meter, UsageLine};
use crate::report::{Balance, BudgetReport};

/// What an operation should be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected(pub(super) Answer);

#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    at_ms: u64,
    orgs: BTreeMap<OrgId, Org>,
    lots: BTreeMap<u64, Lot>,
    calls: HashMap<(OrgId, CallId), Call>,
    orders: HashMap<OpId, (Act, Answer)>,
    budgets: Vec<Budget>,
    budgets_ever: u64,
    free_tier: i64,
}

#[derive(Clone, Debug, Default)]
struct Org {
    wallet: i64,
    held: i64,
    owed: i64,
    free_in: Option<Period>,
}

#[derive(Clone, Debug)]
struct Lot {
    org: OrgId,
    grant: Grant,
    left: i64,
    held: i64,
    gone: bool,
}

#[derive(Clone, Debug)]
struct Call {
    request: HoldRequest,
    /// What each lot set aside; the wallet the rest.
    lots: Vec<(u64, i64)>,
    budgets: Vec<u64>,
    end: End,
    expires_at_ms: u64,
    refunded: i64,
}

#[derive(Clone, Debug, PartialEq)]
enum End {
    Open,
    Refused(Answer),
    Voided,
    Gone,
    Captured(CaptureRequest, i64),
}

#[derive(Clone, Debug)]
struct Budget {
    number: u64,
    org: OrgId,
    key: Option<KeyId>,
    window: Window,
    limit: Option<i64>,
    opened: u64,
    spent: i64,
    held: i64,
    /// What the budget's account has room for, beyond the limit where that was lowered.
    room: i64,
}

fn nano(amount: Nano) -> i64 {
    amount.as_nano()
}

impl Oracle {
    pub(super) fn new(at_ms: u64) -> Oracle {
        Oracle { at_ms, ..Oracle::default() }
    }

    /// What happens by itself until a time.
    pub(super) fn advance(&mut self, at_ms: u64) {
        self.at_ms = self.at_ms.max(at_ms);
        let at_ms = self.at_ms;
        self.end_open(|call| call.expires_at_ms <= at_ms);
        self.expire_lots();
    }

    /// The process was replaced by another.
    pub(super) fn restart(&mut self, at_ms: u64) {
        self.at_ms = self.at_ms.max(at_ms);
        self.end_open(|_| true);
        self.expire_lots();
    }

    fn end_open(&mut self, ends: impl Fn(&Call) -> bool) {
        let open = |call: &Call| call.end == End::Open && ends(call);
        let due: Vec<_> =
            self.calls.iter().filter(|(_, call)| open(call)).map(|(k, _)| k.clone()).collect();
        for key in due {
            self.release(&key);
            self.calls.get_mut(&key).unwrap().end = End::Gone;
        }
    }

    fn expire_lots(&mut self) {
        let at_ms = self.at_ms;
        for lot in self.lots.values_mut() {
            if lot.grant.expires_at_ms.is_some_and(|expires| expires <= at_ms) {
                lot.left = 0;
                lot.gone |= lot.held == 0;
            }
        }
    }

    /// Gives back what a call had set aside.
    fn release(&mut self, key: &(OrgId, CallId)) {
        let call = self.calls[key].clone();
        let mut rest = nano(call.request.amount);
        for (lot, amount) in &call.lots {
            let lot = self.lots.get_mut(lot).unwrap();
            lot.held -= amount;
            lot.left += amount;
            rest -= amount;
        }
        let org = self.orgs.entry(key.0.clone()).or_default();
        org.held -= rest;
        for budget in &call.budgets {
            if let Some(budget) = self.budgets.iter_mut().find(|b| b.number == *budget) {
                budget.held -= nano(call.request.amount);
                budget.room += nano(call.request.amount);
            }
        }
    }

    pub(super) fn balance(&self, org: &OrgId) -> Balance {
        let own = self.orgs.get(org).cloned().unwrap_or_default();
        let lots = self.lots.values().filter(|lot| lot.org == *org && !lot.gone);
        let (left, held) = lots.fold((0, 0), |sum, lot| (sum.0 + lot.left, sum.1 + lot.held));
        let held = held + own.held;
        let posted = own.wallet + left + held - own.held;
        Balance {
            posted: Nano::from_nano(posted),
            held: Nano::from_nano(held),
            available: Nano::from_nano(posted - held),
            owed: Nano::from_nano(own.owed),
        }
    }

    pub(super) fn spent(&self, report: &BudgetReport) -> (Nano, Nano) {
        let BudgetId(number) = report.budget;
        let budget = self.budgets.iter().find(|budget| budget.number == number).unwrap();
        let is_over = budget.opened < start(budget.window, self.at_ms);
        let spent = if is_over { 0 } else { budget.spent };
        (Nano::from_nano(spent), Nano::from_nano(budget.held))
    }

    /// What an operation should be answered, and what it changes.
    pub(super) fn expect(&mut self, operation: &Operation) -> Expected {
        Expected(match operation {
            Operation::Hold(request) => self.hold(request),
            Operation::Capture(request) => self.capture(request),
            Operation::Void { org, call } => self.void(&(org.clone(), *call)),
            Operation::Order(order) => self.order(order),
        })
    }

    fn hold(&mut self, request: &HoldRequest) -> Answer {
        let key = (request.org.clone(), request.call);
        if let Some(call) = self.calls.get(&key) {
            return match &call.end {
                _ if call.request != *request => Answer::Conflict,
                End::Refused(answer) => answer.clone(),
                _ => Answer::Held,
            };
        }
        self.free_credits(&request.org);
        let (answer, lots, budgets) = match self.fund(request) {
            Ok((lots, budgets)) => (Answer::Held, lots, budgets),
            Err(code) => (Answer::Refused(code), Vec::new(), Vec::new()),
        };
        let end = match &answer {
            Answer::Held => End::Open,
            refused => End::Refused(refused.clone()),
        };
        let expires_at_ms = self.at_ms + request.ttl_ms;
        let request = request.clone();
        let call = Call { request, lots, budgets, end, expires_at_ms, refunded: 0 };
        self.calls.insert(key, call);
        answer
    }

    fn free_credits(&mut self, org: &OrgId) {
        let period = Period::of(self.at_ms);
        let own = self.orgs.entry(org.clone()).or_default();
        if self.free_tier > 0 && own.free_in != Some(period) && own.free_in < Some(period) {
            own.free_in = Some(period);
            let grant = Grant {
                org: org.clone(),
                amount: Nano::from_nano(self.free_tier),
                funding: Funding::Promotional,
                priority: 0,
                expires_at_ms: Some(period.ends_at_ms()),
                scope: crate::order::Scope::default(),
                note: String::new(),
            };
            self.grant(&grant);
        }
    }

    fn grant(&mut self, grant: &Grant) {
        let number = self.lots.len() as u64 + 1;
        let (org, left) = (grant.org.clone(), nano(grant.amount));
        self.lots.insert(number, Lot { org, grant: grant.clone(), left, held: 0, gone: false });
    }

    /// The lots and budgets that a hold takes from, or the code of its refusal.
    #[expect(clippy::type_complexity, reason = "only here")]
    fn fund(&mut self, request: &HoldRequest) -> Result<(Vec<(u64, i64)>, Vec<u64>), u16> {
        let amount = nano(request.amount);
        // Windows open whether or not the hold is then refused.
        let at_ms = self.at_ms;
        let counts = |budget: &&mut Budget| {
            let of_key = budget.key.is_none() || budget.key.as_ref() == Some(&request.key);
            budget.org == request.org && of_key && budget.limit.is_some()
        };
        self.budgets.iter_mut().filter(counts).for_each(|budget| budget.reopen(at_ms));
        if self.orgs.get(&request.org).is_some_and(|org| org.owed > 0) {
            return Err(3);
        }
        if self.budgets.iter_mut().filter(counts).any(|budget| budget.left() < amount) {
            return Err(4);
        }
        let mut order: Vec<(&u64, &Lot)> = self.lots.iter().collect();
        order.sort_by_key(|(number, lot)| {
            let expires = lot.grant.expires_at_ms.unwrap_or(u64::MAX);
            (lot.grant.priority, expires, lot.grant.funding, **number)
        });
        let (mut left, mut taken) = (amount, Vec::new());
        for (number, lot) in order {
            let grant = &lot.grant;
            let expired = grant.expires_at_ms.is_some_and(|expires| expires <= at_ms);
            let models = &grant.scope.models;
            let fits = models.is_empty()
                || matches!(&request.subject, Subject::Model(model) if models.contains(model));
            let part = lot.left.min(left);
            if lot.org == request.org && !expired && fits && part > 0 {
                taken.push((*number, part));
                left -= part;
            }
        }
        let own = self.orgs.entry(request.org.clone()).or_default();
        if left > own.wallet - own.held {
            return Err(1);
        }
        own.held += left;
        for (number, part) in &taken {
            let lot = self.lots.get_mut(number).unwrap();
            lot.left -= part;
            lot.held += part;
        }
        let mut budgets = Vec::new();
        for budget in self.budgets.iter_mut().filter(counts) {
            budget.held += amount;
            budget.room -= amount;
            budgets.push(budget.number);
        }
        Ok((taken, budgets))
    }

    fn void(&mut self, key: &(OrgId, CallId)) -> Answer {
        match self.calls.get(key).map(|call| call.end.clone()) {
            None | Some(End::Refused(_)) => Answer::UnknownHold,
            Some(End::Voided) => Answer::Voided,
            Some(End::Gone | End::Captured(..)) => Answer::Ended,
            Some(End::Open) => {
                self.release(key);
                self.calls.get_mut(key).unwrap().end = End::Voided;
                Answer::Voided
            }
        }
    }

    fn capture(&mut self, request: &CaptureRequest) -> Answer {
        let key = (request.org.clone(), request.call);
        let Some(call) = self.calls.get(&key).cloned() else { return Answer::UnknownHold };
        match &call.end {
            End::Refused(_) => return Answer::UnknownHold,
            End::Voided => return Answer::Ended,
            End::Captured(before, amount) => {
                let same = before == request;
                return if same { Answer::Captured(*amount) } else { Answer::Conflict };
            }
            End::Open | End::Gone => {}
        }
        let amount = price(&call.request, &request.usage);
        if call.end == End::Open {
            self.release(&key);
            self.spend(&call, amount);
        } else {
            let own = self.orgs.entry(request.org.clone()).or_default();
            let settled = (own.wallet - own.held).min(own.owed + amount);
            own.owed += amount - settled;
            own.wallet -= settled;
        }
        for number in &call.budgets {
            if let Some(budget) = self.budgets.iter_mut().find(|b| b.number == *number) {
                let late = call.end == End::Gone;
                let counted = if late { amount.min(budget.room) } else { amount };
                budget.spent += counted;
                budget.room -= counted;
            }
        }
        self.calls.get_mut(&key).unwrap().end = End::Captured(request.clone(), amount);
        Answer::Captured(amount)
    }

    fn spend(&mut self, call: &Call, amount: i64) {
        let mut left = amount;
        for (number, part) in &call.lots {
            let part = left.min(*part);
            self.lots.get_mut(number).unwrap().left -= part;
            left -= part;
        }
        self.orgs.entry(call.request.org.clone()).or_default().wallet -= left;
    }

    fn order(&mut self, order: &Order) -> Answer {
        if let Some((act, answer)) = self.orders.get(&order.op) {
            return if *act == order.act { answer.clone() } else { Answer::Conflict };
        }
        let answer = self.act(&order.act);
        self.orders.insert(order.op.clone(), (order.act.clone(), answer.clone()));
        answer
    }

    fn act(&mut self, act: &Act) -> Answer {
        match act {
            Act::TopUp(payment) => self.receive(&payment.org, nano(payment.amount)),
            Act::Chargeback(payment) => {
                let own = self.orgs.entry(payment.org.clone()).or_default();
                let taken = nano(payment.amount).min(own.wallet - own.held);
                own.wallet -= taken;
                own.owed += nano(payment.amount) - taken;
            }
            Act::Grant(grant) => {
                if grant.expires_at_ms.is_some_and(|expires| expires <= self.at_ms) {
                    return Answer::Refused(12);
                }
                self.grant(grant);
            }
            Act::Refund { org, call, amount, .. } => {
                return self.refund(&(org.clone(), *call), *amount);
            }
            Act::Adjust { org, amount, .. } if amount.is_negative() => {
                let own = self.orgs.entry(org.clone()).or_default();
                if -nano(*amount) > own.wallet - own.held {
                    return Answer::Refused(9);
                }
                own.wallet += nano(*amount);
            }
            Act::Adjust { org, amount, .. } => self.receive(org, nano(*amount)),
            Act::SetBudget { org, key, window, limit } => {
                self.set_budget((org, key.as_ref(), *window), limit.map(nano));
            }
            Act::SetPlatform(platform) => self.free_tier = nano(platform.free_tier_per_month),
            _ => {}
        }
        Answer::Done
    }

    fn receive(&mut self, org: &OrgId, amount: i64) {
        let own = self.orgs.entry(org.clone()).or_default();
        own.wallet += amount;
        let settled = own.owed.min(own.wallet - own.held);
        own.wallet -= settled;
        own.owed -= settled;
    }

    /// Whether a refund is allowed; where its money goes is read from its transfers.
    fn refund(&mut self, key: &(OrgId, CallId), amount: Option<Nano>) -> Answer {
        let Some(call) = self.calls.get_mut(key) else { return Answer::Refused(6) };
        let End::Captured(_, charged) = &call.end else { return Answer::Refused(6) };
        let left = charged - call.refunded;
        let amount = amount.map_or(left, nano);
        if amount > left || amount == 0 {
            return Answer::Refused(7);
        }
        call.refunded += amount;
        Answer::Done
    }

    /// The transfers of a refund that was just made.
    pub(super) fn refunded(&mut self, transfers: &[Transfer]) {
        for transfer in transfers {
            let amount = nano(transfer.amount);
            match &transfer.credit {
                Account::Wallet(org) => self.orgs.get_mut(org).unwrap().wallet += amount,
                Account::Receivable(org) => self.orgs.get_mut(org).unwrap().owed -= amount,
                Account::Lot(lot) => {
                    let lot = self.lots.get_mut(&lot.0).unwrap();
                    assert!(!lot.gone);
                    lot.left += amount;
                }
                Account::Breakage => {}
                other => panic!("a refund to {}", other.name()),
            }
        }
    }

    fn set_budget(
        &mut self,
        (org, key, window): (&OrgId, Option<&KeyId>, Window),
        limit: Option<i64>,
    ) {
        let at_ms = self.at_ms;
        let same = |b: &&mut Budget| {
            b.org == *org && b.key.as_ref() == key && b.window == window && b.limit.is_some()
        };
        if let Some(budget) = self.budgets.iter_mut().find(same) {
            budget.limit = limit;
            budget.reopen(at_ms);
            budget.allow();
        } else if limit.is_some() {
            self.budgets_ever += 1;
            let mut budget = Budget {
                number: self.budgets_ever,
                org: org.clone(),
                key: key.cloned(),
                window,
                limit,
                opened: start(window, at_ms),
                spent: 0,
                held: 0,
                room: 0,
            };
            budget.allow();
            self.budgets.push(budget);
        }
    }
}

impl Budget {
    fn left(&self) -> i64 {
        (self.limit.unwrap_or(0) - self.spent - self.held).min(self.room).max(0)
    }

    fn allow(&mut self) {
        self.room = (self.limit.unwrap_or(0) - self.spent - self.held).max(0);
    }

    fn reopen(&mut self, at_ms: u64) {
        let opened = start(self.window, at_ms);
        if opened > self.opened {
            self.opened = opened;
            self.spent = 0;
            self.allow();
        }
    }
}

fn start(window: Window, at_ms: u64) -> u64 {
    match window {
        Window::Day => Day::of(at_ms).starts_at_ms(),
        Window::Month => Period::of(at_ms).starts_at_ms(),
        Window::Total => 0,
    }
}

/// The charge by the first price book, in whole nanos, at most the hold.
fn price(hold: &HoldRequest, usage: &[UsageLine]) -> i64 {
    // In units of 10^-22 credits, so that nothing is rounded before the end.
    let mut sum = 0_i128;
    let author = hold.author.as_ref().filter(|author| author.org != hold.org);
    for line in usage {
        let quantity = i128::from(line.quantity);
        let rate = match line.meter {
            Meter::OutputTokens => 400_000,
            Meter::InputTokens => 100_000,
            Meter::Calls => 1_000_000,
            Meter::ComputeMicros => 100,
            _ => unreachable!(),
        };
        sum += quantity * rate * 10_000;
        if let Some(author) = author {
            sum += match line.meter {
                Meter::Calls => quantity * i128::from(nano(author.call_fee)) * 10_000_000,
                Meter::ComputeMicros => quantity * 100 * i128::from(author.compute_markup_bps),
                _ => 0,
            };
        }
    }
    let charge = (sum + 9_999_999) / 10_000_000;
    i64::try_from(charge).unwrap().min(nano(hold.amount))
}
