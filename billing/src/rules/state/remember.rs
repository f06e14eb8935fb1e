//! Documents, put where the rules look for them.

use super::State;
use crate::document::{Budget, Document, Lot};
use crate::ids::LotId;
use crate::message::Message;

impl State {
    /// Puts a document where the rules look for it.
    pub(super) fn remember(&mut self, document: Document) {
        match document {
            Document::Lot(lot) => self.remember_lot(lot),
            Document::Budget(budget) => self.remember_budget(budget),
            Document::Settings(settings) => {
                self.settings.insert(settings.org.clone(), settings);
            }
            Document::Platform(platform) => self.platform = platform,
            Document::Gateway(gateway) => {
                self.gateways.insert(gateway.gateway, gateway.epoch);
            }
            Document::Message { message, done } => self.remember_message(message, done),
            Document::Period(close) => self.closed = self.closed.max(Some(close.period)),
            Document::Refunds(_) => {}
        }
    }

    fn remember_lot(&mut self, lot: Lot) {
        self.last.lot = self.last.lot.max(lot.lot.0);
        let lots = self.lots_of.entry(lot.org.clone()).or_default();
        if lot.expired {
            lots.retain(|known| *known != lot.lot);
            self.lots.remove(&lot.lot);
            self.lot_expiry.remove(&(lot.expires_at_ms.unwrap_or(u64::MAX), lot.lot));
            return;
        }
        if let Some(expires_at_ms) = lot.expires_at_ms {
            self.lot_expiry.insert((expires_at_ms, lot.lot));
        }
        if !lots.contains(&lot.lot) {
            let order = |lot: &Lot| {
                (lot.priority, lot.expires_at_ms.unwrap_or(u64::MAX), lot.funding, lot.lot)
            };
            let after =
                |known: &LotId| self.lots.get(known).is_some_and(|k| order(k) < order(&lot));
            lots.insert(lots.partition_point(after), lot.lot);
        }
        self.lots.insert(lot.lot, lot);
    }

    fn remember_budget(&mut self, budget: Budget) {
        self.last.budget = self.last.budget.max(budget.budget.0);
        let levels = self.budgets_of.entry(budget.org.clone()).or_default();
        let level = levels.entry(budget.key.clone()).or_default();
        level.retain(|known| *known != budget.budget);
        if budget.limit.is_some() {
            level.push(budget.budget);
            self.budgets.insert(budget.budget, budget);
        } else {
            self.budgets.remove(&budget.budget);
        }
    }

    fn remember_message(&mut self, message: Message, done: bool) {
        if let Some(known) = self.messages.remove(&message.id) {
            self.messages_due.remove(&(known.due_at_ms, known.id));
        }
        if !done {
            self.messages_due.insert((message.due_at_ms, message.id));
            self.messages.insert(message.id, message);
        }
    }
}
