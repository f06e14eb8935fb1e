use crate::bridge::Usage;

/// The most a computation can use, known before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Tokens of input.
    pub input_tokens: u32,
    /// Tokens of output.
    pub output_tokens: u32,
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

    /// Hears how much CPU time the call has used so far, in microseconds, after each of the
    /// guest's polls; the guest ends where this refuses.
    ///
    /// # Errors
    /// [`Exhausted`] when what the call may spend does not cover it.
    fn compute(&self, _cpu_us: u64) -> Result<(), Exhausted> {
        Ok(())
    }

    /// Ends a reservation with what the guest received. The host calls this once for each
    /// permit, also when the guest traps, is cancelled or runs out of time.
    fn settle(&self, permit: Permit, model: &str, actual: Usage);
}
