use std::collections::BTreeMap;

use emberbox_billing::{Meter, UsageLine};
use emberbox_runtime::Metering;
use emberbox_runtime::bridge::Usage;
use emberbox_runtime::spend::Computed;

/// Quantities by model and meter. It stays small however often a guest computes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<(Option<String>, Meter), u64>);

impl Tally {
    /// Adds a quantity; `model` is `None` for the function itself.
    pub(crate) fn add(&mut self, model: Option<&str>, meter: Meter, quantity: u64) {
        if quantity > 0 {
            let sum = self.0.entry((model.map(str::to_owned), meter)).or_default();
            *sum = sum.saturating_add(quantity);
        }
    }

    /// Adds what the engine counted. Its input tokens include the cached ones; ours do not.
    pub(crate) fn add_tokens(&mut self, model: &str, usage: Usage) {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        self.add(Some(model), Meter::InputTokens, u64::from(usage.input_tokens - cached));
        self.add(Some(model), Meter::CachedInputTokens, u64::from(cached));
        self.add(Some(model), Meter::OutputTokens, u64::from(usage.output_tokens));
    }

    /// Adds what a guest has computed.
    pub(crate) fn add_computed(&mut self, computed: Computed) {
        let meter = match computed.metering {
            Metering::Cpu => Meter::ComputeMicros,
            Metering::Fuel => Meter::Fuel,
        };
        self.add(None, meter, computed.quantity);
    }

    /// As the ledger takes it.
    pub(crate) fn lines(&self) -> Vec<UsageLine> {
        let line = |((model, meter), quantity): (&(Option<String>, Meter), &u64)| UsageLine {
            model: model.clone(),
            meter: *meter,
            quantity: *quantity,
        };
        self.0.iter().map(line).collect()
    }
}
