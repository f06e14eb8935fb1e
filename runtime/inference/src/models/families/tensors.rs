use super::{HeadNorms, Naming, Norms, Part, Quirk};
use crate::formats::weights::Weights;
use crate::models::config::DecoderConfig;

/// A tensor that a network must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

impl DecoderConfig {
    /// Norms of a layer, by name and width.
    fn norm_parts(&self) -> Vec<(Part, usize)> {
        let traits = self.family.traits();
        let mut parts = Vec::new();
        if traits.norms != Norms::After {
            parts.extend([Part::AttentionNorm, Part::FeedForwardNorm].map(|p| (p, self.hidden)));
        }
        if traits.norms != Norms::Before {
            let after = [Part::PostAttentionNorm, Part::PostFeedForwardNorm];
            parts.extend(after.map(|p| (p, self.hidden)));
        }
        let (query, kv) = match traits.head_norms {
            HeadNorms::None => return parts,
            HeadNorms::Head => (self.head_dims, self.head_dims),
            HeadNorms::Row => (self.heads * self.head_dims, self.kv_heads * self.head_dims),
        };
        parts.extend([(Part::QueryNorm, query), (Part::KeyNorm, kv)]);
        parts
    }

    /// Rows and columns of a layer's linear part.
    pub(crate) fn shape(&self, part: Part) -> [usize; 2] {
        let (query, kv) = (self.heads * self.head_dims, self.kv_heads * self.head_dims);
        let (experts, expert) = self.experts.map_or((0, 0), |e| (e.count, e.feed_forward));
        match part {
            Part::Query => [query, self.hidden],
            Part::Key | Part::Value => [kv, self.hidden],
            Part::Qkv => [query + 2 * kv, self.hidden],
            Part::Output => [self.hidden, query],
            Part::Gate | Part::Up => [self.feed_forward, self.hidden],
            Part::GateUp => [2 * self.feed_forward, self.hidden],
            Part::Down => [self.hidden, self.feed_forward],
            Part::Router => [experts, self.hidden],
            Part::ExpertGate | Part::ExpertUp => [expert, self.hidden],
            Part::ExpertDown => [self.hidden, expert],
            _ => [1, self.hidden],
        }
    }

    /// The linear parts that make queries, keys and values.
    pub(crate) fn qkv_parts(&self) -> &'static [Part] {
        match self.family.traits().has(Quirk::Fused) {
            true => &[Part::Qkv],
            false => &[Part::Query, Part::Key, Part::Value],
        }
    }

    /// The linear parts that make gate and up.
    pub(crate) fn gate_parts(&self) -> &'static [Part] {
        match self.family.traits().has(Quirk::Fused) {
            true => &[Part::GateUp],
            false => &[Part::Gate, Part::Up],
        }
    }

    /// All tensors of the network; some that are not used may be there too.
    pub(crate) fn expected(&self, naming: Naming) -> Vec<Expected> {
        let mut all = vec![
            Expected::new(naming.embedding().to_owned(), &[self.vocabulary, self.hidden]),
            Expected::new(naming.norm().to_owned(), &[self.hidden]),
        ];
        if !self.tied {
            let shape = [self.vocabulary, self.hidden];
            all.push(Expected::new(naming.output().to_owned(), &shape));
        }
        let norms = self.family.traits().norms;
        for (layer, config) in self.layers.iter().enumerate() {
            let stem = |part| naming.stem(layer, part, norms);
            let norm = |(part, width)| Expected::new(format!("{}.weight", stem(part)), &[width]);
            all.extend(self.norm_parts().into_iter().map(norm));
            for (part, bias) in self.linear_parts(config.sparse) {
                let shape = self.shape(part);
                all.push(Expected::new(format!("{}.weight", stem(part)), &shape));
                let bias = bias.then(|| Expected::new(format!("{}.bias", stem(part)), &shape[..1]));
                all.extend(bias);
            }
            if config.sparse {
                all.extend(self.expert_tensors(naming, layer));
            }
        }
        all
    }

    /// A layer's linear parts but its experts, and whether they have biases.
    fn linear_parts(&self, sparse: bool) -> Vec<(Part, bool)> {
        let mut parts: Vec<_> = self.qkv_parts().iter().map(|p| (*p, self.biases.qkv)).collect();
        parts.push((Part::Output, self.biases.output));
        if sparse {
            parts.push((Part::Router, false));
        } else {
            let own = self.gate_parts().iter().chain(&[Part::Down]);
            parts.extend(own.map(|p| (*p, self.biases.feed_forward)));
        }
        parts
    }

    fn expert_tensors(&self, naming: Naming, layer: usize) -> Vec<Expected> {
        let count = self.experts.map_or(0, |e| e.count);
        let of_part = |part: Part| {
            let [rows, columns] = self.shape(part);
            match naming {
                Naming::Gguf => {
                    let name = format!("{}.weight", naming.stem(layer, part, Norms::Before));
                    vec![Expected::new(name, &[count, rows, columns])]
                }
                Naming::HuggingFace => {
                    let name = |expert| Naming::expert(layer, expert, part);
                    (0..count).map(|e| Expected::new(name(e), &[rows, columns])).collect()
                }
            }
        };
        [Part::ExpertGate, Part::ExpertUp, Part::ExpertDown].into_iter().flat_map(of_part).collect()
    }
}

impl Expected {
    fn new(name: String, shape: &[usize]) -> Self {
        Self { name, shape: shape.to_vec() }
    }
}

/// Tensors that say what the configuration says too, or are not needed.
pub(crate) const OPTIONAL: [&str; 5] = [
    "output.weight",
    "lm_head.weight",
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

/// Which linear layers of a GGUF file have biases.
pub(crate) fn has_bias(weights: &Weights, part: Part) -> bool {
    weights.contains(&format!("{}.bias", Naming::Gguf.stem(0, part, Norms::Before)))
}
