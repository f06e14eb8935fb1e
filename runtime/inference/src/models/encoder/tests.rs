use serde_json::json;

use crate::ModelSource;
use crate::models::encoder::{Encoded, Encoder};
use crate::models::load::{Network, Text, check};
use crate::models::ops::Path;
use crate::testing::{Scratch, noise, safetensors};

const HIDDEN: usize = 24;
const HEADS: usize = 3;
const WIDE: usize = 40;
const WORDS: usize = 12;
const POSITIONS: usize = 16;
const LAYERS: usize = 2;

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn tensors() -> Tensors {
    let mut names = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![WORDS, HIDDEN]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![POSITIONS, HIDDEN]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, HIDDEN]),
    ];
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in 0..LAYERS {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        for (part, shape) in [
            ("attention.self.query", [HIDDEN, HIDDEN]),
            ("attention.self.key", [HIDDEN, HIDDEN]),
            ("attention.self.value", [HIDDEN, HIDDEN]),
            ("attention.output.dense", [HIDDEN, HIDDEN]),
            ("intermediate.dense", [WIDE, HIDDEN]),
            ("output.dense", [HIDDEN, WIDE]),
        ] {
            names.push((format!("{}.weight", name(part)), shape.to_vec()));
            names.push((format!("{}.bias", name(part)), vec![shape[0]]));
        }
        norms.extend([name("attention.output.LayerNorm"), name("output.LayerNorm")]);
    }
    for norm in norms {
        names.push((format!("{norm}.weight"), vec![HIDDEN]));
        names.push((format!("{norm}.bias"), vec![HIDDEN]));
    }
    let fill = |(seed, (name, shape)): (usize, (String, Vec<usize>))| {
        let values = noise(shape.iter().product(), 100 + seed as u64);
        (name, shape, values.iter().map(|v| v * 0.5).collect())
    };
    names.into_iter().enumerate().map(fill).collect()
}

pub(crate) fn folder() -> Scratch {
    let folder = Scratch::new();
    folder.write("model.safetensors", safetensors(&tensors()));
    let config = json!({
        "model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": WIDE, "vocab_size": WORDS,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    });
    folder.write("config.json", config.to_string());
    folder.write("sentence_bert_config.json", r#"{"max_seq_length": 8}"#);
    let modules = ["Transformer", "Pooling", "Normalize"]
        .map(|m| json!({"type": format!("sentence_transformers.models.{m}")}));
    folder.write("modules.json", json!(modules).to_string());
    folder.write("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true}"#);
    let vocab = json!({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "##b": 5, "c": 6});
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "decoder": null, "normalizer": null,
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    });
    folder.write("tokenizer.json", tokenizer.to_string());
    folder
}

fn load(folder: &Scratch, path: Path) -> (Text, Box<Encoder>) {
    let checked = check("m", &ModelSource::Path(folder.path().to_owned()), u64::MAX).unwrap();
    let place = crate::testing::place(path);
    let (_, text, network) = checked.build(1, Default::default(), &place).unwrap();
    let Network::Encoder(encoder) = network else { panic!("not an encoder") };
    (text, encoder)
}

/// The definition in f64.
struct Definition(Tensors);

type Rows = Vec<Vec<f64>>;

impl Definition {
    fn get(&self, name: &str) -> Vec<f64> {
        let tensor = self.0.iter().find(|(n, ..)| n == name).unwrap();
        tensor.2.iter().map(|v| f64::from(*v)).collect()
    }

    fn affine(&self, x: &Rows, name: &str) -> Rows {
        let (w, b) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| {
            let dot = |w: &[f64]| w.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
            w.chunks_exact(x.len()).zip(&b).map(|(w, b)| dot(w) + b).collect()
        };
        x.iter().map(row).collect()
    }

    fn norm(&self, x: &Rows, name: &str) -> Rows {
        let (w, b) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| {
            let mean = x.iter().sum::<f64>() / HIDDEN as f64;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / HIDDEN as f64;
            let scaled = x.iter().map(|v| (v - mean) / (variance + 1e-12).sqrt());
            scaled.zip(w.iter().zip(&b)).map(|(v, (w, b))| v * w + b).collect()
        };
        x.iter().map(row).collect()
    }

    fn attend(&self, x: &Rows, layer: usize) -> Rows {
        let part =
            |name: &str| self.affine(x, &format!("encoder.layer.{layer}.attention.self.{name}"));
        let (q, k, v) = (part("query"), part("key"), part("value"));
        let dims = HIDDEN / HEADS;
        let mut out = vec![vec![0.0; HIDDEN]; x.len()];
        for (i, head) in (0..x.len()).flat_map(|i| (0..HEADS).map(move |h| (i, h))) {
            let at = head * dims..(head + 1) * dims;
            let weight = |k: &Vec<f64>| {
                let pairs = q[i][at.clone()].iter().zip(&k[at.clone()]);
                (pairs.map(|(a, b)| a * b).sum::<f64>() / (dims as f64).sqrt()).exp()
            };
            let weights: Vec<f64> = k.iter().map(weight).collect();
            let sum: f64 = weights.iter().sum();
            for d in at {
                out[i][d] = weights.iter().zip(&v).map(|(w, v)| w * v[d]).sum::<f64>() / sum;
            }
        }
        out
    }

