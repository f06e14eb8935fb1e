use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RuntimeError;

const MIB: u64 = 1 << 20;
/// Most fuel of one call: days of computing.
const FUEL_MAX: u64 = 1 << 50;

/// What one call of a function may use. Zero is never allowed: a call that may use nothing of
/// something cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of linear memory, all memories of the guest together.
    pub memory_bytes_max: u64,
    /// Elements of tables, all tables together.
    pub table_elements_max: u64,
    /// Core instances inside the component.
    pub core_instances_max: u32,
    /// Milliseconds from the call's start to its end, waiting included.
    pub wall_ms_max: u64,
    /// Milliseconds of CPU time, as the thread's clock counts them.
    pub cpu_ms_max: u64,
    /// Units of fuel. Where it is set, the call's computing is metered by fuel and not by CPU time.
    pub fuel_max: Option<u64>,
    /// Bytes that one host call may copy out of the guest.
    pub host_call_bytes_max: u64,
    /// Bytes of the answer's body.
    pub response_bytes_max: u64,
    /// Bytes of log lines; what follows is dropped with a note.
    pub log_bytes_max: u64,
    /// Bytes of tensors that the call may hold at the same time.
    pub tensor_bytes_max: u64,
    /// Bytes of the models that the call may load from its memory, together.
    pub load_bytes_max: u64,
    /// Contexts of `wasi:nn` that are open at the same time, used or not.
    pub contexts_max: u32,
    /// Handles to host resources that are open at the same time.
    pub handles_max: u32,
    /// Requests that the guest may send.
    pub outbound_requests_max: u32,
    /// Bytes of the bodies of those requests and of their answers, together.
    pub outbound_bytes_max: u64,
}

/// How a guest's computing is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metering {
    /// By CPU time, in microseconds: what it costs the machine.
    #[default]
    Cpu,
    /// By fuel: about one unit for each instruction, and one for each byte that an instruction for
    /// many of them moves (wasmtime's `OperatorCost`). The same work costs the same on any machine,
    /// and takes longer for being counted.
    Fuel,
}

impl FromStr for Metering {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "fuel" => Ok(Self::Fuel),
            _ => Err("expected \"cpu\" or \"fuel\""),
        }
    }
}

/// One of the limits that a call can reach, for telling which it was. Log lines are not among them:
/// what is over their limit is dropped, with a note in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitKind {
    /// [`Limits::memory_bytes_max`].
    Memory,
    /// [`Limits::table_elements_max`].
    Tables,
    /// [`Limits::core_instances_max`].
    CoreInstances,
    /// [`Limits::wall_ms_max`].
    Wall,
    /// [`Limits::cpu_ms_max`].
    Cpu,
    /// [`Limits::fuel_max`].
    Fuel,
    /// [`Limits::host_call_bytes_max`].
    HostCall,
    /// [`Limits::response_bytes_max`].
    Response,
    /// [`Limits::tensor_bytes_max`].
    Tensors,
    /// [`Limits::load_bytes_max`].
    Load,
    /// [`Limits::contexts_max`].
    Contexts,
    /// [`Limits::handles_max`].
    Handles,
    /// [`Limits::outbound_requests_max`].
    OutboundRequests,
    /// [`Limits::outbound_bytes_max`].
    OutboundBytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 * MIB,
            table_elements_max: 50_000,
            core_instances_max: 64,
            wall_ms_max: 30_000,
            cpu_ms_max: 10_000,
            fuel_max: None,
            host_call_bytes_max: 24 * MIB,
            response_bytes_max: 64 * MIB,
            log_bytes_max: 64 << 10,
            tensor_bytes_max: 16 * MIB,
            load_bytes_max: 8 * MIB,
            contexts_max: 128,
            handles_max: 1_000,
            outbound_requests_max: 16,
            outbound_bytes_max: 16 * MIB,
        }
    }
}

impl Limits {
    /// How a call's computing is counted.
    #[must_use]
    pub fn metering(&self) -> Metering {
        if self.fuel_max.is_some() { Metering::Fuel } else { Metering::Cpu }
    }

