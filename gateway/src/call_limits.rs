//! What one call of a function may use: every limit with its unit, its default, what a manifest may
//! ask for and what the operator allows, in one table.

use emberbox_runtime::{LimitKind, Limits, Metering};

/// What one call may use, as its manifest asks; or, of all functions, the most that the operator
/// allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Linear memory, all memories of the guest together, in MiB.
    pub memory_mib: u64,
    /// From the request's arrival to the response's last byte, in milliseconds.
    pub wall_ms: u64,
    /// CPU time of the guest itself, in milliseconds.
    pub cpu_ms: u64,
    /// Units of fuel, in millions, where computing is metered by fuel.
    pub fuel_millions: u64,
    /// Elements of tables, all tables together.
    pub table_elements: u64,
    /// Core instances inside the component.
    pub core_instances: u64,
    /// Handles to host resources that are open at the same time.
    pub handles: u64,
    /// What one call of the host may copy out of the guest, in KiB.
    pub host_call_kib: u64,
    /// Tensors that are held at the same time, in KiB.
    pub tensors_kib: u64,
    /// Models that are loaded from the guest's memory, in KiB.
    pub load_kib: u64,
    /// Contexts of `wasi:nn` that are open at the same time: sequences on models.
    pub contexts: u64,
    /// The response's body, in KiB.
    pub response_kib: u64,
    /// Log lines, in KiB; what follows is dropped with a note.
    pub log_kib: u64,
    /// Requests that the function may send.
    pub outbound_requests: u64,
    /// Bodies of those requests and of their answers, together, in KiB.
    pub outbound_kib: u64,
    /// Calls of the function in progress at a time; one more is refused.
    pub concurrency: u64,
}

/// One of the limits.
pub(crate) struct Limit {
    /// In a manifest's `[limits]`.
    pub(crate) name: &'static str,
    /// The operator's setting.
    pub(crate) setting: &'static str,
    of: fn(&mut CallLimits) -> &mut u64,
    /// The most that any operator can allow.
    pub(crate) most: u64,
}

macro_rules! limits {
    ($($name:ident: usual $usual:expr, allowed $allowed:expr, most $most:expr;)*) => {
        /// All of them, in the order in which they are documented.
        pub(crate) const ALL: &[Limit] = &[$(Limit {
            name: stringify!($name),
            setting: concat!("function_limits.", stringify!($name), "_max"),
            of: |limits| &mut limits.$name,
            most: $most,
        }),*];

        impl CallLimits {
            /// What a manifest gets that does not say.
            pub const USUAL: Self = Self { $($name: $usual),* };
            /// What operators allow who do not say.
            pub const ALLOWED: Self = Self { $($name: $allowed),* };
        }
    };
}

limits! {
    memory_mib: usual 64, allowed 256, most 4_096;
    wall_ms: usual 30_000, allowed 300_000, most 21_600_000;
    cpu_ms: usual 10_000, allowed 60_000, most 21_600_000;
    fuel_millions: usual 20_000, allowed 120_000, most 1_000_000_000;
    table_elements: usual 50_000, allowed 100_000, most 100_000;
    core_instances: usual 64, allowed 64, most 64;
    handles: usual 1_000, allowed 1_000, most 1_000_000;
    host_call_kib: usual 24 << 10, allowed 64 << 10, most 1 << 20;
    tensors_kib: usual 16 << 10, allowed 64 << 10, most 1 << 20;
    load_kib: usual 8 << 10, allowed 16 << 10, most 1 << 20;
    contexts: usual 128, allowed 128, most 10_000;
    response_kib: usual 64 << 10, allowed 1 << 20, most 1 << 30;
    log_kib: usual 64, allowed 1 << 10, most 1 << 20;
    outbound_requests: usual 16, allowed 128, most 1_000_000;
    outbound_kib: usual 16 << 10, allowed 256 << 10, most 1 << 30;
    concurrency: usual 1_000, allowed 10_000, most 1_000_000;
}

impl Limit {
    pub(crate) fn get(&self, limits: &CallLimits) -> u64 {
        let mut copy = *limits;
        *(self.of)(&mut copy)
    }

