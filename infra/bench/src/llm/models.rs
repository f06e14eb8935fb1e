//! Models with random weights in the shapes of real ones, written once to a cache folder. What an
//! engine computes with them means nothing; how long it takes is what it takes for the real ones.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// GGUF files.
mod gguf;
/// Block formats.
mod quant;
/// Tokens.
mod vocabulary;

use gguf::{Field, Tensor, write_header, write_padding};
pub(crate) use quant::Quant;
use quant::Storage;
pub(crate) use vocabulary::FIRST_WORD;
use vocabulary::{CONTROLS, END, TURN_END, Vocabulary, vocabulary};

/// Part of the folder's name. Another one where what is written changes.
const EDITION: &str = "emberbox-bench-models-1";
/// Tokens that a file says it has room for, more than any benchmark uses.
const CONTEXT: u32 = 32_768;
const CHAT_TEMPLATE: &str = "{%- for message in messages -%}<|im_start|>{{ message['role'] }} \
     {{ message['content'] }}<|im_end|>{%- endfor -%}{%- if add_generation_prompt -%}\
     <|im_start|>assistant {% endif -%}";

/// Which models, and where they are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Models {
    /// Shapes
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Shape::SmolLm2, Shape::Llama32])]
    pub(crate) models: Vec<Shape>,
    /// Kinds of quantisation
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Quant::Q8, Quant::Q4, Quant::Q4KM])]
    pub(crate) quant: Vec<Quant>,
    /// Cache folder for them; some 3 GB are written to it [default: below ~/.cache]
    #[arg(long, env = "EMBERBOX_BENCH_MODELS")]
    folder: Option<PathBuf>,
    /// The home folder, where caches are by default
    #[arg(long, env = "HOME", hide = true)]
    pub(crate) home: PathBuf,
}

impl Models {
    /// The file of a model, written where it is not there yet.
    pub(crate) fn file(&self, shape: Shape, quant: Quant) -> anyhow::Result<PathBuf> {
        let default = || self.home.join(".cache").join(EDITION);
        let folder = self.folder.clone().unwrap_or_else(default);
        let path = folder.join(format!("{}-{}.gguf", shape.name(), quant.name()));
        if !path.is_file() {
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            // Under its name there is never half a file.
            let part = path.with_extension("part");
            write(shape, quant, &part).with_context(|| part.display().to_string())?;
            fs::rename(&part, &path)?;
        }
        Ok(path)
    }
}

/// Writes the files that are not there yet, and says where all of them are.
pub(crate) fn run(models: &Models) -> anyhow::Result<()> {
    for shape in &models.models {
        for quant in &models.quant {
            let path = models.file(*shape, *quant)?;
            eprintln!("{}", path.display());
        }
    }
    Ok(())
}

/// The shape of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// SmolLM2-135M
    #[value(name = "smollm2-135m")]
    SmolLm2,
    /// Llama-3.2-1B
    #[value(name = "llama-3.2-1b")]
    Llama32,
}

/// Sizes of a Llama whose output is its embedding.
struct Sizes {
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dims: usize,
    feed_forward: usize,
    vocabulary: usize,
    rope_theta: f32,
    pre_tokenizer: &'static str,
}

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SmolLm2 => "smollm2-135m",
            Self::Llama32 => "llama-3.2-1b",
        }
    }

    /// Number of tokens.
    pub(crate) fn vocabulary(self) -> u32 {
        self.sizes().vocabulary as u32
    }

    fn sizes(self) -> Sizes {
        match self {
            Self::SmolLm2 => Sizes {
                hidden: 576,
                layers: 30,
                heads: 9,
                kv_heads: 3,
                head_dims: 64,
                feed_forward: 1_536,
                vocabulary: 49_152,
                rope_theta: 100_000.0,
                pre_tokenizer: "smollm",
            },
            Self::Llama32 => Sizes {
                hidden: 2_048,
                layers: 16,
                heads: 32,
                kv_heads: 8,
                head_dims: 64,
                feed_forward: 8_192,
                vocabulary: 128_256,
                rope_theta: 500_000.0,
                pre_tokenizer: "llama-bpe",
            },
        }
    }
}

/// What decides a matrix's format.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Tokens, in and out.
    Embedding,
    /// The attention's values, and the way back from the feed-forward layer.
    ValueOrDown { layer: usize, layers: usize },
    /// Everything else.
    Other,
}

