//! What a store may grow to.

use std::sync::Arc;

use async_trait::async_trait;
use wasmtime::ResourceLimiter;

use crate::meter::Shared;
use crate::{LimitKind, Limits};

/// Counts memories and tables together: a guest with ten memories gets no more than one with one.
pub(crate) struct Limiter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    core_instances_max: usize,
    fuel_max: u64,
    shared: Arc<Shared>,
}

impl Limiter {
    /// Goes on for the next call: what was taken stays taken.
    pub(super) fn renew(&mut self, shared: Arc<Shared>) {
        shared.memory_is(self.memory_bytes as u64);
        self.shared = shared;
    }

    /// Hears how much fuel is left.
    pub(super) fn fuel_left(&self, left: u64) {
        self.shared.fuel_is(self.fuel_max.saturating_sub(left));
    }

    pub(super) fn new(limits: &Limits, shared: Arc<Shared>) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max: usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX),
            table_elements: 0,
            table_elements_max: usize::try_from(limits.table_elements_max).unwrap_or(usize::MAX),
            core_instances_max: limits.core_instances_max as usize,
            fuel_max: limits.fuel_max.unwrap_or(0),
            shared,
        }
    }
}

#[async_trait]
impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.memory_bytes_max {
            self.shared.refuse(LimitKind::Memory);
            return Ok(false);
        }
        self.memory_bytes = total;
        self.shared.memory_is(total as u64);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_sub(current).saturating_add(desired);
        if total > self.table_elements_max {
            self.shared.refuse(LimitKind::Tables);
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.core_instances_max
    }
}
