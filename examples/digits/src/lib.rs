//! Reads a handwritten digit from a picture.
//!
//! `POST /` with a PNG or JPEG file as the body answers
//! `{"label": 7, "confidence": 0.98, "probabilities": [...]}`. `GET /` explains it. White on black, one
//! digit that fills the picture, which is scaled to 8 by 8 pixels. The network comes with the function.

use emberbox_sdk::{Error, Model, Picture, Request, Response, environment};
use serde::Serialize;

emberbox_sdk::main!(handle);

/// A convolutional network; ../train makes it.
const NETWORK: &[u8] = include_bytes!("../model/digits.onnx");
/// Pixels of a side.
const SIDE: u32 = 8;

const USAGE: &str = "\
Handwritten digits: POST a PNG or JPEG file with one digit, white on black, to this address.

  curl --data-binary @seven.png -H 'content-type: image/png' ...

  {\"label\": 7, \"confidence\": 0.98, \"probabilities\": [...]}
";

/// What the caller gets.
#[derive(Debug, Serialize)]
struct Digit {
    label: usize,
    confidence: f32,
    probabilities: Vec<f32>,
}

fn handle(request: Request) -> Result<Response, Error> {
    match request.method() {
        "GET" => Ok(Response::text(USAGE)),
        "POST" => read(request.body()),
        _ => Err(Error::new(405, "method_not_allowed", "GET explains, POST reads a picture")),
    }
}

fn read(file: &[u8]) -> Result<Response, Error> {
    let picture = Picture::grey(SIDE, SIDE).tensor(file)?;
    // The operator may have it under a name; else it comes from here.
    let model = match environment("MODEL") {
        Some(name) => Model::load(&name)?,
        None => Model::from_bytes(NETWORK)?,
    };
    let outputs = model.run(&[("image", picture)])?;
    let logits = outputs.get("logits")?.view()?;
    let probabilities = logits.softmax().values().to_vec();
    let label = logits.argmax().first().copied().unwrap_or_default();
    let confidence = probabilities.get(label).copied().unwrap_or_default();
    Response::json(&Digit { label, confidence, probabilities })
}