    pub(crate) fn set<'l>(&self, limits: &'l mut CallLimits) -> &'l mut u64 {
        (self.of)(limits)
    }
}

/// The name in a manifest of a limit that a call has reached. It is part of the interface: clients
/// read it in `error.limit`.
pub(crate) const fn name_of(limit: LimitKind) -> &'static str {
    match limit {
        LimitKind::Memory => "memory_mib",
        LimitKind::Tables => "table_elements",
        LimitKind::CoreInstances => "core_instances",
        LimitKind::Wall => "wall_ms",
        LimitKind::Cpu => "cpu_ms",
        LimitKind::Fuel => "fuel_millions",
        LimitKind::HostCall => "host_call_kib",
        LimitKind::Response => "response_kib",
        LimitKind::Tensors => "tensors_kib",
        LimitKind::Load => "load_kib",
        LimitKind::Contexts => "contexts",
        LimitKind::Handles => "handles",
        LimitKind::OutboundRequests => "outbound_requests",
        LimitKind::OutboundBytes => "outbound_kib",
    }
}

impl CallLimits {
    /// The lower of both, one by one.
    pub(crate) fn within(mut self, allowed: &Self) -> Self {
        for limit in ALL {
            let lower = limit.get(&self).min(limit.get(allowed));
            *limit.set(&mut self) = lower;
        }
        self
    }

    /// As the sandbox takes them.
    pub(crate) fn for_sandbox(&self, metering: Metering) -> Limits {
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Limits {
            memory_bytes_max: self.memory_mib << 20,
            table_elements_max: self.table_elements,
            core_instances_max: small(self.core_instances),
            wall_ms_max: self.wall_ms,
            cpu_ms_max: self.cpu_ms,
            fuel_max: match metering {
                Metering::Cpu => None,
                Metering::Fuel => Some(self.fuel_millions.saturating_mul(1_000_000)),
            },
            host_call_bytes_max: self.host_call_kib << 10,
            response_bytes_max: self.response_kib << 10,
            log_bytes_max: self.log_kib << 10,
            tensor_bytes_max: self.tensors_kib << 10,
            load_bytes_max: self.load_kib << 10,
            contexts_max: small(self.contexts),
            handles_max: small(self.handles),
            outbound_requests_max: small(self.outbound_requests),
            outbound_bytes_max: self.outbound_kib << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both defaults are within what can be asked, and the sandbox takes the most of everything.
    #[test]
    fn the_table_agrees_with_itself_and_the_sandbox() {
        let mut most = CallLimits::USUAL;
        for limit in ALL {
            let (usual, allowed) = (limit.get(&CallLimits::USUAL), limit.get(&CallLimits::ALLOWED));
            assert!((1..=allowed).contains(&usual) && allowed <= limit.most, "{}", limit.name);
            *limit.set(&mut most) = limit.most;
        }
        let most_of = most.for_sandbox(Metering::Fuel);
        assert_eq!(most_of.validate(4 << 30).map_err(|e| e.to_string()), Ok(()));
        assert_eq!(CallLimits::USUAL.for_sandbox(Metering::Cpu), Limits::default());
        assert_eq!(most.within(&CallLimits::USUAL), CallLimits::USUAL);
    }

    #[test]
    fn what_a_call_reaches_is_a_limit_of_the_table() {
        let kinds = [
            LimitKind::Memory,
            LimitKind::Tables,
            LimitKind::CoreInstances,
            LimitKind::Wall,
            LimitKind::Cpu,
            LimitKind::Fuel,
            LimitKind::HostCall,
            LimitKind::Response,
            LimitKind::Tensors,
            LimitKind::Load,
            LimitKind::Contexts,
            LimitKind::Handles,
            LimitKind::OutboundRequests,
            LimitKind::OutboundBytes,
        ];
        let mut told: Vec<&str> = kinds.into_iter().map(name_of).collect();
        // One is refused before there is a call, the other ends none.
        told.extend(["concurrency", "log_kib"]);
        told.sort_unstable();
        let mut known: Vec<&str> = ALL.iter().map(|limit| limit.name).collect();
        known.sort_unstable();
        assert_eq!(told, known);
    }
}