    /// Checks every field against what the host can do.
    ///
    /// # Errors
    /// [`RuntimeError::Limit`] names the first field that is out of range.
    pub fn validate(&self, memory_bytes_ceiling: u64) -> Result<(), RuntimeError> {
        let day_ms = 86_400_000;
        let gib = 1 << 30;
        for (field, value, max) in [
            ("memory_bytes_max", self.memory_bytes_max, memory_bytes_ceiling),
            ("table_elements_max", self.table_elements_max, crate::engine::TABLE_ELEMENTS_MAX),
            ("core_instances_max", u64::from(self.core_instances_max), 1_000),
            ("wall_ms_max", self.wall_ms_max, day_ms),
            ("cpu_ms_max", self.cpu_ms_max, day_ms),
            // Where it is not set, any number in range will do.
            ("fuel_max", self.fuel_max.unwrap_or(1), FUEL_MAX),
            ("host_call_bytes_max", self.host_call_bytes_max, gib),
            ("response_bytes_max", self.response_bytes_max, 1_024 * gib),
            ("log_bytes_max", self.log_bytes_max, gib),
            ("tensor_bytes_max", self.tensor_bytes_max, gib),
            ("load_bytes_max", self.load_bytes_max, gib),
            ("contexts_max", u64::from(self.contexts_max), 10_000),
            ("handles_max", u64::from(self.handles_max), 1_000_000),
            ("outbound_requests_max", u64::from(self.outbound_requests_max), 1_000_000),
            ("outbound_bytes_max", self.outbound_bytes_max, 1_024 * gib),
        ] {
            if value == 0 || value > max {
                let reason = format!("must be between 1 and {max}, not {value}");
                return Err(RuntimeError::Limit { field, reason });
            }
        }
        Ok(())
    }
}

/// What a function may see. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Models that it may load by name.
    pub models: BTreeSet<String>,
    /// Whether it may load models from its memory.
    pub load: bool,
    /// Its environment, the whole of it but for secrets.
    pub environment: BTreeMap<String, String>,
    /// Whether an instance answers more than one request of the same payer, one after the other: it is
    /// faster, and trusts the guest to begin each anew.
    pub reuse: bool,
    /// The part of its environment that nothing shows.
    #[serde(skip)]
    pub secrets: Secrets,
    /// Arguments of a command, after the program's name.
    pub arguments: Vec<String>,
}

impl Grants {
    /// Every variable of the environment that has a value.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&String, &String)> {
        let secrets = self.secrets.0.iter();
        let set = secrets.filter_map(|(name, value)| value.as_ref().map(|value| (name, value)));
        self.environment.iter().chain(set)
    }

    /// Whether the author has spoken for a variable, so that nothing of a request becomes it. A
    /// secret that is not set yet is none that a client may choose.
    pub(crate) fn claims(&self, name: &str) -> bool {
        self.environment.contains_key(name) || self.secrets.0.contains_key(name)
    }
}

/// Secrets by the name of their variable; `None` where one is not set. Neither `Debug` nor a
/// serialisation of [`Grants`] has them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Option<String>>);

impl FromIterator<(String, Option<String>)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Option<String>)>>(secrets: I) -> Self {
        Secrets(secrets.into_iter().collect())
    }
}

impl Secrets {
    /// All of them, in the clear: for whoever hands them to where the function runs.
    pub fn pairs(&self) -> impl Iterator<Item = (&String, &Option<String>)> {
        self.0.iter()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_granted_and_not_shown() {
        let text = |text: &str| text.to_owned();
        let grants = Grants {
            environment: [(text("PLAIN"), text("a"))].into(),
            secrets: [(text("TOKEN"), Some(text("hunter2"))), (text("UNSET"), None)]
                .into_iter()
                .collect(),
            ..Grants::default()
        };
        let variables: Vec<_> =
            grants.variables().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(variables, ["PLAIN=a", "TOKEN=hunter2"]);
        for (name, claimed) in [("PLAIN", true), ("TOKEN", true), ("UNSET", true), ("X", false)] {
            assert_eq!(grants.claims(name), claimed, "{name}");
        }
        let shown = format!("{grants:?} {}", serde_json::to_string(&grants).unwrap());
        assert!(shown.contains("PLAIN") && !shown.contains("hunter2"), "{shown}");
    }
}