fn write(shape: Shape, quant: Quant, path: &Path) -> std::io::Result<()> {
    let tensors = tensors(&shape.sizes(), quant);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    write_header(&mut out, &fields(shape, quant), &tensors)?;
    for (index, tensor) in tensors.iter().enumerate() {
        // One sequence per tensor and shape, so that files are the same wherever they are made.
        let mut random = ChaCha8Rng::seed_from_u64(index as u64 + 1);
        let deviation = (tensor.columns as f32).sqrt().recip();
        let mut row = vec![0; tensor.storage.row_bytes(tensor.columns)];
        for number in 0..tensor.rows {
            tensor.storage.fill(&mut random, deviation, &mut row);
            if tensor.name == EMBEDDING && number < CONTROLS.len() {
                // Zero is never the likeliest of so many, so no text ends before its time.
                row.fill(0);
            }
            out.write_all(&row)?;
        }
        write_padding(&mut out, tensor)?;
    }
    out.into_inner()?.sync_all()
}

const EMBEDDING: &str = "token_embd.weight";

/// Every tensor in the order of the file.
fn tensors(sizes: &Sizes, quant: Quant) -> Vec<Tensor> {
    let Sizes { hidden, layers, feed_forward, .. } = *sizes;
    let (queries, keys) = (sizes.heads * sizes.head_dims, sizes.kv_heads * sizes.head_dims);
    let vector = |name: String| Tensor { name, rows: 1, columns: hidden, storage: Storage::F32 };
    let matrix = |name: String, role: Role, rows: usize, columns: usize| {
        let storage = quant.storage(role, columns);
        Tensor { name, rows, columns, storage }
    };
    let mut all = vec![
        matrix(EMBEDDING.to_owned(), Role::Embedding, sizes.vocabulary, hidden),
        vector("output_norm.weight".to_owned()),
    ];
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let precious = Role::ValueOrDown { layer, layers };
        all.extend([vector(name("attn_norm")), vector(name("ffn_norm"))]);
        all.extend([
            matrix(name("attn_q"), Role::Other, queries, hidden),
            matrix(name("attn_k"), Role::Other, keys, hidden),
            matrix(name("attn_v"), precious, keys, hidden),
            matrix(name("attn_output"), Role::Other, hidden, queries),
            matrix(name("ffn_gate"), Role::Other, feed_forward, hidden),
            matrix(name("ffn_up"), Role::Other, feed_forward, hidden),
            matrix(name("ffn_down"), precious, hidden, feed_forward),
        ]);
    }
    all
}

fn fields(shape: Shape, quant: Quant) -> Vec<(String, Field)> {
    let sizes = shape.sizes();
    let Vocabulary { tokens, kinds, merges } = vocabulary(sizes.vocabulary);
    let number = |value: usize| Field::U32(value as u32);
    let fields = [
        ("general.architecture", Field::Text("llama")),
        ("general.name", Field::Text(shape.name())),
        ("general.file_type", Field::U32(quant.file_type())),
        ("general.quantization_version", Field::U32(2)),
        ("llama.block_count", number(sizes.layers)),
        ("llama.context_length", Field::U32(CONTEXT)),
        ("llama.embedding_length", number(sizes.hidden)),
        ("llama.feed_forward_length", number(sizes.feed_forward)),
        ("llama.attention.head_count", number(sizes.heads)),
        ("llama.attention.head_count_kv", number(sizes.kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Field::F32(1e-5)),
        ("llama.rope.dimension_count", number(sizes.head_dims)),
        ("llama.rope.freq_base", Field::F32(sizes.rope_theta)),
        ("llama.vocab_size", number(sizes.vocabulary)),
        ("tokenizer.ggml.model", Field::Text("gpt2")),
        ("tokenizer.ggml.pre", Field::Text(sizes.pre_tokenizer)),
        ("tokenizer.ggml.tokens", Field::Texts(tokens)),
        ("tokenizer.ggml.token_type", Field::I32s(kinds)),
        ("tokenizer.ggml.merges", Field::Texts(merges)),
        ("tokenizer.ggml.bos_token_id", Field::U32(END)),
        ("tokenizer.ggml.eos_token_id", Field::U32(END)),
        ("tokenizer.ggml.eot_token_id", Field::U32(TURN_END)),
        ("tokenizer.ggml.add_bos_token", Field::Bool(false)),
        ("tokenizer.chat_template", Field::Text(CHAT_TEMPLATE)),
    ];
    fields.map(|(key, field)| (key.to_owned(), field)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_parameters_of_their_models() {
        for (shape, millions) in [(Shape::SmolLm2, 134.5), (Shape::Llama32, 1_235.8)] {
            let tensors = tensors(&shape.sizes(), Quant::Q8);
            let parameters: usize = tensors.iter().map(|t| t.rows * t.columns).sum();
            let difference = parameters as f64 / 1e6 - millions;
            assert!(difference.abs() < 0.1, "{}: {parameters}", shape.name());
        }
    }
}
