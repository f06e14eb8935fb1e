//! Says what a text is about.
//!
//! `POST /` with `{"text": "..."}` answers `{"label": "games", "confidence": 0.9, "probabilities":
//! {"games": 0.9, ...}}`. `GET /` explains it. The model comes with the function: a text's words are
//! hashed into a vector here, and the model is a graph that turns it into probabilities.

use std::collections::BTreeMap;

use emberbox_sdk::{Error, Model, Request, Response, Tensor, json};
use serde::{Deserialize, Serialize};

emberbox_sdk::main!(handle);

/// The model and its classes; ../train makes them.
const MODEL: &[u8] = include_bytes!("../model/topics.onnx");
const LABELS: &str = include_str!("../model/labels.json");
/// Numbers of a text's vector.
const WIDTH: u32 = 8_192;
const TEXT_BYTES_MAX: usize = 64 << 10;

const USAGE: &str = "\
Topics: says what a short English text is about.

  POST {\"text\": \"A shooter for two players on one keyboard.\"} to this address

  {\"label\": \"games\", \"confidence\": 0.9, \"probabilities\": {...}}
";

/// What the caller sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    text: String,
}

/// What the caller gets.
#[derive(Debug, Serialize)]
struct Topic {
    label: String,
    confidence: f32,
    probabilities: BTreeMap<String, f32>,
}

fn handle(request: Request) -> Result<Response, Error> {
    match request.method() {
        "GET" => Ok(Response::text(USAGE)),
        "POST" => classify(&request.json::<Question>()?.text),
        _ => Err(Error::new(405, "method_not_allowed", "GET explains, POST classifies")),
    }
}

fn classify(text: &str) -> Result<Response, Error> {
    if text.len() > TEXT_BYTES_MAX {
        let why = format!("the text has {} bytes; at most {TEXT_BYTES_MAX}", text.len());
        return Err(Error::TooLarge(why));
    }
    let words = Tensor::f32(&[1, WIDTH], &vector(text));
    let outputs = Model::from_bytes(MODEL)?.run(&[("words", words)])?;
    let scores = outputs.get("probabilities")?.view()?;
    let labels: Vec<String> = json::from_str(LABELS)?;
    let best = scores.argmax().first().copied().unwrap_or_default();
    let label = labels.get(best).cloned().unwrap_or_default();
    let probabilities: BTreeMap<String, f32> =
        labels.into_iter().zip(scores.values().iter().copied()).collect();
    let confidence = probabilities.get(&label).copied().unwrap_or_default();
    Response::json(&Topic { label, confidence, probabilities })
}

/// The hashed words of a text: the logarithm of one more than how often each is there, scaled to
/// length one. As in ../train/train.py.
fn vector(text: &str) -> Vec<f32> {
    let mut counts = vec![0f32; WIDTH as usize];
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_ascii_lowercase()).filter(|word| word.len() > 1) {
        counts[fnv(word) as usize % WIDTH as usize] += 1.0;
    }
    counts.iter_mut().for_each(|count| *count = count.ln_1p());
    let length = counts.iter().map(|weight| weight * weight).sum::<f32>().sqrt();
    if length > 0.0 {
        counts.iter_mut().for_each(|weight| *weight /= length);
    }
    counts
}

/// FNV-1a of 32 bits.
fn fnv(word: &str) -> u32 {
    let step = |value: u32, byte: u8| (value ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    word.bytes().fold(0x811C_9DC5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_hashed_as_in_training() {
        assert_eq!(fnv("foobar"), 0xBF9C_F968);
        let numbers = vector("Foobar, FOOBAR: x");
        assert_eq!(numbers.iter().filter(|weight| **weight > 0.0).count(), 1);
    }
}