    fn embed(&self, tokens: &[u32]) -> Vec<f64> {
        let words = self.get("embeddings.word_embeddings.weight");
        let positions = self.get("embeddings.position_embeddings.weight");
        let types = self.get("embeddings.token_type_embeddings.weight");
        let row = |(p, id): (usize, &u32)| {
            let at = |d: usize| words[*id as usize * HIDDEN + d] + positions[p * HIDDEN + d];
            (0..HIDDEN).map(|d| at(d) + types[d]).collect()
        };
        let x: Rows = tokens.iter().enumerate().map(row).collect();
        let mut x = self.norm(&x, "embeddings.LayerNorm");
        for layer in 0..LAYERS {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            let h = self.affine(&self.attend(&x, layer), &name("attention.output.dense"));
            x = self.norm(&add(&x, &h), &name("attention.output.LayerNorm"));
            let mut h = self.affine(&x, &name("intermediate.dense"));
            h.iter_mut().flatten().for_each(|v| *v = gelu(*v));
            x = self
                .norm(&add(&x, &self.affine(&h, &name("output.dense"))), &name("output.LayerNorm"));
        }
        let sum: Vec<f64> = (0..HIDDEN).map(|d| x.iter().map(|row| row[d]).sum()).collect();
        let length = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
        sum.iter().map(|v| v / length).collect()
    }
}

fn add(a: &Rows, b: &Rows) -> Rows {
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
    a.iter().zip(b).map(row).collect()
}

/// `x/2 (1 + erf(x / sqrt 2))`, erf by its series.
fn gelu(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    let mut term = z;
    let mut sum = z;
    for n in 1..60 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    x / 2.0 * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
}

#[test]
fn vectors_equal_the_definition_alone_and_in_a_batch() {
    let texts: [&[u32]; 4] = [&[1, 3, 2], &[1, 2], &[1, 4, 5, 6, 0, 11, 2], &[1, 3, 2]];
    let encoded = texts.map(|text| Encoded { ids: text.to_vec(), types: Vec::new() });
    let all: Vec<&Encoded> = encoded.iter().collect();
    for path in [Path::Kernels, Path::Reference] {
        let (_, encoder) = load(&folder(), path);
        let together = encoder.answer(&all);
        for (text, vector) in encoded.iter().zip(&together) {
            let expect = Definition(tensors()).embed(&text.ids);
            let alone = &encoder.answer(&[text])[0];
            for ((v, e), a) in vector.iter().zip(&expect).zip(alone) {
                assert!((f64::from(*v) - e).abs() < 1e-5, "{path:?} {text:?}: {v} is not {e}");
                assert!((v - a).abs() < 1e-6, "{path:?} {text:?}: {v} in a batch, {a} alone");
            }
        }
    }
}

#[test]
fn lengths_are_the_models_and_not_the_tokenizer_files() {
    let (text, _) = load(&folder(), Path::Kernels);
    let Text::Encoder(text) = text else { panic!("not an encoder") };
    assert_eq!(text.tokens_max, 8);
    let ids = crate::text::library::encode(&text.tokenizer, "a bb c c c c x", true).unwrap();
    assert_eq!(ids, [1, 3, 4, 5, 6, 6, 6, 6, 0, 2]);
}

#[test]
fn a_wrong_folder_is_refused_with_its_file() {
    for (file, content, expect) in [
        ("modules.json", r#"[{"type":"x.Dense"}]"#, "`x.Dense` is not supported"),
        ("1_Pooling/config.json", r#"{"pooling_mode_max_tokens":true}"#, "pooling_mode_max_tokens"),
        ("1_Pooling/config.json", "{}", "[] is not supported"),
        (
            "config.json",
            r#"{"model_type":"bert","hidden_act":"swish"}"#,
            "`swish` is not supported",
        ),
        ("config.json", r#"{"model_type":"bert"}"#, "`hidden_size`: is missing"),
        ("model.safetensors", "xx", "cut short"),
        ("tokenizer.json", "[]", "tokenizer.json"),
    ] {
        let folder = folder();
        folder.write(file, content);
        let source = ModelSource::Path(folder.path().to_owned());
        let error = check("m", &source, u64::MAX).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expect), "expected `{expect}` in `{error}`");
    }
}
