use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use emberbox_billing::Nano;
use emberbox_catalog::Principal;
use emberbox_runtime::bridge::Task;
use http::Method;
use serde_json::{Value, json};

use super::{arrival, cost_details};
use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::invoke::Caller;
use crate::invoke::model::{self, Finished, ModelCall, Step};
use crate::json::{self, Object};
use crate::respond;
use crate::route::only;
use crate::stack::{Request, Response};

/// Texts in one request, as OpenAI limits them.
const TEXTS_MAX: usize = 2_048;

/// A request, read.
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) texts: Vec<String>,
    pub(crate) max_cost: Option<Nano>,
    base64: bool,
    dimensions: Option<u32>,
}

/// Answers with one vector for each text.
pub(crate) async fn post(
    app: &Arc<App>,
    principal: Arc<Principal>,
    request: Request,
) -> Result<Response, ApiError> {
    only(request.method(), &Method::POST, "POST")?;
    let caller = Caller::new(principal, arrival(&request)?, request.headers())?;
    let body = json::parse(&body::read(request.into_body()).await?)?;
    let asked = parse(&Object::of(&body)?)?;
    check_dimensions(app, &asked)?;
    let call = ModelCall {
        caller: caller.limited(asked.max_cost),
        operation: "embeddings",
        choices: 1,
        model: asked.model.clone(),
        task: Task::Embed { texts: asked.texts },
        streams: false,
    };
    let mut run = model::start(app, call).await?;
    let mut vectors = Vec::new();
    while let Some(step) = run.next().await {
        match step? {
            Step::Vectors { dims, data } => vectors = rows(dims, &data, asked.base64),
            Step::Done(finished) => {
                let mut response = respond::ok(&reply(&asked.model, vectors, &finished))?;
                finished.charged.write(response.headers_mut());
                return Ok(response);
            }
            Step::Started | Step::Piece { .. } | Step::ToolCalls { .. } => {}
        }
    }
    Err(ApiError::Internal)
}

/// Reads a request.
pub(crate) fn parse(fields: &Object<'_>) -> Result<Asked, ApiError> {
    let model = fields.required_text("model")?.to_owned();
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(fields.wrong("encoding_format", "must be 'float' or 'base64'")),
    };
    let dimensions = fields.whole("dimensions", 1..=u32::MAX)?;
    let max_cost = fields.max_cost()?;
    Ok(Asked { model, texts: texts(fields)?, max_cost, base64, dimensions })
}

fn texts(fields: &Object<'_>) -> Result<Vec<String>, ApiError> {
    let list = match fields.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) if (1..=TEXTS_MAX).contains(&list.len()) => list
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .ok_or_else(|| fields.wrong("input", "must be text: tokens are not supported"))?,
        _ => {
            let reason = format!("must be a string or a list of 1 to {TEXTS_MAX} strings");
            return Err(fields.wrong("input", &reason));
        }
    };
    match list.iter().any(String::is_empty) {
        true => Err(fields.wrong("input", "must not have an empty string")),
        false => Ok(list),
    }
}

/// Models here have one length of vector each; asking for it is fine, for another is not.
fn check_dimensions(app: &App, asked: &Asked) -> Result<(), ApiError> {
    let (Some(dimensions), Some(info)) = (asked.dimensions, app.bridge.model(&asked.model)) else {
        return Ok(());
    };
    match dimensions == info.embedding_dims {
        true => Ok(()),
        false => Err(ApiError::field(
            "dimensions",
            format!("dimensions must be {} for this model", info.embedding_dims),
        )),
    }
}

/// One JSON value for each vector: a list of numbers, or base64 of little-endian f32.
fn rows(dims: u32, data: &[u8], base64: bool) -> Vec<Value> {
    let row_bytes = (dims as usize).saturating_mul(4).max(4);
    let row = |bytes: &[u8]| match base64 {
        true => Value::from(BASE64_STANDARD.encode(bytes)),
        false => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .map(|number| json!(number))
            .collect(),
    };
    data.chunks_exact(row_bytes).map(row).collect()
}

fn reply(model: &str, vectors: Vec<Value>, finished: &Finished) -> Value {
    let receipt = &finished.charged.receipt;
    let data: Vec<Value> = vectors
        .into_iter()
        .enumerate()
        .map(
            |(index, vector)| json!({ "object": "embedding", "index": index, "embedding": vector }),
        )
        .collect();
    json!({
        "object": "list",
        "model": model,
        "data": data,
        "usage": {
            "prompt_tokens": finished.usage.input_tokens,
            "total_tokens": finished.usage.input_tokens,
            "cost": receipt.amount,
            "cost_details": cost_details(receipt),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_fields_are_refused_by_name() {
        let rows = [
            (r#"{"input":"x"}"#, "model"),
            (r#"{"model":"m"}"#, "input"),
            (r#"{"model":"m","input":[]}"#, "input"),
            (r#"{"model":"m","input":""}"#, "input"),
            (r#"{"model":"m","input":["a",""]}"#, "input"),
            (r#"{"model":"m","input":[1,2]}"#, "input"),
            (r#"{"model":"m","input":"x","encoding_format":"int8"}"#, "encoding_format"),
            (r#"{"model":"m","input":"x","dimensions":0}"#, "dimensions"),
            (r#"{"model":"m","input":"x","max_cost":1}"#, "max_cost"),
        ];
        for (body, expected) in rows {
            let body: Value = serde_json::from_str(body).unwrap();
            match parse(&Object::of(&body).unwrap()).map(|_| ()) {
                Err(ApiError::Invalid { param, .. }) => {
                    assert_eq!(param.as_deref(), Some(expected), "{body}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn both_encodings_carry_the_same_numbers() {
        let data: Vec<u8> =
            [0.5_f32, -1.0, 2.0, 0.1].iter().flat_map(|n| n.to_le_bytes()).collect();
        let plain = rows(2, &data, false);
        assert_eq!(plain, [json!([0.5_f32, -1.0_f32]), json!([2.0_f32, 0.1_f32])]);
        let encoded = rows(2, &data, true);
        assert_eq!(encoded[1], json!(BASE64_STANDARD.encode(&data[8..])));
    }
}
