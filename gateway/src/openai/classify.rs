//! `POST /v1/classify`: which class a text, or each of its words, belongs to.

use std::sync::Arc;

use emberbox_catalog::Principal;
use emberbox_runtime::bridge::{Answer, Part, Task};
use http::Method;
use serde_json::{Value, json};

use super::{embeddings, whole};
use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::respond;
use crate::route::only;
use crate::stack::{Request, Response};

/// Answers with the probabilities of classes, a row for each text, or for each of its words.
pub(crate) async fn post(
    app: &Arc<App>,
    principal: Arc<Principal>,
    request: Request,
) -> Result<Response, ApiError> {
    only(request.method(), &Method::POST, "POST")?;
    let (head, body) = request.into_parts();
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let model = fields.required_text("model")?;
    let task = Task::Classify { texts: embeddings::texts(&fields)? };
    let named = ("classify", model);
    let (answer, finished) =
        whole::call(app, (principal, &head), fields.max_cost()?, named, task).await?;
    let Answer::Classes { labels, parts, data } = answer else { return Err(ApiError::Internal) };
    let numbers: Vec<f32> = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let rows = parts.iter().zip(numbers.chunks_exact(labels.len().max(1)));
    let data: Vec<Value> = rows.map(|(part, row)| shown(&labels, *part, row)).collect();
    let usage = whole::usage(&finished);
    let shown =
        json!({ "object": "list", "model": model, "labels": labels, "data": data, "usage": usage });
    let mut response = respond::ok(&shown)?;
    finished.charged.write(response.headers_mut());
    Ok(response)
}

/// One row: its text's number, the bytes of it that it is about, the likeliest class, and all.
fn shown(labels: &[String], part: Part, row: &[f32]) -> Value {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at);
    json!({
        "index": part.text,
        "start": part.start,
        "end": part.end,
        "label": labels.get(best),
        "score": row.get(best),
        "probs": row,
    })
}
