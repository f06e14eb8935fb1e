use emberbox_inference::{Device, EncoderWeights};

use super::reader::Reader;

/// What the engine may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inference {
    /// What models run on. Anything but the processor needs a build with that feature, and is slower
    /// for small models: there are no kernels for it yet.
    pub device: Device,
    /// How the linear layers of encoders are kept on the processor: as in their file, or rounded to 8
    /// bits.
    pub encoder_weights: EncoderWeights,
    /// Threads of one forward pass. More than the machine's cores only adds waiting.
    pub threads: usize,
    /// Whether tokens that an earlier part of the text suggests are computed together with the next
    /// one, where that is faster. What is generated is the same with and without.
    pub speculation: bool,
    /// Whether the small bundled model is offered, so that a fresh server can answer.
    pub bundled_model: bool,
    /// The size of the weights of all models that are in memory at once, in MiB.
    pub memory_mib_max: u64,
    /// What one run of a graph (ONNX) may compute, in billions of operations.
    pub graph_gigaoperations_max: u64,
    /// What the values of one run of a graph may take, in MiB.
    pub graph_memory_mib_max: u64,
    /// Names of models, separated by commas, that are loaded at start and stay in memory.
    pub pinned_models: String,
}

impl Default for Inference {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Where there are four or more, HTTP and the ledger have one to themselves.
        let threads = if cores < 4 { cores } else { cores - 1 }.min(8);
        Self {
            device: Device::Cpu,
            encoder_weights: EncoderWeights::Stored,
            threads,
            speculation: true,
            bundled_model: true,
            memory_mib_max: 16 << 10,
            graph_gigaoperations_max: 1_000,
            graph_memory_mib_max: 2 << 10,
            pinned_models: String::new(),
        }
    }
}

impl Inference {
    pub(super) fn read(&mut self, reader: &mut Reader) {
        reader.read("inference.device", &mut self.device);
        reader.read("inference.encoder_weights", &mut self.encoder_weights);
        reader.read("inference.threads", &mut self.threads);
        reader.read("inference.speculation", &mut self.speculation);
        reader.read("inference.bundled_model", &mut self.bundled_model);
        reader.read("inference.memory_mib_max", &mut self.memory_mib_max);
        let most = &mut self.graph_gigaoperations_max;
        reader.read("inference.graph_gigaoperations_max", most);
        reader.read("inference.graph_memory_mib_max", &mut self.graph_memory_mib_max);
        reader.read("inference.pinned_models", &mut self.pinned_models);
    }

    pub(super) fn check(&self, reader: &mut Reader) {
        reader.at_least_one("inference.threads", self.threads as u64);
        reader.at_least_one("inference.memory_mib_max", self.memory_mib_max);
        reader.at_least_one("inference.graph_gigaoperations_max", self.graph_gigaoperations_max);
        reader.at_least_one("inference.graph_memory_mib_max", self.graph_memory_mib_max);
    }

    /// The two bounds of one run of a graph: operations and bytes.
    pub(crate) fn graph_bounds(&self) -> (u64, u64) {
        let operations = self.graph_gigaoperations_max.saturating_mul(1_000_000_000);
        (operations, self.graph_memory_mib_max.saturating_mul(1 << 20))
    }
}
