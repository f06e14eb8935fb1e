//! ONNX models through the whole path: brought by functions, and offered by name.

use serde_json::{Value, json};

use crate::support::Server;

const DIGITS: &[u8] = include_bytes!("../../../examples/prebuilt/digits.wasm");
const TOPICS: &[u8] = include_bytes!("../../../examples/prebuilt/topics.wasm");
const HELD_OUT: &str = include_str!("../../../examples/digits/heldout.json");
const TEXTS: &str = include_str!("../../../examples/topics/heldout.jsonl");
const SEVEN: &[u8] = include_bytes!("../../../examples/digits/seven.png");

fn server() -> Server {
    Server::start_with(|config| config.function_limits.load_models = true)
}

/// A PNG file of 8 by 8 grey pixels, its data stored as it is.
fn png(pixels: &[u8]) -> Vec<u8> {
    let mut rows = Vec::new();
    for row in pixels.chunks_exact(8) {
        rows.push(0);
        rows.extend(row);
    }
    let length = rows.len() as u16;
    let mut data = vec![0x78, 0x01, 0x01];
    data.extend(length.to_le_bytes());
    data.extend((!length).to_le_bytes());
    data.extend(&rows);
    let (low, high) = rows.iter().fold((1u32, 0u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    data.extend((high << 16 | low).to_be_bytes());
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let head = [0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, 0];
    for (name, content) in [(b"IHDR", &head[..]), (b"IDAT", &data), (b"IEND", &[])] {
        file.extend((content.len() as u32).to_be_bytes());
        let part: Vec<u8> = name.iter().chain(content).copied().collect();
        file.extend(&part);
        file.extend(crc(&part).to_be_bytes());
    }
    file
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), bit)
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn held_out_digits_are_read_from_pictures() {
    let server = server();
    server.deploy("digits", DIGITS, "load_models = true\n[limits]\nload_kib = 512").good();
    let held: Value = serde_json::from_str(HELD_OUT).unwrap();
    let (labels, pixels) = (held["labels"].as_array().unwrap(), held["pixels"].as_array().unwrap());
    let mut right = 0;
    for (label, hex) in labels.iter().zip(pixels) {
        let hex = hex.as_str().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let picture = png(&(0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>());
        let told = server.send("POST", "/f/local/digits", &server.key, Some(&picture)).good();
        right += usize::from(told["label"] == *label);
    }
    let accuracy = right as f64 / labels.len() as f64;
    assert!(labels.len() == 360 && accuracy >= 0.97, "{right} of {}", labels.len());

    // What it computes is charged: a token for each million of operations.
    let receipt = server.wait_for_receipt(|_| true);
    let input = |line: &&Value| line["meter"] == json!("input_tokens");
    let line = receipt["usage"].as_array().unwrap().iter().find(input).unwrap();
    assert_eq!(line["quantity"], json!(1), "{receipt}");

    let refused = server.send("POST", "/f/local/digits", &server.key, Some(b"no picture"));
    assert!(refused.refused(400, "invalid_request").to_string().contains("picture"));
    server.ledger_is_sound();
}

#[test]
fn a_graph_is_offered_by_name() {
    let server = Server::start();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = path.join("../examples/digits/model/digits.onnx").canonicalize().unwrap();
    let add = json!({ "name": "digits", "path": file });
    let added = server.operate("POST", "/admin/v1/models", &add).good();
    assert_eq!(added["kind"], json!("graph"), "{added}");
    assert_eq!(added["inputs"][0]["name"], json!("image"));
    assert_eq!(added["inputs"][0]["shape"], json!([null, 1, 8, 8]));
    let rest = "models = [\"digits\"]\n[environment]\nMODEL = \"digits\"";
    server.deploy("digits", DIGITS, rest).good();
    let told = server.send("POST", "/f/local/digits", &server.key, Some(SEVEN)).good();
    assert_eq!(told["label"], json!(7), "{told}");

    // Asked for what it is not for.
    let ask = json!({ "model": "digits", "messages": [{ "role": "user", "content": "Hi" }] });
    server.post("/v1/chat/completions", &ask).refused(400, "invalid_request");
    let ask = json!({ "model": "digits", "input": "Hi" });
    server.post("/v1/embeddings", &ask).refused(400, "invalid_request");
    server.post("/v1/classify", &ask).refused(400, "invalid_request");
    let ask = json!({ "model": "digits", "query": "Hi", "documents": ["a"] });
    server.post("/v1/rerank", &ask).refused(400, "invalid_request");
    server.ledger_is_sound();
}

#[test]
fn texts_are_told_apart_by_what_they_are_about() {
    let server = server();
    server.deploy("topics", TOPICS, "load_models = true\n[limits]\nload_kib = 512").good();
    let mut right = 0;
    let texts: Vec<Value> = TEXTS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for text in &texts {
        let body = json!({ "text": text["text"] }).to_string();
        let told =
            server.send("POST", "/f/local/topics", &server.key, Some(body.as_bytes())).good();
        right += usize::from(told["label"] == text["label"]);
    }
    // As many as where it was trained, 81; a near tie may fall either way.
    assert!(texts.len() == 100 && (80..=82).contains(&right), "{right}");
}
