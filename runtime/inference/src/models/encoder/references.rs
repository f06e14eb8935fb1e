//! Tiny networks of every family against `transformers`; scripts/encoders.py writes the fixtures.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Encoded;
use crate::models::load::{Network, check};
use crate::models::ops::Path;
use crate::models::place::Place;
use crate::testing::{Scratch, safetensors};
use crate::{EncoderWeights, ModelSource};

/// What the script wrote.
#[derive(Deserialize)]
struct Fixture {
    config: Map<String, Value>,
    tensors: BTreeMap<String, Vec<usize>>,
    texts: Vec<Vec<u32>>,
    answers: Vec<Vec<f32>>,
}

const FAMILIES: [&str; 6] = ["bert", "distilbert", "roberta", "xlm-roberta", "mpnet", "modernbert"];
const KINDS: [&str; 4] = ["embed", "classify", "tokens", "compare"];

/// The script's `value`.
fn value(name: &str, shape: &[usize]) -> Vec<f32> {
    let mut seed = 0xCBF2_9CE4_8422_2325u64;
    for byte in name.bytes() {
        seed = (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    }
    let noise = |i: usize| {
        let mut z = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let is_norm = shape.len() == 1 && name.to_lowercase().contains("norm");
    let scale = |x: f32| match shape.len() {
        1 if is_norm && name.ends_with("weight") => 1.0 + x * 0.25,
        1 => x * 0.25,
        _ => x * 0.5,
    };
    (0..shape.iter().product()).map(|i| scale(noise(i))).collect()
}

fn read(family: &str, kind: &str) -> (Fixture, Scratch) {
    let path = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/encoders");
    let bytes = std::fs::read(path.join(format!("{family}-{kind}.json"))).unwrap();
    let fixture: Fixture = serde_json::from_slice(&bytes).unwrap();
    let folder = folder(&fixture);
    (fixture, folder)
}

fn encoded(fixture: &Fixture, family: &str) -> Vec<Encoded> {
    let text = |ids: &Vec<u32>| {
        let second = |at: usize| u32::from(family == "bert" && at * 2 >= ids.len());
        Encoded { ids: ids.clone(), types: (0..ids.len()).map(second).collect() }
    };
    fixture.texts.iter().map(text).collect()
}

fn folder(fixture: &Fixture) -> Scratch {
    let folder = crate::models::encoder::tests::folder();
    folder.write("config.json", serde_json::to_string(&fixture.config).unwrap());
    for file in ["modules.json", "sentence_bert_config.json"] {
        std::fs::remove_file(folder.path().join(file)).unwrap();
    }
    let tensor =
        |(name, shape): (&String, &Vec<usize>)| (name.clone(), shape.clone(), value(name, shape));
    let tensors: Vec<_> = fixture.tensors.iter().map(tensor).collect();
    folder.write("model.safetensors", safetensors(&tensors));
    folder
}

/// The networks' widths are far from trained ones: 24 values to round, not 384.
#[test]
fn answers_of_rounded_weights_are_near_those_of_transformers() {
    for (family, kind) in FAMILIES.iter().flat_map(|f| KINDS.iter().map(move |k| (f, k))) {
        let (fixture, folder) = read(family, kind);
        let place = crate::testing::place(Path::Kernels);
        let place = Place { encoder_weights: EncoderWeights::Int8, ..place };
        let source = ModelSource::Path(folder.path().to_owned());
        let checked = check("m", &source, u64::MAX).unwrap().at(&place);
        assert_eq!(checked.info.quantisation, "INT8");
        let (_, _, network) = checked.build(1, Default::default(), &place).unwrap();
        let Network::Encoder(encoder) = network else { panic!("{family}: not an encoder") };
        let encoded = encoded(&fixture, family);
        let found = encoder.answer(&encoded.iter().collect::<Vec<_>>());
        assert_ne!(found, fixture.answers, "{family} {kind}: nothing is rounded");
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for (a, b) in found.iter().zip(&fixture.answers) {
            let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            assert!(cosine > 0.999, "{family} {kind}: {cosine}");
        }
    }
}

#[test]
fn answers_are_those_of_transformers() {
    for (family, kind) in FAMILIES.iter().flat_map(|f| KINDS.iter().map(move |k| (f, k))) {
        let name = format!("{family}-{kind}");
        let (fixture, folder) = read(family, kind);
        for path in [Path::Kernels, Path::Reference] {
            let source = ModelSource::Path(folder.path().to_owned());
            let checked = check("m", &source, u64::MAX).unwrap();
            let place = crate::testing::place(path);
            let (_, _, network) = checked.build(1, Default::default(), &place).unwrap();
            let Network::Encoder(encoder) = network else { panic!("{name}: not an encoder") };
            let encoded = encoded(&fixture, family);
            let found = encoder.answer(&encoded.iter().collect::<Vec<_>>());
            for ((found, expect), text) in found.iter().zip(&fixture.answers).zip(&fixture.texts) {
                assert_eq!(found.len(), expect.len(), "{name} {path:?}");
                let apart = found.iter().zip(expect).map(|(found, expect)| (found - expect).abs());
                let apart = apart.fold(0.0, f32::max);
                assert!(apart < 2e-4, "{name} {path:?} {text:?}: {found:?} for {expect:?}");
            }
        }
    }
}
