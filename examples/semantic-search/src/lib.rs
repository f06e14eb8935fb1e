//! Ranks documents by how close in meaning they are to a query.
//!
//! `POST /` with `{"query": "…", "documents": ["…", "…"], "top_n": 3}` answers
//! `{"model": "…", "results": [{"index": 1, "score": 0.83, "document": "…"}, …]}`, best first.
//! `GET /` explains it. The model's name is `MODEL` in the manifest's `[environment]`; it must be
//! one of the manifest's `models` too.

use emberbox_sdk::{Error, Model, Request, Response, environment};
use serde::{Deserialize, Serialize};

emberbox_sdk::main!(handle);

const MODEL_DEFAULT: &str = "all-minilm-l6-v2";
/// Documents in one request.
const DOCUMENTS_MAX: usize = 256;

const USAGE: &str = "\
Semantic search: ranks documents by how close in meaning they are to a query.

POST JSON to this address:

  {\"query\": \"a pet that purrs\",
   \"documents\": [\"The cat sleeps.\", \"Stocks fell.\", \"A kitten plays.\"],
   \"top_n\": 2}

The answer lists the best first, with the cosine of query and document as the score:

  {\"model\": \"...\", \"results\": [{\"index\": 0, \"score\": 0.61, \"document\": \"The cat sleeps.\"}, ...]}

\"top_n\" may be left out; then all documents are ranked.
";

/// What the caller sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    query: String,
    documents: Vec<String>,
    top_n: Option<usize>,
}

/// What the caller gets.
#[derive(Debug, Serialize)]
struct Ranking {
    model: String,
    results: Vec<Ranked>,
}

/// One document with its place among those that were sent.
#[derive(Debug, PartialEq, Serialize)]
struct Ranked {
    index: usize,
    score: f32,
    document: String,
}

fn handle(request: Request) -> Result<Response, Error> {
    match request.method() {
        "GET" => Ok(Response::text(USAGE)),
        "POST" => search(request.json()?),
        _ => Err(Error::new(405, "method_not_allowed", "GET explains, POST searches")),
    }
}

fn search(question: Question) -> Result<Response, Error> {
    question.check()?;
    let model = environment("MODEL").unwrap_or_else(|| MODEL_DEFAULT.to_owned());
    // One call for everything: the platform runs the texts as one batch.
    let texts: Vec<&str> = std::iter::once(question.query.as_str())
        .chain(question.documents.iter().map(String::as_str))
        .collect();
    let vectors = Model::load(&model)?.embed(&texts)?;
    let [query, documents @ ..] = vectors.as_slice() else {
        return Err(Error::internal("there is no embedding of the query"));
    };
    let scores: Vec<f32> = documents.iter().map(|document| cosine(query, document)).collect();
    let results = rank(question.documents, &scores, question.top_n);
    Response::json(&Ranking { model, results })
}

impl Question {
    fn check(&self) -> Result<(), Error> {
        let refuse = |field: &str, why: String| Err(Error::bad_request(why).at(field));
        if self.query.trim().is_empty() {
            return refuse("query", "must not be empty".into());
        }
        if self.documents.is_empty() || self.documents.len() > DOCUMENTS_MAX {
            let count = self.documents.len();
            return refuse("documents", format!("must be 1 to {DOCUMENTS_MAX}, not {count}"));
        }
        if let Some(index) = self.documents.iter().position(|document| document.trim().is_empty()) {
            return refuse("documents", format!("number {index} is empty"));
        }
        if self.top_n == Some(0) {
            return refuse("top_n", "must be at least 1".into());
        }
        Ok(())
    }
}

/// The documents with the highest scores first; equal scores keep the order they were sent in.
fn rank(documents: Vec<String>, scores: &[f32], top_n: Option<usize>) -> Vec<Ranked> {
    let mut results: Vec<Ranked> = documents
        .into_iter()
        .zip(scores)
        .enumerate()
        .map(|(index, (document, &score))| Ranked { index, score, document })
        .collect();
    results.sort_by(|a, b| b.score.total_cmp(&a.score));
    results.truncate(top_n.unwrap_or(results.len()));
    results
}

/// The cosine of the angle between two vectors; 0 if one of them has no direction.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_best_first() {
        let documents = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let order = |scores: &[f32], top_n| -> Vec<usize> {
            rank(documents(), scores, top_n).iter().map(|ranked| ranked.index).collect()
        };
        assert_eq!(order(&[0.1, 0.9, 0.5], None), [1, 2, 0]);
        assert_eq!(order(&[0.1, 0.9, 0.5], Some(1)), [1]);
        assert_eq!(order(&[0.5, 0.5, 0.5], Some(9)), [0, 1, 2]);
        assert_eq!(order(&[f32::NEG_INFINITY, -1.0, 0.0], None), [2, 1, 0]);
    }

    #[test]
    fn cosine_is_about_direction() {
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-6);
        assert!((cosine(&[1.0, 0.0], &[0.0, 3.0])).abs() < 1e-6);
        assert!((cosine(&[1.0, 0.0], &[-2.0, 0.0]) + 1.0).abs() < 1e-6);
        assert_eq!(cosine(&[0.0], &[1.0]).to_bits(), 0);
    }

    #[test]
    fn mistakes_are_named() {
        for (body, param) in [
            (r#"{"query":" ","documents":["a"]}"#, Some("query")),
            (r#"{"query":"q","documents":[]}"#, Some("documents")),
            (r#"{"query":"q","documents":["a",""]}"#, Some("documents")),
            (r#"{"query":"q","documents":["a"],"top_n":0}"#, Some("top_n")),
            (r#"{"query":"q"}"#, None),
            ("q", None),
        ] {
            let error = handle(Request::post("/", body)).unwrap_err();
            assert_eq!((error.status(), error.param()), (400, param), "{body}: {error}");
        }
        let many = vec!["x"; DOCUMENTS_MAX + 1];
        let body = emberbox_sdk::json!({ "query": "q", "documents": many }).to_string();
        assert_eq!(handle(Request::post("/", body)).unwrap_err().param(), Some("documents"));
        assert_eq!(handle(Request::new("PUT", "/")).unwrap_err().status(), 405);
        assert!(handle(Request::get("/")).is_ok());
    }
}
