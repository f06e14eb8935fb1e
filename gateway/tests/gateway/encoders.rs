//! Encoders in Hugging Face layout, as callers reach them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::support::{Server, nano};

/// Writes a tiny network of the engine's fixtures, with weights of its own, and its tokenizer.
fn network(server: &Server, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/inference/fixtures/encoders");
    let fixture = std::fs::read(path.join(format!("{name}.json"))).unwrap();
    let fixture: Value = serde_json::from_slice(&fixture).unwrap();
    let folder = server.folder.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    let mut config = fixture["config"].clone();
    if name == "bert-classify" {
        config["id2label"] = json!({ "0": "sad", "1": "glad", "2": "mad" });
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let (mut header, mut data) = (Map::new(), Vec::<u8>::new());
    for (seed, (name, shape)) in fixture["tensors"].as_object().unwrap().iter().enumerate() {
        let count: u64 =
            shape.as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product();
        let value = |i: u64| ((i + seed as u64) * 2_654_435_761 % 1_009) as f32 / 1_009.0 - 0.5;
        let start = data.len();
        data.extend((0..count).flat_map(|i| value(i).to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
    let words = ["[UNK]", "[CLS]", "[SEP]", "a", "red", "fox", "sleeps", "runs", "home"];
    let vocab: Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "decoder": null, "normalizer": null,
        "truncation": null, "padding": null, "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor":
            { "type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1] },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder
}

fn offer(server: &Server, name: &str, kind: &str) {
    let add = json!({ "name": name, "path": network(server, name) });
    let added = server.operate("POST", "/admin/v1/models", &add).good();
    assert_eq!(added["kind"], json!(kind), "{added}");
}

#[test]
fn texts_are_classified() {
    let server = Server::start();
    offer(&server, "bert-classify", "classification");
    let (before, _) = server.balance();
    let ask = |input: Value| {
        server.post("/v1/classify", &json!({ "model": "bert-classify", "input": input })).good()
    };
    let told = ask(json!(["a red fox", "a fox sleeps home"]));
    assert_eq!(told["labels"], json!(["sad", "glad", "mad"]));
    // Three and four words, and two more of each text.
    assert_eq!(told["usage"]["prompt_tokens"], json!(11));
    let rows = told["data"].as_array().unwrap();
    for (index, row) in rows.iter().enumerate() {
        let probs: Vec<f64> = serde_json::from_value(row["probs"].clone()).unwrap();
        assert!(probs.len() == 3 && (probs.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{row}");
        let best = (0..3).max_by(|a, b| probs[*a].total_cmp(&probs[*b])).unwrap();
        assert_eq!((&row["index"], &row["label"]), (&json!(index), &told["labels"][best]));
        assert_eq!(row["score"], row["probs"][best]);
    }
    // A text's classes do not depend on its neighbours.
    let alone = ask(json!("a fox sleeps home"));
    assert_eq!(alone["data"][0]["probs"], rows[1]["probs"]);
    let cost = nano(&told["usage"]["cost"]) + nano(&alone["usage"]["cost"]);
    assert_eq!(cost, 17 * 100);
    assert_eq!(server.balance(), (before - cost, 0));

    let wrong = json!({ "model": "bert-classify", "query": "a", "documents": ["fox"] });
    server.post("/v1/rerank", &wrong).refused(400, "invalid_request");
    let wrong = json!({ "model": "bert-classify", "input": "fox ".repeat(50) });
    server.post("/v1/classify", &wrong).refused(400, "context_length_exceeded");
    server.ledger_is_sound();
}

#[test]
fn words_are_classified() {
    let server = Server::start();
    offer(&server, "bert-tokens", "token_classification");
    let ask = json!({ "model": "bert-tokens", "input": ["a red fox", "runs"] });
    let told = server.post("/v1/classify", &ask).good();
    let part = |row: &Value| (row["index"].as_u64(), row["start"].as_u64(), row["end"].as_u64());
    let parts: Vec<_> = told["data"].as_array().unwrap().iter().map(part).collect();
    let words = [(0, 0, 1), (0, 2, 5), (0, 6, 9), (1, 0, 4)];
    assert_eq!(parts, words.map(|(text, start, end)| (Some(text), Some(start), Some(end))));
    server.ledger_is_sound();
}

#[test]
fn documents_are_ranked() {
    let server = Server::start();
    offer(&server, "bert-compare", "reranking");
    let (before, _) = server.balance();
    let documents = json!(["a red fox", { "text": "home" }, "runs home", "sleeps"]);
    let ask = |extra: Value| {
        let mut body =
            json!({ "model": "bert-compare", "query": "a fox runs", "documents": documents });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.post("/v1/rerank", &body).good()
    };
    let all = ask(json!({}));
    let results = all["results"].as_array().unwrap();
    let scores: Vec<f64> = results.iter().map(|r| r["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 4 && scores.is_sorted_by(|a, b| a > b), "{all}");
    let best = ask(json!({ "top_n": 2, "return_documents": true }));
    assert_eq!(best["results"].as_array().map(Vec::len), Some(2));
    for (one, other) in best["results"].as_array().unwrap().iter().zip(results) {
        assert_eq!(one["relevance_score"], other["relevance_score"]);
        assert_eq!(one["index"], other["index"]);
        let document = &documents[one["index"].as_u64().unwrap() as usize];
        let text = document.get("text").unwrap_or(document);
        assert_eq!(&one["document"]["text"], text);
    }
    let cost = nano(&all["usage"]["cost"]) + nano(&best["usage"]["cost"]);
    // For each document the query's three words, its own, and three that hold them apart.
    assert_eq!(all["usage"]["prompt_tokens"], json!(4 * 6 + 7));
    assert_eq!(cost, 2 * 31 * 100);
    assert_eq!(server.balance(), (before - cost, 0));
    let wrong = json!({ "model": "bert-compare", "input": "a" });
    server.post("/v1/classify", &wrong).refused(400, "invalid_request");
    server.ledger_is_sound();
}
