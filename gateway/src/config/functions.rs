use emberbox_runtime::Metering;

use super::reader::Reader;
use crate::call_limits::{self, CallLimits};

/// The most that functions may be given, whatever their manifests ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionLimits {
    /// What one call may use; one setting for each, its name and `_max`.
    pub call: CallLimits,
    /// Instances at a time, over all functions.
    pub instances_max: u32,
    /// Whether functions may load models from their own memory.
    pub load_models: bool,
    /// How computing is counted where the manifest does not say; with fuel, always.
    pub metering: Metering,
}

impl Default for FunctionLimits {
    fn default() -> Self {
        Self {
            call: CallLimits::ALLOWED,
            instances_max: 1_000,
            load_models: false,
            metering: Metering::Cpu,
        }
    }
}

impl FunctionLimits {
    pub(super) fn read(&mut self, reader: &mut Reader) {
        for limit in call_limits::ALL {
            reader.read(limit.setting, limit.set(&mut self.call));
        }
        reader.read("function_limits.instances_max", &mut self.instances_max);
        reader.read("function_limits.load_models", &mut self.load_models);
        reader.read("function_limits.metering", &mut self.metering);
    }

    pub(super) fn check(&self, reader: &mut Reader) {
        for limit in call_limits::ALL {
            let right = (1..=limit.most).contains(&limit.get(&self.call));
            reader.expect(right, limit.setting, &format!("must be 1 to {}", limit.most));
        }
        reader.at_least_one("function_limits.instances_max", self.instances_max.into());
    }
}
