use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use emberbox_billing::{AuthorPrice, Billed, Markup, Meter, Nano, OrgId, PriceBook};
use emberbox_runtime::bridge::Usage;
use emberbox_runtime::spend::{Computed, Exhausted, Permit, Spend, Units};

use super::Tally;
use super::quote::dearer_input;

/// What a guest may spend: its call's hold, at the prices pinned with it.
///
/// Everything counts together: the call, the computing bought so far, the tokens used, and the worst
/// case of each computation that runs. So nothing is delivered that the hold cannot pay, and what a
/// guest computes passes it by no more than one of its polls.
pub(super) struct CallSpend {
    book: Arc<PriceBook>,
    org: OrgId,
    author: Option<AuthorPrice>,
    held: Nano,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: Tally,
    bought: Option<Computed>,
    reserved: HashMap<u64, (String, Units)>,
    last_permit: u64,
}

impl CallSpend {
    pub(super) fn new(
        book: Arc<PriceBook>,
        (org, author): (OrgId, Option<AuthorPrice>),
        held: Nano,
    ) -> Self {
        CallSpend { book, org, author, held, state: Mutex::default() }
    }

    /// What the call's models were used for so far.
    pub(super) fn used(&self) -> Tally {
        self.lock().used.clone()
    }

    /// Whether the hold pays for everything, and for so much computing.
    fn covers(&self, state: &State, computed: Option<Computed>) -> bool {
        let mut tally = state.used.clone();
        tally.add(None, Meter::Calls, 1);
        computed.into_iter().for_each(|computed| tally.add_computed(computed));
        for (model, units) in state.reserved.values() {
            let input = dearer_input(&self.book, &self.org, model);
            tally.add(Some(model), input, u64::from(units.input_tokens));
            tally.add(Some(model), Meter::OutputTokens, u64::from(units.output_tokens));
        }
        let billed = Billed { org: &self.org, author: self.author.as_ref(), provider: None };
        let charge = self.book.charge(&billed, &tally.lines(), Markup::Full);
        charge.is_ok_and(|charge| charge.total <= self.held)
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
        if self.covers(&state, state.bought) {
            return Ok(Permit(permit));
        }
        state.reserved.remove(&permit);
        Err(Exhausted)
    }

    fn compute(&self, computed: Computed) -> Result<(), Exhausted> {
        let mut state = self.lock();
        if state.bought.is_some_and(|bought| computed.quantity <= bought.quantity) {
            return Ok(());
        }
        // The last step is as long as the hold can pay.
        let mut steps = [computed.ahead(), computed].into_iter();
        let bought = steps.find(|computed| self.covers(&state, Some(*computed)));
        state.bought = Some(bought.ok_or(Exhausted)?);
        Ok(())
    }

    fn settle(&self, permit: Permit, model: &str, actual: Usage) {
        let mut state = self.lock();
        state.reserved.remove(&permit.0);
        state.used.add_tokens(model, actual);
    }
}

#[cfg(test)]
mod tests {
    use emberbox_runtime::Metering;

    use super::*;

    /// What the initial prices ask: nano-credits per input token, per output token, per call, and
    /// per millisecond of CPU time.
    const INPUT: i64 = 100;
    const OUTPUT: i64 = 400;
    const CALL: i64 = 1_000;
    const CPU_MS: i64 = 100;

    fn spend(held: i64) -> CallSpend {
        let payer = (OrgId::new("acme"), None);
        CallSpend::new(Arc::new(PriceBook::initial()), payer, Nano::from_nano(held))
    }

    fn cpu(us: u64) -> Computed {
        Computed { metering: Metering::Cpu, quantity: us }
    }

    fn units(input_tokens: u32, output_tokens: u32) -> Units {
        Units { input_tokens, output_tokens }
    }

    fn usage(input_tokens: u32, cached_input_tokens: u32, output_tokens: u32) -> Usage {
        Usage { input_tokens, cached_input_tokens, output_tokens }
    }

    #[test]
    fn a_guest_gets_the_cpu_time_that_its_hold_pays() {
        for (left, cpu_us, expect) in [
            (7 * CPU_MS, 7_000, true),
            (7 * CPU_MS, 7_001, false),
            (7 * CPU_MS + 1, 7_010, true),
            (0, 0, true),
            (0, 1, false),
            (-1, 1, false),
        ] {
            let covered = spend(CALL + left).compute(cpu(cpu_us)).is_ok();
            assert_eq!(covered, expect, "{left} nano-credits for {cpu_us} µs");
        }
        let mut free = PriceBook::initial();
        free.functions.compute_ms = emberbox_billing::Pico::ZERO;
        let payer = (OrgId::new("acme"), None);
        let spend = CallSpend::new(Arc::new(free), payer, Nano::from_nano(CALL));
        assert!(spend.compute(cpu(1 << 40)).is_ok(), "what is free has no end");
    }

    #[test]
    fn cpu_time_and_tokens_share_one_hold() {
        let spend = spend(CALL + 10 * CPU_MS + 10 * INPUT + 10 * OUTPUT);
        spend.compute(cpu(9_000)).unwrap();
        assert!(spend.reserve("m", units(10, 11)).is_err(), "a slice of CPU time is bought ahead");
        let permit = spend.reserve("m", units(10, 10)).unwrap();
        assert_eq!(spend.compute(cpu(10_001)), Err(Exhausted), "all else is reserved");
        spend.settle(permit, "m", usage(10, 0, 9));
        spend.compute(cpu(14_000)).unwrap();
        assert_eq!(spend.compute(cpu(14_001)), Err(Exhausted));
        assert!(spend.reserve("m", units(1, 0)).is_err(), "the CPU time took the rest");
    }

    #[test]
    fn an_authors_markup_counts() {
        let author = AuthorPrice {
            org: OrgId::new("author"),
            call_fee: Nano::from_nano(500),
            compute_markup_bps: 10_000,
        };
        let check = |payer: &str, expect: u64| {
            let book = Arc::new(PriceBook::initial());
            let payer = (OrgId::new(payer), Some(author.clone()));
            let held = Nano::from_nano(CALL + 500 + 10 * CPU_MS);
            let spend = CallSpend::new(book, payer, held);
            assert!(spend.compute(cpu(expect)).is_ok());
            assert!(spend.compute(cpu(expect + 1)).is_err());
        };
        check("acme", 5_000);
        check("author", 15_000);
    }

    #[test]
    fn reservations_and_use_never_exceed_the_hold() {
        let spend = spend(CALL + 10 * INPUT + 10 * OUTPUT);
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
