//! Answers in JSON, and reading query parameters.

use std::str::FromStr;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode, Uri};
use serde::Serialize;

use crate::body;
use crate::errors::ApiError;
use crate::stack::Response;

/// Answers with a value as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, ApiError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| ApiError::internal("an answer could not be written", &error))?;
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Answers 200 with a value as JSON.
pub(crate) fn ok(value: &impl Serialize) -> Result<Response, ApiError> {
    json(StatusCode::OK, value)
}

/// A parameter of the request's query; absent and empty are the same.
pub(crate) fn query<T: FromStr>(uri: &Uri, name: &str) -> Result<Option<T>, ApiError> {
    let query = uri.query().unwrap_or_default();
    let pair = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    match pair {
        Some((_, value)) if !value.is_empty() => match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(ApiError::field(name, format!("'{value}' is not a valid value"))),
        },
        _ => Ok(None),
    }
}
