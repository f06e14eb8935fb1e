//! What should happen, in plain integers: purses, owed amounts, budgets, and who was told what.

mod orders; // What orders do.
mod sums; // Budgets and prices.

use std::collections::{BTreeMap, HashMap};

use self::sums::{Budget, price, start};
use super::Answer;
use crate::calendar::Period;
use crate::capture::CaptureRequest;
use crate::hold::{HoldRequest, Subject};
use crate::ids::{BudgetId, CallId, OpId, OrgId};
use crate::money::Nano;
use crate::operation::Operation;
use crate::order::{Act, Funding, Grant};
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

    /// The process was replaced by another, which knows the time of the last batch and no later
    /// one.
    pub(super) fn restart(&mut self, at_ms: u64) {
        self.at_ms = at_ms;
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
        let taken = |((_, call), other): (&(OrgId, CallId), &Call)| {
            *call == request.call && other.end == End::Open
        };
        if self.calls.iter().any(taken) {
            return Answer::Conflict;
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
        let number = u64::try_from(self.lots.len()).unwrap() + 1;
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
            let owed = self.spend_late(&call, amount);
            let own = self.orgs.entry(request.org.clone()).or_default();
            let settled = (own.wallet - own.held).min(own.owed + owed);
            own.owed += owed - settled;
            own.wallet -= settled;
        }
        for number in &call.budgets {
            if let Some(budget) = self.budgets.iter_mut().find(|b| b.number == *number) {
                budget.count(amount, call.end == End::Gone);
            }
        }
        self.calls.get_mut(&key).unwrap().end = End::Captured(request.clone(), amount);
        Answer::Captured(amount)
    }

    /// Takes from each lot its share of a late charge, as far as it has it; gives what is owed.
    fn spend_late(&mut self, call: &Call, amount: i64) -> i64 {
        let (mut left, mut owed) = (amount, 0);
        for (number, part) in &call.lots {
            let share = left.min(*part);
            let lot = self.lots.get_mut(number).unwrap();
            let taken = share.min(lot.left);
            lot.left -= taken;
            owed += share - taken;
            left -= share;
        }
        owed + left
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
}
