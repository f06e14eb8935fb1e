//! Small models with random weights, written as files would be.

use std::path::{Path, PathBuf};

use emberbox_kernels::quant::Format;
use serde_json::{Map, Value, json};

use crate::formats::weights::Storage;
use crate::models::ops;
use crate::models::place::Place;
use crate::{Device, EncoderWeights, InferenceOptions};

mod file;

pub(crate) use file::{Field, GgufFile};

/// What the tests run on: the processor, or what `EMBERBOX_TEST_DEVICE` names.
fn device() -> Device {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
    let name = std::env::var("EMBERBOX_TEST_DEVICE");
    name.map_or(Device::Cpu, |name| name.parse().unwrap())
}

/// Where a form of the operations is tested: kernels on the processor, burn's own anywhere.
pub(crate) fn place(path: ops::Path) -> Place {
    let device = if path == ops::Path::Kernels { Device::Cpu } else { device() };
    Place { path, ..Place::open(device, EncoderWeights::Stored).unwrap() }
}

/// The default limits, on the device that tests are for.
pub(crate) fn defaults() -> InferenceOptions {
    InferenceOptions { device: device(), ..InferenceOptions::default() }
}

/// Reproducible values in -1..1 (xorshift64*).
pub(crate) fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A folder that is removed again.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("emberbox-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Sizes of a random Llama.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dims: usize,
    pub(crate) feed_forward: usize,
    pub(crate) layers: usize,
    pub(crate) context: usize,
    pub(crate) tied: bool,
}

pub(crate) const SIZES: Sizes = Sizes {
    hidden: 64,
    heads: 4,
    kv_heads: 2,
    head_dims: 16,
    feed_forward: 96,
    layers: 2,
    context: 256,
    tied: false,
};

pub(crate) const CONTROLS: [&str; 4] = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"];
pub(crate) const TEMPLATE: &str = "{%- for m in messages -%}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{%- endfor -%}{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}";

/// The control tokens, then one token for each byte in GPT-2's spelling, then a few merges.
pub(crate) fn vocabulary() -> (Vec<String>, Vec<String>) {
    let mut tokens: Vec<String> = CONTROLS.map(str::to_owned).to_vec();
    let mut next = 0x100;
    for byte in 0u32..256 {
        let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable { byte } else { next };
        next += u32::from(!printable);
        tokens.push(char::from_u32(code).unwrap().to_string());
    }
    let merges = ["t h", "th e", "Ġ a", "Ġ the"];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    (tokens, merges.map(str::to_owned).to_vec())
}

/// Matrices of a random Llama under GGUF's names, query and key rows in the half-split order.
fn matrices(sizes: Sizes) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let Sizes { hidden, heads, kv_heads, head_dims, feed_forward, .. } = sizes;
    let rows = vocabulary().0.len();
    let mut names = vec![
        ("token_embd".to_owned(), vec![rows, hidden]),
        ("output_norm".to_owned(), vec![hidden]),
    ];
    if !sizes.tied {
        names.push(("output".to_owned(), vec![rows, hidden]));
    }
    for layer in 0..sizes.layers {
        for (name, shape) in [
            ("attn_norm", vec![hidden]),
            ("attn_q", vec![heads * head_dims, hidden]),
            ("attn_k", vec![kv_heads * head_dims, hidden]),
            ("attn_v", vec![kv_heads * head_dims, hidden]),
            ("attn_output", vec![hidden, heads * head_dims]),
            ("ffn_norm", vec![hidden]),
            ("ffn_gate", vec![feed_forward, hidden]),
            ("ffn_up", vec![feed_forward, hidden]),
            ("ffn_down", vec![hidden, feed_forward]),
        ] {
            names.push((format!("blk.{layer}.{name}"), shape));
        }
    }
    let fill = |(seed, (name, shape)): (usize, (String, Vec<usize>))| {
        let mut values = noise(shape.iter().product(), seed as u64 + 1);
        match shape.len() {
            1 => values.iter_mut().for_each(|v| *v = 1.0 + *v * 0.2),
            _ => values.iter_mut().for_each(|v| *v *= 0.25),
        }
        (name, shape, values)
    };
    names.into_iter().enumerate().map(fill).collect()
}

/// From pairs half a head apart to neighbours: what llama.cpp's converter does.
fn interleave(values: &[f32], rows: usize, head_dims: usize) -> Vec<f32> {
    let width = values.len() / rows;
    let row = |r: usize| {
        let (head, i) = (r / head_dims, r % head_dims);
        head * head_dims + i / 2 + (i % 2) * head_dims / 2
    };
    (0..rows).flat_map(|r| values[row(r) * width..][..width].to_vec()).collect()
}

