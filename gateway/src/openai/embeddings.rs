use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use emberbox_billing::Nano;
use emberbox_catalog::Principal;
use emberbox_runtime::bridge::{Answer, Input, Task};
use http::Method;
use serde_json::{Value, json};

use super::whole;
use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::invoke::model::Finished;
use crate::json::{self, Object};
use crate::respond;
use crate::route::only;
use crate::stack::{Request, Response};

/// Texts in one request, as OpenAI limits them.
const TEXTS_MAX: usize = 2_048;

/// A request, read.
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) texts: Vec<Input>,
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
    let (head, body) = request.into_parts();
    let body = json::parse(&body::read(body).await?)?;
    let asked = parse(&Object::of(&body)?)?;
    check_dimensions(app, &asked)?;
    let (named, task) = (("embeddings", asked.model.as_str()), Task::Embed { texts: asked.texts });
    let (answer, finished) =
        whole::call(app, (principal, &head), asked.max_cost, named, task).await?;
    let Answer::Embeddings { dims, data, .. } = answer else { return Err(ApiError::Internal) };
    let vectors = rows(cut(dims, data, asked.dimensions), asked.base64);
    let mut response = respond::ok(&reply(&asked.model, vectors, &finished))?;
    finished.charged.write(response.headers_mut());
    Ok(response)
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

/// A text, a list of tokens, or a list of texts or of lists of tokens.
pub(super) fn texts(fields: &Object<'_>) -> Result<Vec<Input>, ApiError> {
    let wrong = || {
        let what = "a string, a list of tokens, or a list of 1 to";
        fields.wrong("input", &format!("must be {what} {TEXTS_MAX} strings or lists of tokens"))
    };
    let list = match fields.get("input") {
        Some(Value::String(text)) => vec![Input::Text(text.clone())],
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_number) => {
            vec![tokens(list).ok_or_else(wrong)?]
        }
        Some(Value::Array(list)) if (1..=TEXTS_MAX).contains(&list.len()) => {
            let text = |item: &Value| match item {
                Value::String(text) => Some(Input::Text(text.clone())),
                Value::Array(list) => tokens(list),
                _ => None,
            };
            list.iter().map(text).collect::<Option<_>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    let empty = |input: &Input| match input {
        Input::Text(text) => text.is_empty(),
        Input::Tokens(tokens) => tokens.is_empty(),
    };
    match list.iter().any(empty) {
        true => Err(fields.wrong("input", "must not have an empty string or list")),
        false => Ok(list),
    }
}

fn tokens(list: &[Value]) -> Option<Input> {
    let token = |value: &Value| u32::try_from(value.as_u64()?).ok();
    list.iter().map(token).collect::<Option<_>>().map(Input::Tokens)
}

/// A vector can be cut short, as OpenAI's are, but not made longer.
fn check_dimensions(app: &App, asked: &Asked) -> Result<(), ApiError> {
    let (Some(dimensions), Some(info)) = (asked.dimensions, app.bridge.model(&asked.model)) else {
        return Ok(());
    };
    match dimensions <= info.embedding_dims {
        true => Ok(()),
        false => Err(ApiError::field(
            "dimensions",
            format!("dimensions must be at most {} for this model", info.embedding_dims),
        )),
    }
}

/// The first dimensions of each vector, scaled to the length of one; all of it as it is.
fn cut(dims: u32, data: Vec<u8>, dimensions: Option<u32>) -> (u32, Vec<u8>) {
    let Some(kept) = dimensions.filter(|kept| *kept < dims) else { return (dims, data) };
    let numbers: Vec<f32> = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let mut out = Vec::with_capacity(data.len());
    for row in numbers.chunks_exact(dims as usize) {
        let row = &row[..kept as usize];
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        out.extend(row.iter().flat_map(|v| (v / length).to_le_bytes()));
    }
    (kept, out)
}

/// One JSON value for each vector: a list of numbers, or base64 of little-endian f32.
fn rows((dims, data): (u32, Vec<u8>), base64: bool) -> Vec<Value> {
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
        "usage": whole::usage(finished),
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
            (r#"{"model":"m","input":[1,"a"]}"#, "input"),
            (r#"{"model":"m","input":[[1],[]]}"#, "input"),
            (r#"{"model":"m","input":[1,-2]}"#, "input"),
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
        let plain = rows((2, data.clone()), false);
        assert_eq!(plain, [json!([0.5_f32, -1.0_f32]), json!([2.0_f32, 0.1_f32])]);
        let encoded = rows((2, data.clone()), true);
        assert_eq!(encoded[1], json!(BASE64_STANDARD.encode(&data[8..])));
    }

    #[test]
    fn a_vector_that_is_cut_short_has_length_one_again() {
        let data: Vec<u8> = [0.6_f32, 0.8, 9.0].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(rows(cut(3, data.clone(), Some(1)), false), [json!([1.0_f32])]);
        assert_eq!(cut(3, data.clone(), Some(3)), (3, data));
    }

    #[test]
    fn texts_may_come_as_tokens() {
        let of = |input: Value| {
            let body = json!({ "model": "m", "input": input });
            parse(&Object::of(&body).unwrap()).unwrap().texts
        };
        assert_eq!(of(json!([1, 2])), [Input::Tokens(vec![1, 2])]);
        assert_eq!(of(json!([[1], "a"])), [Input::Tokens(vec![1]), "a".into()]);
    }
}
