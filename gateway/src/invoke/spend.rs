use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use emberbox_billing::{AuthorPrice, Meter, Nano, PriceBook};
use emberbox_runtime::bridge::Usage;
use emberbox_runtime::spend::{Exhausted, Permit, Spend, Units};

use super::Tally;

/// What a guest may spend on models: its call's hold, at the prices pinned with it.
///
/// Every computation reserves its worst case before it starts, next to what was used and what
/// others of the same call have reserved, so that nothing is delivered that the hold cannot pay.
pub(super) struct CallSpend {
    book: Arc<PriceBook>,
    author: Option<AuthorPrice>,
    held: Nano,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: Tally,
    reserved: HashMap<u64, (String, Units)>,
    last_permit: u64,
}

impl CallSpend {
    pub(super) fn new(book: Arc<PriceBook>, author: Option<AuthorPrice>, held: Nano) -> Self {
        CallSpend { book, author, held, state: Mutex::default() }
    }

    /// Milliseconds of CPU time that the hold pays for beside the call itself: a guest gets no
    /// more, whatever its manifest says. `None` where compute costs nothing.
    pub(super) fn affordable_cpu_ms(&self) -> Option<u64> {
        let cost = |micros: u64| {
            let mut tally = Tally::default();
            tally.add(None, Meter::Calls, 1);
            tally.add(None, Meter::ComputeMicros, micros);
            self.book.charge(&tally.lines(), self.author.as_ref(), true).ok()
        };
        let (call, with_second) = (cost(0)?.total, cost(1_000_000)?.total);
        let second = with_second.checked_sub(call)?.as_nano();
        let left = self.held.checked_sub(call)?.as_nano().max(0);
        u64::try_from(i128::from(left) * 1_000 / i128::from(second).max(1))
            .ok()
            .filter(|_| second > 0)
    }

    /// What the call's models were used for so far.
    pub(super) fn used(&self) -> Tally {
        self.lock().used.clone()
    }

    fn worst_case(&self, state: &State) -> Option<Nano> {
        let mut tally = state.used.clone();
        tally.add(None, Meter::Calls, 1);
        for (model, units) in state.reserved.values() {
            tally.add(Some(model), Meter::InputTokens, u64::from(units.input_tokens));
            tally.add(Some(model), Meter::OutputTokens, u64::from(units.output_tokens));
        }
        let charge = self.book.charge(&tally.lines(), self.author.as_ref(), true).ok()?;
        Some(charge.total)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spend for CallSpend {
    fn reserve(&self, model: &str, worst: Units) -> Result<Permit, Exhausted> {
        let mut state = self.lock();
        state.last_permit += 1;
        let permit = state.last_permit;
        state.reserved.insert(permit, (model.to_owned(), worst));
        match self.worst_case(&state) {
            Some(total) if total <= self.held => Ok(Permit(permit)),
            _ => {
                state.reserved.remove(&permit);
                Err(Exhausted)
            }
        }
    }

    fn settle(&self, permit: Permit, model: &str, actual: Usage) {
        let mut state = self.lock();
        state.reserved.remove(&permit.0);
        state.used.add_tokens(model, actual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(input_tokens: u32, output_tokens: u32) -> Units {
        Units { input_tokens, output_tokens }
    }

    fn usage(input_tokens: u32, cached_input_tokens: u32, output_tokens: u32) -> Usage {
        Usage { input_tokens, cached_input_tokens, output_tokens }
    }

    #[test]
    fn a_guest_gets_the_cpu_time_that_its_hold_pays() {
        // Initial prices: 1,000 nano per call, 100 nano per millisecond of CPU time.
        let affordable = |nano: i64, book: PriceBook| {
            CallSpend::new(Arc::new(book), None, Nano::from_nano(nano)).affordable_cpu_ms()
        };
        for (nano, expect) in [(1_000 + 700, 7), (1_000 + 799, 7), (1_000, 0), (1, 0)] {
            assert_eq!(affordable(nano, PriceBook::initial()), Some(expect), "{nano}");
        }
        let mut free = PriceBook::initial();
        free.functions.compute_ms = emberbox_billing::Pico::ZERO;
        assert_eq!(affordable(1_000, free), None);
    }

    #[test]
    fn reservations_and_use_never_exceed_the_hold() {
        // Initial prices: 100 nano per input token, 400 per output token, 1,000 per call.
        let book = Arc::new(PriceBook::initial());
        let spend = CallSpend::new(book, None, Nano::from_nano(1_000 + 10 * 100 + 10 * 400));
        assert!(spend.reserve("m", units(10, 11)).is_err(), "more than the hold");
        let first = spend.reserve("m", units(10, 5)).unwrap();
        assert!(spend.reserve("m", units(0, 6)).is_err(), "the first is reserved still");
        spend.settle(first, "m", usage(10, 0, 2));
        assert!(spend.reserve("m", units(0, 9)).is_err(), "the first's use counts");
        let second = spend.reserve("m", units(0, 8)).unwrap();
        spend.settle(second, "m", usage(0, 0, 8));
        assert!(spend.reserve("m", units(0, 1)).is_err(), "all is used");
        let lines = spend.used().lines();
        assert_eq!(lines.iter().map(|line| line.quantity).collect::<Vec<_>>(), [10, 10]);
    }

    #[test]
    fn cached_tokens_are_counted_once() {
        let mut tally = Tally::default();
        tally.add_tokens("m", usage(10, 4, 1));
        let lines = tally.lines();
        let quantity = |meter| lines.iter().find(|line| line.meter == meter).map(|l| l.quantity);
        assert_eq!(quantity(Meter::InputTokens), Some(6));
        assert_eq!(quantity(Meter::CachedInputTokens), Some(4));
    }
}
