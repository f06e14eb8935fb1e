//! What is called: many organisations with a few keys each, calling functions that use models.
//! Amounts and choices come from a seeded generator, so every contestant gets the same stream.

/// Keys of one organisation.
pub(crate) const KEYS_PER_PAYER: u32 = 4;
/// Functions that are called, each with one model.
const FUNCTIONS: u32 = 32;
/// Functions that one organisation calls.
const FUNCTIONS_PER_PAYER: u32 = 4;
/// Organisations that wrote them.
pub(crate) const AUTHORS: u32 = 16;
/// Models that functions use, each of an owner of its own.
pub(crate) const MODELS: u32 = 4;
/// Organisations whose machines run the calls.
pub(crate) const PROVIDERS: u32 = 3;

/// Nano-credits that a prompt token costs.
pub(crate) const INPUT_TOKEN_NANO: u32 = 20;
/// Nano-credits that a generated token costs.
pub(crate) const OUTPUT_TOKEN_NANO: u32 = 60;
/// Nano-credits that the platform asks for a call.
pub(crate) const CALL_NANO: u32 = 1_000;
/// Nano-credits that a function's author adds to a call.
pub(crate) const AUTHOR_NANO: u32 = 500;
/// Nano-credits that a millisecond of the guest's CPU time costs.
pub(crate) const COMPUTE_MS_NANO: u32 = 100;
/// What a call may cost at most: 1,000 prompt tokens and 512 generated ones.
pub(crate) const HOLD_NANO: i64 = 100_000;
/// The model owner's share of what the platform asks, in basis points.
pub(crate) const OWNER_BPS: u32 = 2_000;
/// The provider's share of what the platform asks, in basis points.
pub(crate) const PROVIDER_BPS: u32 = 5_000;

/// One call, as every contestant makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// Which organisation pays.
    pub(crate) payer: u32,
    /// Which of its keys is used.
    pub(crate) key: u32,
    /// Which function is called; it decides the author.
    pub(crate) function: u32,
    /// Which model the function uses; it decides the model's owner.
    pub(crate) model: u32,
    /// Whose machine runs it.
    pub(crate) provider: u32,
    /// Prompt tokens.
    pub(crate) input_tokens: u32,
    /// Generated tokens.
    pub(crate) output_tokens: u32,
    /// Microseconds of the guest's CPU time.
    pub(crate) compute_micros: u32,
}

impl Call {
    /// The same call by another payer, who uses functions of their own.
    pub(crate) fn by(self, payer: u32) -> Self {
        let nth = self.function % FUNCTIONS_PER_PAYER;
        let function = (payer.wrapping_mul(FUNCTIONS_PER_PAYER - 1) + nth) % FUNCTIONS;
        Self { payer, function, model: function % MODELS, ..self }
    }

    /// Who wrote the function.
    pub(crate) fn author(self) -> u32 {
        self.function % AUTHORS
    }

    /// What author, model owner, provider and platform get, in nano-credits.
    pub(crate) fn parts_nano(self) -> [i64; 4] {
        let tokens = self.input_tokens * INPUT_TOKEN_NANO + self.output_tokens * OUTPUT_TOKEN_NANO;
        let asked = CALL_NANO + tokens + self.compute_micros * COMPUTE_MS_NANO / 1_000;
        let owner = asked * OWNER_BPS / 10_000;
        let provider = asked * PROVIDER_BPS / 10_000;
        [AUTHOR_NANO, owner, provider, asked - owner - provider].map(i64::from)
    }
}

/// An endless stream of calls.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    state: u64,
    payers: u32,
}

impl Traffic {
    /// The stream of one of many that call at once.
    pub(crate) fn new(lane: u64, payers: u32) -> Self {
        // Streams of neighbouring lanes must not be one stream shifted.
        Self { state: lane.wrapping_mul(0xD1B5_4A32_D192_ED03), payers }
    }

    /// The next call.
    pub(crate) fn call(&mut self) -> Call {
        let payer = self.below(self.payers);
        let call = Call {
            payer,
            key: self.below(KEYS_PER_PAYER),
            function: self.below(FUNCTIONS_PER_PAYER),
            model: 0,
            provider: self.below(PROVIDERS),
            input_tokens: 50 + self.below(450),
            output_tokens: 10 + self.below(290),
            compute_micros: 500 + self.below(10_000),
        };
        call.by(payer)
    }

    /// A number below `limit`, by splitmix64 (Steele, Lea and Flood, 2014).
    fn below(&mut self, limit: u32) -> u32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed >> 32) % u64::from(limit.max(1))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_payer_calls_few_functions_and_all_are_called() {
        let mut traffic = Traffic::new(3, 64);
        let called: BTreeSet<(u32, u32)> =
            (0..10_000).map(|_| traffic.call()).map(|call| (call.payer, call.function)).collect();
        assert_eq!(called.len(), 64 * 4, "pairs of payer and function");
        let functions: BTreeSet<u32> = called.iter().map(|(_, function)| *function).collect();
        assert_eq!(functions.len(), 32);
    }

    #[test]
    fn everybody_is_met_and_nobody_spends_past_the_hold() {
        let mut traffic = Traffic::new(3, 64);
        let calls: Vec<Call> = (0..10_000).map(|_| traffic.call()).collect();
        for payer in 0..64 {
            assert!(calls.iter().any(|call| call.payer == payer), "payer {payer} never calls");
        }
        for call in &calls {
            let parts_nano = call.parts_nano();
            assert!(parts_nano.iter().all(|nano| *nano > 0), "{call:?}: {parts_nano:?}");
            assert!(parts_nano.iter().sum::<i64>() <= HOLD_NANO, "{call:?}: {parts_nano:?}");
        }
    }

    #[test]
    fn a_lane_always_makes_the_same_calls() {
        let calls = |lane| {
            let mut traffic = Traffic::new(lane, 64);
            (0..10).map(|_| traffic.call()).collect::<Vec<_>>()
        };
        assert_eq!(calls(1), calls(1));
        assert_ne!(calls(1), calls(2));
    }
}
