//! `POST /v1/rerank`: documents by how well they answer a query, in the shape of Jina's and Cohere's
//! routes.

use std::sync::Arc;

use emberbox_catalog::Principal;
use emberbox_runtime::bridge::{Answer, Task};
use http::Method;
use serde_json::{Value, json};

use super::whole;
use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::respond;
use crate::route::only;
use crate::stack::{Request, Response};

/// Documents in one request.
const DOCUMENTS_MAX: usize = 1_024;

/// A request, read.
struct Asked {
    model: String,
    query: String,
    documents: Vec<String>,
    top: usize,
    returns_documents: bool,
}

/// Answers with the documents' scores, the best first.
pub(crate) async fn post(
    app: &Arc<App>,
    principal: Arc<Principal>,
    request: Request,
) -> Result<Response, ApiError> {
    only(request.method(), &Method::POST, "POST")?;
    let (head, body) = request.into_parts();
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let asked = parse(&fields)?;
    let task = Task::Rerank { query: asked.query, documents: asked.documents.clone() };
    let named = ("rerank", asked.model.as_str());
    let (answer, finished) =
        whole::call(app, (principal, &head), fields.max_cost()?, named, task).await?;
    let Answer::Scores { data } = answer else { return Err(ApiError::Internal) };
    let mut scores: Vec<(usize, f32)> =
        data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).enumerate().collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    let result = |(index, score): &(usize, f32)| {
        let mut result = json!({ "index": index, "relevance_score": score });
        if let (true, Some(text)) = (asked.returns_documents, asked.documents.get(*index)) {
            result["document"] = json!({ "text": text });
        }
        result
    };
    let results: Vec<Value> = scores.iter().take(asked.top).map(result).collect();
    let shown =
        json!({ "model": asked.model, "results": results, "usage": whole::usage(&finished) });
    let mut response = respond::ok(&shown)?;
    finished.charged.write(response.headers_mut());
    Ok(response)
}

fn parse(fields: &Object<'_>) -> Result<Asked, ApiError> {
    let model = fields.required_text("model")?.to_owned();
    let query = fields.required_text("query")?.to_owned();
    let wrong = || {
        let reason =
            format!("must be a list of 1 to {DOCUMENTS_MAX} strings, or objects with a text");
        fields.wrong("documents", &reason)
    };
    let list = fields.get("documents").and_then(Value::as_array);
    let list = list.filter(|list| (1..=DOCUMENTS_MAX).contains(&list.len())).ok_or_else(wrong)?;
    let text = |item: &Value| item.as_str().or_else(|| item["text"].as_str()).map(str::to_owned);
    let documents: Vec<String> = list.iter().map(text).collect::<Option<_>>().ok_or_else(wrong)?;
    let top = fields.whole("top_n", 1..=u32::MAX)?.map_or(documents.len(), |top| top as usize);
    let returns_documents = fields.flag("return_documents")?;
    Ok(Asked { model, query, documents, top, returns_documents })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_fields_are_refused_by_name() {
        for (body, expected) in [
            (json!({ "query": "q", "documents": ["a"] }), "model"),
            (json!({ "model": "m", "documents": ["a"] }), "query"),
            (json!({ "model": "m", "query": "q" }), "documents"),
            (json!({ "model": "m", "query": "q", "documents": [] }), "documents"),
            (json!({ "model": "m", "query": "q", "documents": [1] }), "documents"),
            (json!({ "model": "m", "query": "q", "documents": ["a"], "top_n": 0 }), "top_n"),
        ] {
            match parse(&Object::of(&body).unwrap()).map(|_| ()) {
                Err(ApiError::Invalid { param, .. }) => {
                    assert_eq!(param.as_deref(), Some(expected))
                }
                other => panic!("{body}: {other:?}"),
            }
        }
        let body = json!({ "model": "m", "query": "q", "documents": ["a", { "text": "b" }] });
        assert_eq!(parse(&Object::of(&body).unwrap()).unwrap().documents, ["a", "b"]);
    }
}
