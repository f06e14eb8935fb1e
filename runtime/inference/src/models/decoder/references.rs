//! Tiny networks of every family against `transformers`; scripts/decoders.py writes the fixtures.

use std::path::Path as FilePath;

use emberbox_kernels::attention::Span;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Decoder, Rows};
use crate::ModelSource;
use crate::models::load::{Checked, check};
use crate::models::ops::Path;
use crate::testing::{Field, GgufFile, Scratch, place, safetensors};

mod files;

use files::{folder, gguf};

/// What the script wrote.
#[derive(Deserialize)]
struct Fixture {
    config: Map<String, Value>,
    prompts: Vec<Vec<u32>>,
    logits: Vec<Vec<f32>>,
    greedy_of: usize,
    greedy: Vec<u32>,
}

const FAMILIES: [&str; 14] = [
    "llama",
    "llama-biases",
    "llama3",
    "llama-yarn",
    "mistral",
    "smollm3",
    "qwen2",
    "qwen3",
    "qwen3-moe",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3-long",
    "olmo2",
];

fn fixture(name: &str) -> Fixture {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/decoders");
    let bytes = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn from_folder(fixture: &Fixture) -> Checked {
    let scratch = folder(&fixture.config);
    check("m", &ModelSource::Path(scratch.path().to_owned()), u64::MAX).unwrap()
}

/// The last row's logits; the sequence comes in steps.
fn last(decoder: &Decoder, tokens: &[u32], steps: &[usize]) -> Vec<f32> {
    let mut cache = decoder.cache(4);
    let mut position = 0;
    let mut logits = Vec::new();
    for count in steps {
        let rows = Rows {
            tokens: tokens[position..position + count].to_vec(),
            spans: vec![Span { position, rows: *count, blocks: vec![3, 0, 2, 1] }],
            wanted: vec![*count as u32 - 1],
        };
        (cache, logits) = decoder.forward(cache, rows);
        position += count;
    }
    logits
}

/// The largest difference, relative to the largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0f32, |largest, v| largest.max(v.abs()));
    a.iter().zip(b).fold(0f32, |off, (a, b)| off.max((a - b).abs())) / largest
}

fn greedy(decoder: &Decoder, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut cache = decoder.cache(4);
    let (mut step, mut position, mut out) = (prompt.to_vec(), 0, Vec::new());
    while out.len() < count {
        let rows = step.len();
        let spans = vec![Span { position, rows, blocks: vec![2, 3, 1, 0] }];
        let rows = Rows { tokens: step, spans, wanted: vec![rows as u32 - 1] };
        position += rows.tokens.len();
        let (after, logits) = decoder.forward(cache, rows);
        cache = after;
        let best = (0u32..).zip(&logits).max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        out.push(best);
        step = vec![best];
    }
    out
}

#[test]
fn logits_and_greedy_tokens_are_those_of_transformers() {
    for name in FAMILIES {
        let fixture = fixture(name);
        let checked = from_folder(&fixture);
        for path in [Path::Kernels, Path::Reference] {
            let decoder = checked.decoder(path);
            for (prompt, expect) in fixture.prompts.iter().zip(&fixture.logits) {
                let off = distance(&last(&decoder, prompt, &[prompt.len()]), expect);
                assert!(off < 1e-3, "{name} {path:?} {} tokens: off by {off}", prompt.len());
            }
            let tokens = greedy(&decoder, &fixture.prompts[fixture.greedy_of], 64);
            assert_eq!(tokens, fixture.greedy, "{name} {path:?}");
        }
    }
}

#[test]
fn both_formats_give_the_same_network_of_every_family() {
    for name in FAMILIES {
        let fixture = fixture(name);
        // GGUF has the divisors of the frequencies instead, which another test covers.
        if name == "llama3" {
            continue;
        }
        let scratch = Scratch::new();
        let path = scratch.write("m.gguf", gguf(&fixture.config).bytes());
        let checked = check("m", &ModelSource::Path(path), u64::MAX).unwrap();
        let decoder = checked.decoder(Path::Kernels);
        for (prompt, expect) in fixture.prompts.iter().zip(&fixture.logits) {
            let off = distance(&last(&decoder, prompt, &[prompt.len()]), expect);
            assert!(off < 1e-3, "{name} {} tokens: off by {off}", prompt.len());
        }
    }
}

#[test]
fn chunks_and_neighbours_change_no_bit_in_any_family() {
    for name in FAMILIES {
        let fixture = fixture(name);
        let decoder = from_folder(&fixture).decoder(Path::Kernels);
        let prompt = fixture.prompts.last().unwrap();
        let alone = last(&decoder, prompt, &[40]);
        assert_eq!(alone, last(&decoder, prompt, &[1; 40]), "{name}");
        assert_eq!(alone, last(&decoder, prompt, &[13, 1, 26]), "{name}");
        let mut rows = Rows::default();
        for (i, skip) in [7, 0, 3].into_iter().enumerate() {
            rows.tokens.extend(&prompt[skip..]);
            let blocks = vec![2 * i as u32, 2 * i as u32 + 1];
            rows.spans.push(Span { position: 0, rows: 40 - skip, blocks });
        }
        rows.wanted = vec![33 + 39];
        assert_eq!(alone, decoder.forward(decoder.cache(6), rows).1, "{name}");
    }
}

#[test]
fn a_weight_that_is_no_number_is_refused_by_its_tensor() {
    let fixture = fixture("qwen3");
    let mut file = gguf(&fixture.config);
    let tensor = file.tensors.iter_mut().find(|t| t.name == "blk.1.ffn_down.weight").unwrap();
    tensor.bytes[400..404].copy_from_slice(&f32::NAN.to_le_bytes());
    let scratch = Scratch::new();
    let path = scratch.write("m.gguf", file.bytes());
    let checked = check("m", &ModelSource::Path(path), u64::MAX).unwrap();
    let error =
        checked.build(64, Default::default(), &place(Path::Kernels)).err().unwrap().to_string();
    assert!(error.contains("`blk.1.ffn_down.weight` holds values that are not"), "{error}");
}
