//! Small networks in each block type against llama.cpp on the same files, whose blocks are noise:
//! scripts/quantised.py writes what llama.cpp makes of them.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use emberbox_kernels::attention::Span;
use emberbox_kernels::quant::Format;
use half::f16;
use serde::Deserialize;

use super::{Decoder, Rows};
use crate::ModelSource;
use crate::formats::weights::Storage;
use crate::models::load::check;
use crate::models::ops::Path;
use crate::testing::{Field, GgufFile, Scratch};

const HIDDEN: usize = 256;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const DIMS: usize = 64;
const FEED_FORWARD: usize = 512;
const VOCABULARY: usize = 264;

/// How far logits may be from llama.cpp's: the root of the mean squared difference, as a part of
/// their own, half as much again as was measured. Both round activations to 8 bits, in blocks of
/// their own choice, and noise for weights makes the most of that: a result without any rounding is
/// as far from llama.cpp's.
fn tolerance(format: Format) -> f32 {
    match format {
        Format::Q4_0 => 0.01,
        Format::Q3K | Format::Q6K => 0.06,
        _ => 0.04,
    }
}

#[derive(Deserialize)]
struct Fixture {
    prompts: Vec<Vec<u32>>,
    logits: BTreeMap<String, Vec<Vec<f32>>>,
}

/// The script's `words`: splitmix64 of the name's FNV-1a hash and the index.
fn words(name: &str, count: usize) -> impl Iterator<Item = u64> + use<> {
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |seed, byte| {
        (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    (1..=count as u64).map(move |i| {
        let mut z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

fn noise(name: &str, count: usize) -> impl Iterator<Item = f32> + use<> {
    words(name, count).map(|word| (word >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
}

/// Where a block's scale is and how large, and its offset likewise.
fn scales(format: Format) -> &'static [(usize, f32)] {
    match format {
        Format::Q4_0 => &[(0, 0.013)],
        Format::Q4_1 => &[(0, 0.013), (2, -0.0975)],
        Format::Q5_0 => &[(0, 0.0065)],
        Format::Q5_1 => &[(0, 0.0065), (2, -0.1)],
        Format::Q8_0 => &[(0, 0.0008)],
        Format::Q2K => &[(80, 0.005), (82, 0.0075)],
        Format::Q3K => &[(108, 0.0014)],
        Format::Q4K => &[(0, 0.0003), (2, 0.00225)],
        Format::Q5K => &[(0, 0.00015), (2, 0.0023)],
        Format::Q6K => &[(208, 0.00005)],
    }
}

/// The script's `blocks`, bit for bit.
fn blocks(name: &str, format: Format, values: usize) -> Vec<u8> {
    let (count, size) = (values / format.block(), format.block_bytes());
    let mut bytes: Vec<u8> = words(name, count * size).map(|word| (word >> 56) as u8).collect();
    for (i, (at, scale)) in scales(format).iter().enumerate() {
        let factors = noise(&format!("{name}.{i}"), count);
        for (block, factor) in bytes.chunks_exact_mut(size).zip(factors) {
            let scale = f16::from_f32(scale * (1.0 + 0.25 * factor));
            block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

fn file(format: Format) -> GgufFile {
    let mut file = GgufFile::default();
    file.set("general.architecture", Field::text("llama"));
    for (key, value) in [
        ("context_length", 256),
        ("embedding_length", HIDDEN),
        ("block_count", LAYERS),
        ("feed_forward_length", FEED_FORWARD),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("rope.dimension_count", DIMS),
    ] {
        file.set(&format!("llama.{key}"), Field::U32(value as u32));
    }
    file.set("llama.attention.layer_norm_rms_epsilon", Field::F32(1e-5));
    file.set("llama.rope.freq_base", Field::F32(10_000.0));
    file.set("tokenizer.ggml.model", Field::text("gpt2"));
    file.set("tokenizer.ggml.pre", Field::text("gpt-2"));
    let tokens = (0..VOCABULARY).map(|i| format!("t{i}")).collect();
    file.set("tokenizer.ggml.tokens", Field::Texts(tokens));
    file.set("tokenizer.ggml.merges", Field::Texts(Vec::new()));
    let mut matrix = |name: &str, rows: usize, columns: usize| {
        let bytes = blocks(name, format, rows * columns);
        let storage = Storage::Blocks(format);
        file.stored(&format!("{name}.weight"), &[rows, columns], storage, bytes);
    };
    matrix("token_embd", VOCABULARY, HIDDEN);
    matrix("output", VOCABULARY, HIDDEN);
    let mut norms = vec!["output_norm".to_owned()];
    for i in 0..LAYERS {
        for (part, rows, columns) in [
            ("attn_q", HEADS * DIMS, HIDDEN),
            ("attn_k", KV_HEADS * DIMS, HIDDEN),
            ("attn_v", KV_HEADS * DIMS, HIDDEN),
            ("attn_output", HIDDEN, HEADS * DIMS),
            ("ffn_gate", FEED_FORWARD, HIDDEN),
            ("ffn_up", FEED_FORWARD, HIDDEN),
            ("ffn_down", HIDDEN, FEED_FORWARD),
        ] {
            matrix(&format!("blk.{i}.{part}"), rows, columns);
        }
        norms.extend(["attn_norm", "ffn_norm"].map(|part| format!("blk.{i}.{part}")));
    }
    for name in norms {
        let values: Vec<f32> = noise(&name, HIDDEN).map(|x| 1.0 + 0.25 * x).collect();
        file.tensor_as(&format!("{name}.weight"), &[HIDDEN], &values, Storage::F32);
    }
    file
}

/// The last row's logits.
fn last(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let rows = Rows {
        tokens: tokens.to_vec(),
        spans: vec![Span { position: 0, rows: tokens.len(), blocks: vec![1, 0] }],
        wanted: vec![tokens.len() as u32 - 1],
    };
    decoder.forward(decoder.cache(2), rows).1
}

/// Root of the mean squared difference, relative to the values'.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let off: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (off / b.iter().map(|b| b * b).sum::<f32>()).sqrt()
}

#[test]
fn logits_of_every_block_type_are_those_of_llama_cpp() {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let bytes = std::fs::read(folder.join("quantised.json")).unwrap();
    let fixture: Fixture = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(fixture.logits.len(), Format::ALL.len());
    for format in Format::ALL {
        let name = format.name();
        let scratch = Scratch::new();
        let path = scratch.write("m.gguf", file(format).bytes());
        let model = check("m", &ModelSource::Path(path), u64::MAX).unwrap();
        let (kernels, exact) = (model.decoder(Path::Kernels), model.decoder(Path::Reference));
        for (prompt, theirs) in fixture.prompts.iter().zip(&fixture.logits[name]) {
            for (path, decoder) in [("kernels", &kernels), ("exact", &exact)] {
                let off = distance(&last(decoder, prompt), theirs);
                println!("{name}, {path}, {} tokens: off by {off:.4}", prompt.len());
                assert!(off < tolerance(format), "{name}, {path}: off by {off}");
            }
        }
    }
}
