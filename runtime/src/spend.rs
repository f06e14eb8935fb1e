use serde::{Deserialize, Serialize};

use crate::Metering;
use crate::bridge::Usage;

/// The most a computation can use, known before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Tokens of input.
    pub input_tokens: u32,
    /// Tokens of output.
    pub output_tokens: u32,
}

/// What a guest has computed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computed {
    /// What is counted.
    pub metering: Metering,
    /// Microseconds of CPU time, or units of fuel.
    pub quantity: u64,
}

impl Computed {
    /// What is paid of both: fuel where it was counted.
    #[must_use]
    pub fn of(cpu_us: u64, fuel: Option<u64>) -> Self {
        match fuel {
            Some(quantity) => Self { metering: Metering::Fuel, quantity },
            None => Self { metering: Metering::Cpu, quantity: cpu_us },
        }
    }

    /// Nothing yet.
    #[must_use]
    pub fn nothing(metering: Metering) -> Self {
        Self { metering, quantity: 0 }
    }

    /// About a millisecond more: computing is paid ahead in steps of this size.
    #[must_use]
    pub fn ahead(self) -> Self {
        let step = match self.metering {
            Metering::Cpu => 1_000,
            Metering::Fuel => 1_000_000,
        };
        Self { quantity: self.quantity.saturating_add(step), ..self }
    }
}

/// A reservation. It is settled exactly once.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Permit(pub u64);

/// What the call may spend does not cover the reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what this call may spend does not cover it")]
pub struct Exhausted;

/// What one call may spend. Whoever starts the call brings it; the sandbox knows no prices.
pub trait Spend: Send + Sync {
    /// Sets aside the worst case of one computation on `model`.
    ///
    /// # Errors
    /// [`Exhausted`] when the rest does not cover it; nothing is set aside then.
    fn reserve(&self, model: &str, worst: Units) -> Result<Permit, Exhausted>;

    /// Hears how much the guest has computed so far, after each of its polls; it ends where this
    /// refuses.
    ///
    /// # Errors
    /// [`Exhausted`] when what the call may spend does not cover it.
    fn compute(&self, _computed: Computed) -> Result<(), Exhausted> {
        Ok(())
    }

    /// Ends a reservation with what the guest received. The host calls this once for each
    /// permit, also when the guest traps, is cancelled or runs out of time.
    fn settle(&self, permit: Permit, model: &str, actual: Usage);
}
