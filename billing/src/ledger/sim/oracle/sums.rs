//! Budgets and prices as the oracle counts them.

use super::nano;
use crate::calendar::{Day, Period};
use crate::hold::HoldRequest;
use crate::ids::{KeyId, OrgId};
use crate::order::Window;
use crate::price::{Meter, UsageLine};

#[derive(Clone, Debug)]
pub(super) struct Budget {
    pub(super) number: u64,
    pub(super) org: OrgId,
    pub(super) key: Option<KeyId>,
    pub(super) window: Window,
    pub(super) limit: Option<i64>,
    pub(super) opened: u64,
    pub(super) spent: i64,
    pub(super) held: i64,
    /// What the budget's account has room for, beyond the limit where that was lowered.
    pub(super) room: i64,
}

impl Budget {
    /// Counts a charge; a late one as far as there is room.
    pub(super) fn count(&mut self, charged: i64, late: bool) {
        let counted = if late { charged.min(self.room) } else { charged };
        self.spent += counted;
        self.room -= counted;
    }

    pub(super) fn left(&self) -> i64 {
        (self.limit.unwrap_or(0) - self.spent - self.held).min(self.room).max(0)
    }

    pub(super) fn allow(&mut self) {
        self.room = (self.limit.unwrap_or(0) - self.spent - self.held).max(0);
    }

    pub(super) fn reopen(&mut self, at_ms: u64) {
        let opened = start(self.window, at_ms);
        if opened > self.opened {
            self.opened = opened;
            self.spent = 0;
            self.allow();
        }
    }
}

pub(super) fn start(window: Window, at_ms: u64) -> u64 {
    match window {
        Window::Day => Day::of(at_ms).starts_at_ms(),
        Window::Month => Period::of(at_ms).starts_at_ms(),
        Window::Total => 0,
    }
}

/// The charge by the first price book, in whole nanos, at most the hold.
pub(super) fn price(hold: &HoldRequest, usage: &[UsageLine]) -> i64 {
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