/// A Llama with random weights as a GGUF file.
pub(crate) fn random_gguf(sizes: Sizes, quantise: bool) -> GgufFile {
    let storage = if quantise { Storage::Blocks(Format::Q8_0) } else { Storage::F32 };
    random_gguf_as(sizes, |_| storage)
}

/// A small model that never ends its text by itself: no token ends one, by its number or its name.
pub(crate) fn endless_gguf() -> GgufFile {
    let mut file = random_gguf(SIZES, true);
    let ends = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.token_type"];
    file.fields.retain(|(key, _)| !ends.contains(&key.as_str()));
    let (mut tokens, _) = vocabulary();
    tokens[3] = "<|more|>".to_owned();
    file.set("tokenizer.ggml.tokens", Field::Texts(tokens));
    file
}

/// As [`random_gguf`], with a type for each matrix by its name.
pub(crate) fn random_gguf_as(sizes: Sizes, storage: impl Fn(&str) -> Storage) -> GgufFile {
    let mut file = GgufFile::default();
    let (tokens, merges) = vocabulary();
    let mut kinds = vec![1; tokens.len()];
    kinds[..CONTROLS.len()].fill(3);
    for (key, field) in [
        ("general.architecture", Field::text("llama")),
        ("llama.block_count", Field::U32(sizes.layers as u32)),
        ("llama.context_length", Field::U32(sizes.context as u32)),
        ("llama.embedding_length", Field::U32(sizes.hidden as u32)),
        ("llama.feed_forward_length", Field::U32(sizes.feed_forward as u32)),
        ("llama.attention.head_count", Field::U32(sizes.heads as u32)),
        ("llama.attention.head_count_kv", Field::U32(sizes.kv_heads as u32)),
        ("llama.attention.layer_norm_rms_epsilon", Field::F32(1e-5)),
        ("llama.rope.freq_base", Field::F32(10_000.0)),
        ("tokenizer.ggml.model", Field::text("gpt2")),
        ("tokenizer.ggml.pre", Field::text("gpt-2")),
        ("tokenizer.ggml.tokens", Field::Texts(tokens)),
        ("tokenizer.ggml.token_type", Field::I32s(kinds)),
        ("tokenizer.ggml.merges", Field::Texts(merges)),
        ("tokenizer.ggml.eos_token_id", Field::U32(3)),
        ("tokenizer.ggml.add_bos_token", Field::Bool(false)),
        ("tokenizer.chat_template", Field::text(TEMPLATE)),
    ] {
        file.set(key, field);
    }
    for (name, shape, mut values) in matrices(sizes) {
        if name.ends_with("attn_q") || name.ends_with("attn_k") {
            values = interleave(&values, shape[0], sizes.head_dims);
        }
        let storage = if shape.len() > 1 { storage(&name) } else { Storage::F32 };
        file.tensor_as(&format!("{name}.weight"), &shape, &values, storage);
    }
    file
}

/// A safetensors file of f32 values.
pub(crate) fn safetensors(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data = Vec::new();
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

/// The same Llama as [`random_gguf`] as a Hugging Face folder.
pub(crate) fn random_folder(sizes: Sizes) -> Scratch {
    let names = [
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("output", "lm_head"),
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    let rename = |name: &str| {
        let (layer, part) = match name.strip_prefix("blk.").and_then(|n| n.split_once('.')) {
            Some((layer, part)) => (format!("model.layers.{layer}."), part),
            None => (String::new(), name),
        };
        let (_, new) = names.iter().find(|(old, _)| *old == part).unwrap();
        format!("{layer}{new}.weight")
    };
    let tensors: Vec<_> =
        matrices(sizes).into_iter().map(|(name, shape, v)| (rename(&name), shape, v)).collect();
    let folder = Scratch::new();
    folder.write("model.safetensors", safetensors(&tensors));
    let (tokens, merges) = vocabulary();
    let config = json!({
        "model_type": "llama", "hidden_size": sizes.hidden, "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads, "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dims, "intermediate_size": sizes.feed_forward,
        "vocab_size": tokens.len(), "max_position_embeddings": sizes.context,
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": sizes.tied,
        "eos_token_id": 3,
    });
    folder.write("config.json", config.to_string());
    let vocab: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let added: Vec<Value> = CONTROLS
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({"id": id, "content": token, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "added_tokens": added, "normalizer": null, "pre_tokenizer": byte_level,
        "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    });
    folder.write("tokenizer.json", tokenizer.to_string());
    let settings = json!({"chat_template": TEMPLATE, "eos_token": {"content": "<|end|>"}});
    folder.write("tokenizer_config.json", settings.to_string());
    folder
}
