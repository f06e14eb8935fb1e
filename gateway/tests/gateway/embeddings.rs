use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Server, nano};

#[test]
fn vectors_come_in_both_encodings_and_cost_their_tokens() {
    let server = Server::start();
    let (before, _) = server.balance();
    let ask = |extra: Value| {
        let mut body = json!({ "model": "tiny-storyteller", "input": ["a fox", "a red kite"] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.post("/v1/embeddings", &body).good()
    };
    let plain = ask(json!({}));
    let encoded = ask(json!({ "encoding_format": "base64" }));
    assert_eq!(plain["data"].as_array().unwrap().len(), 2);
    for index in 0..2 {
        let row = &plain["data"][index];
        assert_eq!((&row["index"], &row["object"]), (&json!(index), &json!("embedding")));
        let numbers: Vec<f32> = serde_json::from_value(row["embedding"].clone()).unwrap();
        let length: f32 = numbers.iter().map(|n| n * n).sum();
        assert!((length - 1.0).abs() < 1e-3, "not of unit length: {length}");
        let text = encoded["data"][index]["embedding"].as_str().unwrap();
        let bytes = BASE64_STANDARD.decode(text).unwrap();
        let same: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(numbers, same);
    }
    let cost = nano(&plain["usage"]["cost"]);
    assert_eq!(cost, plain["usage"]["prompt_tokens"].as_i64().unwrap() * 100);
    assert_eq!(server.balance(), (before - 2 * cost, 0));
    let short = json!({ "model": "tiny-storyteller", "input": [[5, 6]], "dimensions": 7 });
    let short = server.post("/v1/embeddings", &short).good();
    assert_eq!(short["data"][0]["embedding"].as_array().map(Vec::len), Some(7));
    assert_eq!(short["usage"]["prompt_tokens"], json!(2));
    let wrong = json!({ "model": "tiny-storyteller", "input": "x", "dimensions": 70_000 });
    let error = server.post("/v1/embeddings", &wrong).refused(400, "invalid_request");
    assert_eq!(error["param"], json!("dimensions"));
    server.ledger_is_sound();
}

#[test]
fn models_tell_their_price() {
    let server = Server::start();
    let models = server.get("/v1/models").good();
    let model = &models["data"][0];
    assert_eq!((&model["id"], &model["object"]), (&json!("tiny-storyteller"), &json!("model")));
    assert_eq!(model["pricing"]["output_token"], json!("0.0000004"));
    assert_eq!(server.get("/v1/models/tiny-storyteller").good()["id"], model["id"]);
    server.get("/v1/models/other").refused(404, "model_not_found");
}
