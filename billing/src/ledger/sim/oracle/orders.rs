//! What orders do, as the oracle counts it.

use super::super::Answer;
use super::sums::{Budget, start};
use super::{End, Oracle, nano};
use crate::account::{Account, Transfer};
use crate::ids::{CallId, KeyId, OrgId};
use crate::money::Nano;
use crate::order::{Act, Order, Window};

impl Oracle {
    pub(super) fn order(&mut self, order: &Order) -> Answer {
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
    pub(in crate::ledger::sim) fn refunded(&mut self, transfers: &[Transfer]) {
        for transfer in transfers {
            let amount = nano(transfer.amount);
            if let Account::Wallet(org) = &transfer.debit {
                self.orgs.get_mut(org).unwrap().wallet -= amount;
            }
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
